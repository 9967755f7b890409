"""Results of probes as they come in: judged each, bounded, and never in the way of a record or of another node."""

from __future__ import annotations

import json

import pytest
from deliveries import DAY, NOW, record, send

from speedtest_logger import wire
from speedtest_logger.archive.arrive import probe_results, receive, standing
from speedtest_logger.archive.arrive.delivery import as_line
from speedtest_logger.errors import RefusedError
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.record import utc_text

REGISTRY = {"nodes": {}, "inventory": {"attic": {"location": "home"}, "porch": {"location": "garden"}}}
pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def archive(archive):
    """One that knows where two nodes are."""
    (archive.fleet / "schedule.json").write_text(json.dumps(REGISTRY))
    return archive


def result(number=0, at=None, **more):
    start = NOW - 3_000 + 300 * number if at is None else at
    row = ProbeResult(
        started_at=utc_text(start), finished_at=utc_text(start + 241), location="home", probe="ping", target="1.1.1.1",
        runs=5, sent=15, lost=0, min_ms=8.0, median_ms=9.0, p90_ms=12.5, max_ms=20.0,
    ).to_row()  # fmt: skip
    return {**row, **more}


def limits(**more):
    return receive.Limits(**{"free_mb": 0, "low_disk_mb": 0, "probe_day_mb": 1, **more})


def deliver(archive, *lines, node="attic", of=None):
    return send(archive, b"".join(lines), node, of or limits())


def kept(archive, node="attic"):
    files = sorted((archive.probe_inbox / node).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def refused(archive, node="attic"):
    files = archive.quarantine.glob(f"{node}/*.jsonl")
    return [json.loads(line)["reason"] for file in files for line in file.read_text().splitlines()]


def test_results_are_kept_as_they_came_and_need_not_come_again(archive):
    given = [result(), result(1, lost=15, min_ms=None, median_ms=None, p90_ms=None, max_ms=None, reason="no_answer")]
    receipt = deliver(archive, record(), wire.probe_lines(given))
    assert (len(receipt["accepted"]), receipt["rejected"], receipt["probes"]) == (1, {}, True)
    assert "probes" in receipt["knows"]
    assert kept(archive) == [{name: value for name, value in row.items() if value is not None} for row in given]
    [file] = (archive.probe_inbox / "attic").iterdir()
    assert file.stat().st_mode & 0o007 == 0
    assert refused(archive) == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"location": "garden"}, "other_location"),
        ({"at": NOW - 36 * DAY}, "too_old"),
        ({"at": NOW + 400}, "from_the_future"),
        ({"finished_at": utc_text(NOW + 400)}, "from_the_future"),
        ({"at": NOW - DAY, "finished_at": utc_text(NOW)}, "bad_time"),
        ({"failed_from": utc_text(NOW - 3_001), "failed_until": utc_text(NOW - 2_900)}, "bad_time"),
        ({"failed_from": utc_text(NOW - 2_900), "failed_until": utc_text(NOW - 2_000)}, "bad_time"),
        ({"node": "porch"}, "unknown_column"),
        ({"schema_version": 2}, "schema_version"),
        ({"lost": 16}, "bad_number"),
        ({"target": "x" * 300}, "bad_target"),
    ],
)
def test_what_a_node_may_not_say_is_refused_and_the_others_are_not(archive, more, reason):
    bad, at = dict(more), more.get("at")
    bad.pop("at", None)
    receipt = deliver(archive, record(), wire.probe_lines([result(), result(at=at, **bad), result(2)]), record(1))
    assert (len(receipt["accepted"]), receipt["rejected"], receipt["probes"]) == (2, {}, True)
    assert [row["started_at"] for row in kept(archive)] == [result()["started_at"], result(2)["started_at"]]
    assert refused(archive) == [reason]


@pytest.mark.parametrize("said", [{}, 7, "x", None, [7], [[]], [None], [{}]])
def test_what_no_node_sends_is_refused_and_the_records_are_not(archive, said):
    receipt = deliver(archive, record(), json.dumps({"probes": said}).encode() + b"\n", record(1))
    assert (len(receipt["accepted"]), receipt["rejected"]) == (2, {})
    assert kept(archive) == []
    assert len(refused(archive)) == 1


def test_a_record_cannot_pass_for_results(archive):
    disguised = json.dumps({"probes": [], **json.loads(record())}).encode() + b"\n"
    assert deliver(archive, disguised)["accepted"] == []
    assert deliver(archive, b'{"probes": nonsense}\n', record())["accepted"]


def test_a_line_is_bounded(archive):
    with pytest.raises(RefusedError, match="line 1 is longer than 32000"):
        deliver(archive, json.dumps({"probes": [result(number) for number in range(200)]}).encode() + b"\n")
    assert kept(archive) == []


def test_a_flood_is_cut_off_for_the_day_and_its_records_and_others_are_not(archive, clock):
    for number in range(6):
        flood = [result(at=NOW - 9_000 + place, target=f"host-{number}") for place in range(800)]
        receipt = deliver(archive, record(number), wire.probe_lines(flood))
        assert (len(receipt["accepted"]), receipt["probes"]) == (1, True)
    stored = sum(len(as_line(row)) for row in kept(archive))
    assert 0.99e6 < stored <= 1e6
    assert deliver(archive, wire.probe_lines([result(location="garden")]), node="porch")["probes"]
    assert len(kept(archive, "porch")) == 1
    [problem] = standing.problems(archive, NOW)
    assert problem.startswith(f"node attic: {6 * 800 - len(kept(archive)):,} results of its probes left out since ")
    before = len(kept(archive))
    clock(NOW + DAY)  # there is room again
    deliver(archive, wire.probe_lines([result()]))
    assert len(kept(archive)) == before + 1


def test_bad_results_are_looked_at_a_hundred_times_and_no_more(archive):
    deliver(archive, wire.probe_lines([result(lost=99)] * 70), wire.probe_lines([result(lost=99)] * 70))
    stands = standing.load(standing.file_of(archive, "attic"))
    assert (stands.records, stands.probe_over) == (100, 40)


def test_more_than_a_node_sends_is_counted_unseen(archive, monkeypatch):
    monkeypatch.setattr(probe_results, "PARSED_BYTES", 50_000)
    deliver(archive, wire.probe_lines([result(at=NOW - 5_000 + number) for number in range(300)]))
    stands = standing.load(standing.file_of(archive, "attic"))
    assert 0 < len(kept(archive)) < 200
    assert stands.probe_over == 300 - len(kept(archive))


@pytest.mark.parametrize("why", ["full", "low disk", "unknown", "broken"])
def test_what_cannot_be_taken_now_stays_on_the_node(archive, why):
    of, node = limits(probe_day_mb=9_000, probe_inbox_mb=1), "attic"
    flood = wire.probe_lines([result(at=NOW - 9_000 + number) for number in range(1_000)])
    if why == "full":
        while deliver(archive, flood, of=of)["probes"]:
            pass
    elif why == "low disk":
        of = limits(low_disk_mb=10_000_000)
    elif why == "unknown":
        node = "stranger"
    else:
        (archive.probe_inbox / "attic").write_text("a file where the folder is to be")
    receipt = deliver(archive, record(node=node), flood, node=node, of=of)
    assert receipt["probes"] is False
    assert len(receipt["accepted"]) + len(receipt["later"]) == 1
    if why != "full":
        assert not list(archive.probe_inbox.glob("*/*"))
    assert not [file for file in archive.probe_inbox.rglob(".*.tmp") if file.is_file()]
