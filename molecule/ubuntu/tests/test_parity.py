"""A node on Ubuntu differs from one on Debian in nothing but its name."""

from __future__ import annotations

import statistics

import pytest
from fleet import on, query, wait_until

from speedtest_logger.inventory import systems

RELEASES = {"noble": ("ubuntu", "24.04"), "jammy": ("ubuntu", "22.04"), "debian": ("debian", "13")}
LINE = {"download_bps": 60e6, "upload_bps": 40e6}
SLOTS = 3
# what tells one record from another, or what no two measurements have in common
OWN = {"run_id", "node", "scheduled_at", "started_at", "finished_at", "raw_sha256", "engine_version"}
TCP = {"upload_latency_ms", "latency_low_ms", "jitter_ms", "latency_ms", "latency_high_ms", "packet_loss_pct"}
FIGURES = {*LINE, *TCP, "bytes_received", "bytes_sent", "background_rx_bytes", "background_tx_bytes"}


@pytest.fixture(scope="module", autouse=True)
def _slots_in_the_archive():
    counted = "SELECT count(*) AS n FROM records WHERE status = 'ok' AND scheduled_at IS NOT NULL GROUP BY node"
    sql = f"SELECT min(n) AS n, count(*) AS nodes FROM ({counted})"

    def enough() -> bool:
        row = query(sql)[0]
        return row["nodes"] == len(RELEASES) and row["n"] >= SLOTS

    wait_until(f"each node has {SLOTS} slots in the archive", enough, 900, "noble")


def rows(node: str):
    return query(f"SELECT * FROM records WHERE node = '{node}' AND status = 'ok'")


@pytest.mark.parametrize("node", RELEASES)
def test_the_machine_is_what_it_is_taken_for_and_is_supported(node):
    seen = systems.parsed(on(node, systems.LOOK))
    print(node, seen)
    assert (seen["id"], seen["version_id"].partition(".")[0]) == (
        RELEASES[node][0],
        RELEASES[node][1].partition(".")[0],
    )
    assert systems.problem(seen, [systems.NODE, systems.TARGET]) is None


def test_a_machine_with_python_3_10_is_no_archive_host_and_is_told_so():
    seen = systems.parsed(on("jammy", systems.LOOK))
    assert "as archive host it needs 3.11 or newer" in systems.problem(seen, [systems.ARCHIVE])


@pytest.mark.parametrize("node", ["noble", "jammy"])
def test_its_records_differ_from_debians_in_nothing_but_what_is_its_own(node):
    here, there = rows(node), rows("debian")
    assert list(here[0]) == list(there[0])
    differ = {
        name for name in here[0] if {row[name] for row in here} != {row[name] for row in there} and name not in FIGURES
    }
    print(f"{node}: columns that differ: {sorted(differ)}")
    assert differ <= OWN
    empty = {name for name in FIGURES if {row[name] is None for row in here} != {row[name] is None for row in there}}
    assert not empty


@pytest.mark.parametrize("column", LINE)
@pytest.mark.parametrize("node", RELEASES)
def test_medians_are_near_the_line(node, column):
    median = statistics.median(row[column] for row in rows(node))
    print(f"{node} {column}: {median / 1e6:.2f} of {LINE[column] / 1e6:.0f} Mbit/s")
    assert 0.85 < median / LINE[column] < 1.05


@pytest.mark.parametrize("node", RELEASES)
def test_the_node_is_well_and_has_delivered(node):
    print(on(node, "systemd-analyze security --no-pager speedtest-logger.service | tail -1"))
    assert on(node, "systemctl is-active speedtest-logger.timer").strip() == "active"
    assert on(node, "speedtest-logger doctor")
    assert not on(node, "systemctl list-units --failed --plain --no-legend 'speedtest-*'").strip()


def test_the_archive_host_on_ubuntu_has_the_whole_archive_and_its_dashboard_answers():
    assert on("archive", "speedtest-archive verify")
    assert on("archive", "curl --fail --silent --show-error http://127.0.0.1:8000/health")
