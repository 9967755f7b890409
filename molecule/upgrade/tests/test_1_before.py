"""The version before has made the fleet; this one's site.yml runs over it, with the same inventory."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from containers import CONTAINER
from fleet import REST, ROOT, attempt, measure_by_hand, on, playbook, query, recap, wait_until

from plugins.desired.roles import Wanted, inputs
from plugins.lookup import release

NODES = ("attic", "porch", "shed")
HUB = "hub"
HOSTS = (HUB, *NODES)
FAILED = 3  # how `measure` ends with a test that failed
RECORDS = "SELECT * FROM records ORDER BY node, started_at, run_id"
BEFORE = "0.1.0"
INSTALLED = {HUB: "/opt/speedtest-archive", **dict.fromkeys(NODES, "/opt/speedtest-telemetry")}
INTERVAL = {"interval_seconds": 300, "offset_seconds": 0, "on_calendar": ["*-*-* *:00/5:00"]}
ROLES: dict[str, dict[str, dict[str, Any]]] = {
    HUB: {
        "speedtest_archive": {"requirements_file": str(ROOT / "requirements/archive.txt")},
        "speedtest_target": {"iperf3_ports": [5201, 5202]},
    },
    **{
        node: {"speedtest_logger": {"node_name": node, "slots": INTERVAL, "engines": ["iperf3"], "runtime": runtime}}
        for node, runtime in zip(NODES, ("systemd", "systemd", "compose"), strict=True)
    },
}
BY_TASKS = {"/opt/speedtest-archive/requirements.txt"}  # made on the way to what a role wants


@dataclass(frozen=True)
class Before:
    """What the version before has left: the archive's records, the run that only its node has, the manifest's end."""

    rows: list[dict[str, Any]]
    waiting: str
    manifest: str  # the SHA-256 of its last line


def files_of_release(host: str) -> set[str]:
    """The files of the release that runs on a host; what Python compiles is left out."""
    found = on(host, f"cd {INSTALLED[host]}/current && find . -type f ! -path '*/__pycache__/*' -printf '%P\\n'")
    return set(found.splitlines())


def measured(node: str) -> str:
    """The run_id of a measurement by hand that ended well."""
    record = json.loads(on(node, "speedtest-logger measure --wait --json 2>/dev/null"))
    assert record["status"] == "ok"
    run_id: str = record["run_id"]
    return run_id


def end_of_manifest() -> str:
    """The SHA-256 of the manifest's last line; the archive is whole, or `verify` fails."""
    said = on(HUB, "speedtest-archive verify")
    found = re.search(r"all is as the manifest says; its line \d+ has SHA-256 (\w+)", said)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def before() -> Before:
    """The version before measures by hand: each node once, one test that fails, one that is not delivered."""
    assert "speedtest_logger/cli.py" in files_of_release("attic") & files_of_release(HUB)
    for node in NODES:
        measure_by_hand(node)
    on(HUB, "systemctl stop 'speedtest-iperf3@*'")
    assert attempt("porch", "speedtest-logger measure --wait").returncode == FAILED
    on(HUB, "systemctl start speedtest-iperf3@5201 speedtest-iperf3@5202")
    on("porch", "speedtest-logger push --force")
    # a slot would have its push deliver what is to wait
    on("attic", REST)
    return Before(query(RECORDS, HUB), measured("attic"), end_of_manifest())


@pytest.fixture(scope="module")
def upgraded(before: Before) -> Before:
    """The same, after this version's site.yml."""
    assert {row["status"] for row in before.rows} >= {"ok", "failed"}
    assert {row["node"] for row in before.rows if row["status"] == "ok"} == set(NODES)
    assert before.waiting not in {row["run_id"] for row in before.rows}
    assert before.waiting in on("attic", "cat /var/lib/speedtest-telemetry/outbox/*.csv")
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    counts = recap(done)
    assert all(counts[host]["changed"] > 0 for host in HOSTS)
    return before


def test_every_machine_runs_this_version_and_has_no_file_of_the_other(upgraded):
    ours = frozenset(release.contents())
    assert {host: files_of_release(host) for host in HOSTS} == dict.fromkeys(HOSTS, ours)
    package = "/opt/speedtest-telemetry/speedtest_logger"
    found = on("shed", f"docker exec {CONTAINER} find {package} -type f ! -path '*/__pycache__/*' -printf '%P\\n'")
    assert set(found.splitlines()) == {
        name.removeprefix("speedtest_logger/") for name in ours if name.startswith("speedtest_logger/")
    }


def test_a_second_run_changes_nothing(upgraded):
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {host: counts["changed"] for host, counts in recap(done).items() if counts["changed"]} == {}


def test_what_waited_on_a_node_is_delivered_by_its_timer(upgraded):
    arrived = f"SELECT node, status FROM records WHERE run_id = '{upgraded.waiting}'"
    wait_until("the record is delivered", lambda: bool(query(arrived, HUB)), 150, "attic")
    assert query(arrived, HUB) == [{"node": "attic", "status": "ok"}]


def test_every_record_is_there_once_and_as_it_was(upgraded):
    runs = {row["run_id"] for row in upgraded.rows}
    assert [row for row in query(RECORDS, HUB) if row["run_id"] in runs] == upgraded.rows


def test_every_node_measures_and_delivers(upgraded):
    for node in NODES:
        run = measured(node)
        on(node, "speedtest-logger push --force")
        found = query(f"SELECT node, status FROM records WHERE run_id = '{run}'", HUB)
        assert found == [{"node": node, "status": "ok"}]


def test_the_manifest_continues_in_one_chain(upgraded):
    assert end_of_manifest() != upgraded.manifest
    lines = on(HUB, "cat /srv/speedtest-archive/manifest/*.jsonl").splitlines()
    named = [line for line in map(json.loads, lines) if upgraded.manifest in (line["previous"], line.get("last"))]
    assert len(named) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_left_that_this_version_does_not_know(upgraded, host, tmp_path):
    way_back = {f"{INSTALLED[host]}/{name}" for name in ("previous", f"releases/{BEFORE}")}
    known, units = BY_TASKS | way_back, set()
    for role, given in ROLES[host].items():
        variables = {f"{role}_{name}": value for name, value in {"artifact_dir": str(tmp_path), **given}.items()}
        wanted = Wanted(role, inputs(role, variables, lambda value: value)).desired
        kinds = ("files", "directories", "links", "attributes", "releases")
        known |= {item["path"] for kind in kinds for item in wanted.get(kind, [])}
        known |= {item["previous"] for item in wanted.get("links", []) if item.get("previous")}  # the way back
        units |= {item["name"] for item in wanted.get("units", [])}
    inside = "-path '/opt/*/releases/*/*' -o -path '/opt/*/venvs/*'"
    found = on(host, rf"find /etc /usr/local /opt \( {inside} \) -prune -o -path '*speedtest*' -print").splitlines()
    assert found
    enabled = {path.rpartition(".wants/")[2] for path in found if ".wants/" in path}
    assert {path for path in found if ".wants/" not in path} - known == set()
    assert enabled - units == set()
