"""Releases that break, land, and are taken back, on both runtimes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from containers import inspect
from fleet import measure_by_hand, on, playbook, query, recap

from plugins.lookup import release
from speedtest_logger import __version__

HUB = "homelab"
NODES = (HUB, "porch", "shed")
OLD = __version__
BROKEN, IDLE, GOOD = "99.0.0", "99.0.1", "99.0.2"  # cannot be imported, measures nothing
RESULTS = "find /var/lib/speedtest-telemetry/results -type f"


def artifact(folder: Path, version: str, harm: str = "") -> None:
    """The checkout's release under another version, and with a line at the end of its measure.py."""
    files = release.contents()
    for name, change in (
        ("speedtest_logger/__init__.py", lambda content: content.replace(OLD.encode(), version.encode())),
        ("speedtest_logger/node/measure.py", lambda content: content + harm.encode()),
    ):
        content, executable = files[name]
        files[name] = change(content), executable
    (folder / f"speedtest-logger-{version}.tar.gz").write_bytes(release.build(files))


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Run a playbook for a fleet that has two nodes more than the scenario's inventory."""
    file = tmp_path_factory.mktemp("fleet") / "hosts.yml"
    nodes = {"hosts": dict.fromkeys(NODES)}
    file.write_text(json.dumps({"all": {"children": {"speedtest_nodes": nodes}}}), encoding="utf-8")

    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return playbook(name, "-i", str(file), *options)

    done = run("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    return run


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Their artifacts."""
    folder = tmp_path_factory.mktemp("dist")
    artifact(folder, BROKEN, "\nraise RuntimeError('this release is broken')\n")
    artifact(folder, IDLE, "\nrun_test = lambda settings, spool, log, record, environment: record\n")
    artifact(folder, GOOD)
    return folder


def site(run: Run, releases: Path, version: str, *options: str):
    return run(
        "site.yml",
        f"--extra-vars=speedtest_logger_version={version}",
        f"--extra-vars=speedtest_logger_artifact_dir={releases}",
        *options,
    )


def running(node: str) -> str:
    state = json.loads(on(node, "speedtest-logger status --json", check=False))
    return state["version"]


def assert_all_run(version: str) -> None:
    assert {node: running(node) for node in NODES} == dict.fromkeys(NODES, version)
    assert inspect("shed")["Config"]["Image"] == f"speedtest-logger:{version}"


@pytest.mark.parametrize(
    ("version", "first", "reason"),
    [(BROKEN, HUB, "this release is broken"), (IDLE, "shed", "interrupted")],
    ids=["systemd", "compose"],
)
def test_a_broken_release_is_put_back_and_the_others_never_see_it(run, releases, version, first, reason):
    limit = () if first == HUB else ("--limit", first)  # the compose node in a batch of its own
    done = site(run, releases, version, *limit)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"{first}: release {version} did not prove itself, {OLD} was put back" in said
    assert reason in said
    assert_all_run(OLD)
    for node in NODES:
        if node != first:
            assert version not in on(node, "ls /opt/speedtest-telemetry/releases")
    measure_by_hand(first)
    fields = "node, logger_version, status"
    measured = f"node = '{first}' AND status <> 'skipped'"  # a slot that came meanwhile was skipped
    last = query(f"SELECT {fields} FROM records WHERE {measured} ORDER BY started_at DESC LIMIT 1", HUB)
    assert last == [{"node": first, "logger_version": OLD, "status": "ok"}]


def test_after_a_broken_release_nothing_differs(run):
    done = run("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {host: counts["changed"] for host, counts in recap(done).items() if counts["changed"]} == {}


def test_a_good_release_lands_everywhere_and_each_node_has_measured_with_it(run, releases):
    on("porch", "mkdir /opt/speedtest-telemetry/releases/0.0.9")
    on(
        "shed",
        f"echo FROM speedtest-logger:{OLD} | docker build --quiet --label older=yes --tag speedtest-logger:0.0.9 -",
    )
    done = site(run, releases, GOOD)
    assert done.returncode == 0, done.stdout[-3000:]
    said = " ".join(done.stdout.split())
    for node in NODES:  # minutes of silence look like a run that hangs
        assert f"{node}: release {GOOD} is to measure once: it waits " in said
    assert_all_run(GOOD)
    for node in NODES:  # what broke before and what is older is gone, the way back stays
        assert on(node, "ls /opt/speedtest-telemetry/releases").split() == [OLD, GOOD]
    tags = on("shed", "docker image ls --format '{{.Tag}}' speedtest-logger").split()
    assert sorted(tags) == [OLD, GOOD]
    for node in NODES:
        on(node, "speedtest-logger push --force")
    sql = f"SELECT DISTINCT node FROM records WHERE logger_version = '{GOOD}' AND status = 'ok' ORDER BY node"
    assert [row["node"] for row in query(sql, HUB)] == list(NODES)
    again = site(run, releases, GOOD)
    assert again.returncode == 0
    assert sum(counts["changed"] for counts in recap(again).values()) == 0


def test_the_way_back_by_hand(run):
    done = run("playbooks/rollback.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert_all_run(OLD)
    for node in NODES:
        measure_by_hand(node)
    newest = "SELECT node, arg_max(logger_version, started_at) AS version FROM records GROUP BY node ORDER BY node"
    assert query(newest, HUB) == [{"node": node, "version": OLD} for node in NODES]
    nowhere = run("playbooks/rollback.yml", "--limit", "porch")
    assert nowhere.returncode != 0
    assert f"seen no release before {OLD}" in " ".join(nowhere.stdout.split())


def test_the_archive_keeps_its_way_back_and_nothing_older(run, releases):
    on(HUB, "mkdir /opt/speedtest-archive/releases/0.0.9")
    options = (f"speedtest_archive_version={GOOD}", f"speedtest_archive_artifact_dir={releases}")
    for changed in (True, False):
        done = run("playbooks/archive.yml", *(f"--extra-vars={option}" for option in options))
        assert done.returncode == 0, done.stdout[-3000:]
        assert (recap(done)[HUB]["changed"] > 0) == changed
    assert on(HUB, "ls /opt/speedtest-archive/releases").split() == [OLD, GOOD]
    assert on(HUB, "speedtest-archive --version").strip().endswith(GOOD)


def test_nothing_is_there_twice():
    assert query("SELECT run_id FROM records GROUP BY run_id HAVING count(*) > 1", HUB) == []


def test_a_node_in_a_container_is_taken_off_and_its_data_stays(run):
    results = on("shed", f"sha256sum $({RESULTS})").splitlines()
    done = run("playbooks/remove.yml", "--limit", "shed")
    assert done.returncode == 0, done.stdout[-3000:]
    assert on("shed", "docker ps --all --quiet; docker image ls --quiet speedtest-logger") == ""
    assert on("shed", "ls -d /opt/speedtest* /etc/speedtest* /usr/local/bin/speedtest* 2>/dev/null", check=False) == ""
    kept = on("shed", f"sha256sum $({RESULTS})").splitlines()  # a slot can have come before the container went
    assert on("shed", "ls /var/lib/speedtest-telemetry/outbox") == ""
    assert results
    assert set(results) <= set(kept)
    again = run("playbooks/remove.yml", "--limit", "shed")
    assert recap(again)["shed"]["changed"] == 0
