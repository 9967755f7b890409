"""site.yml is killed in the midst of a change, ever later: status.yml says what is owed, and the next run does it.

KILL_STEP=1 kills after every single change, items of loops included, which takes half an hour.
"""

from __future__ import annotations

from typing import Any

import pytest
from fleet import on
from killing import calendar, env, normal, step, walk

from plugins.lookup import release
from speedtest_logger import __version__

HUB, NODES = "hub", ["hub", "attic"]
OLD, NEW = __version__, "99.0.0"
STEP = 6
# Intervals, settings of the archive, a server more: whatever a run writes, reloads or restarts.
SETTINGS: dict[str, Any] = {
    "speedtest_logger_interval": "2min",
    "speedtest_logger_raw_days": 29,
    "speedtest_logger_push_interval": "2min",
    "speedtest_archive_ingest_interval": "2min",
    "speedtest_archive_keep_raw_days": 300,
    "speedtest_archive_upkeep_calendar": "*-*-* 05:10:00 UTC",
    "speedtest_target_iperf3_ports": [5201, 5202, 5203],
}


@pytest.fixture(scope="module")
def other_release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The checkout's release under another version; that it measures is the scenario `upgrade`'s proof."""
    folder = tmp_path_factory.mktemp("dist")
    files = release.contents()
    content, executable = files["speedtest_logger/__init__.py"]
    files["speedtest_logger/__init__.py"] = content.replace(OLD.encode(), NEW.encode()), executable
    (folder / f"speedtest-logger-{NEW}.tar.gz").write_bytes(release.build(files))
    places = {"speedtest_logger_artifact_dir": str(folder), "speedtest_archive_artifact_dir": str(folder)}
    versions = {"speedtest_logger_version": NEW, "speedtest_archive_version": NEW}
    return versions | places | {"speedtest_logger_upgrade_proved": False}


def test_changes_of_settings(tmp_path):
    walk((HUB, NODES), (SETTINGS, {}), tmp_path / "counted", step(STEP))
    assert {node: env(node)["INTERVAL_SECONDS"] for node in NODES} == dict.fromkeys(NODES, "60")
    assert calendar(HUB, "speedtest-ingest.timer") == normal(HUB, ["*-*-* *:*:20 UTC"])


def test_another_release(tmp_path, other_release):
    unproved = {"speedtest_logger_upgrade_proved": False}
    walk((HUB, NODES), (other_release, unproved), tmp_path / "counted", step(2 * STEP))
    assert on(HUB, "speedtest-archive --version").strip().endswith(OLD)
