"""One run of one node is stored once: over batches, months, locations, nodes; what differs lies in quarantine."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from builders import DAY, FIRST, as_stored, by_hand, fleet, fresh, put_apart, run, slot, stored, wait
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format import runs
from speedtest_logger.archive.write import doubles, ingest, store
from speedtest_logger.archive.write.importing.run import Source
from speedtest_logger.archive.write.importing.run import run as bring
from speedtest_logger.record import run_id_of_slot, unix_time, utc_text


def test_another_nodes_future_cannot_be_taken_away(layout):
    slots = [FIRST + 300 * n for n in range(20)]
    forged = [slot("aaa-mallory", at, run_id=run_id_of_slot("attic", utc_text(at))) for at in slots]
    honest = [slot("attic", at) for at in slots]
    assert put_apart(layout, *forged, *honest[:10]).added == 30  # in one batch, the forger's name sorting first
    outcome = put_apart(layout, *honest[10:])  # and later
    assert (outcome.added, outcome.different) == (10, 0)
    assert stored(layout) == as_stored(*forged, *honest)
    assert aside.of(layout) == {}


@pytest.mark.parametrize("first", ["stored", "in the same batch"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"download_bps": 1.0}, "download_bps is 1.0, in the stored record 100000000.0"),
        ({"location": "garden"}, "location is garden, in the stored record home"),
        ({"started_at": utc_text(FIRST - 0.5)}, "started_at is 2025-12-31T23:59:59.500Z, in the stored record"),
        ({"isp": "x" * 99}, f"isp is {'x' * 60}…, in the stored record empty"),
        ({"upload_bps": None, "status": "partial", "reason": "incomplete"}, "reason, upload_bps differ too"),
    ],
)
def test_another_record_of_a_run_lies_aside_and_is_said_until_it_is_removed(layout, capsys, first, changes, words):
    one = slot("attic", FIRST)
    other = {**one, **changes}
    if first == "stored":
        put_apart(layout, one)
        outcome = put_apart(layout, other, one)
        assert (outcome.added, outcome.duplicates, outcome.different) == (0, 1, 1)
    else:
        outcome = put_apart(layout, one, other, one)
        assert (outcome.added, outcome.duplicates, outcome.different) == (1, 1, 1)
    assert stored(layout) == as_stored(one)
    assert not list(layout.inbox.glob("*/*"))
    put_apart(layout, slot("attic", FIRST + 300))  # and the next ingest forgets nothing
    state = fleet(layout, capsys)
    (problem,) = state["problems"]
    assert problem.startswith("node attic: 1 record lies in quarantine that the archive has with other content")
    assert words in problem
    (entry,) = map(json.loads, next(layout.quarantine.glob("attic/*.different_record.jsonl")).read_text().splitlines())
    assert json.loads(entry["line"]) == {name: value for name, value in other.items() if value is not None}
    assert run(layout, "nodes", "--format", "json") == 0
    assert [row["aside"] for row in json.loads(capsys.readouterr().out)] == [1]
    for file in layout.quarantine.glob("attic/*"):
        file.unlink()
    assert fleet(layout, capsys)["problems"] == []


def test_a_repetition_is_silent_whatever_came_before_it_in_the_batch(layout):
    one = slot("attic", FIRST, latency_ms=0.1 + 0.2, message="é\u2028")
    put_apart(layout, one)
    outcome = put_apart(layout, {**one, "latency_ms": 0.3}, one, one)
    assert (outcome.duplicates, outcome.different) == (2, 1)
    assert aside.of(layout)["attic"].different == 1


def test_the_same_other_record_lies_there_once_and_a_flood_of_them_is_counted(layout, capsys, monkeypatch):
    one = slot("attic", FIRST)
    put_apart(layout, one)
    for _ in range(3):
        put_apart(layout, {**one, "download_bps": 2.0})
    assert aside.of(layout)["attic"].different == 1
    monkeypatch.setattr(ingest, "MB", 4000)  # of quarantine: 20,000 bytes
    for turn in range(6):
        put_apart(layout, *({**one, "download_bps": 10.0 + turn * 50 + n, "message": "x" * 900} for n in range(50)))
    assert sum(file.stat().st_size for file in layout.quarantine.glob("attic/*.jsonl")) < 25_000
    lies = aside.of(layout)["attic"]
    assert lies.different + lies.counted["different_record"]["count"] == 301
    problems = fleet(layout, capsys)["problems"]
    assert any("were not kept" in problem for problem in problems)
    assert len(problems) == 2


def test_a_crash_after_a_record_was_laid_aside_lays_it_there_once(layout, monkeypatch):
    one = slot("attic", FIRST)
    put_apart(layout, one)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put_apart(layout, {**one, "download_bps": 2.0})
    assert ingest.ingest(layout).different == 1
    assert aside.of(layout)["attic"].different == 1
    assert not list(layout.inbox.glob("*/*"))


def test_a_moved_node_and_a_months_end_cost_a_look_elsewhere_and_the_middle_of_a_month_none(layout, monkeypatch):
    put_apart(
        layout, slot("attic", FIRST + 10 * DAY), slot("shed", FIRST + 10 * DAY, "garden"), slot("shed", FIRST, "farm")
    )
    looked = []
    original = runs.look
    monkeypatch.setattr(runs, "look", lambda file, *rest: (looked.append(file.path), original(file, *rest))[1])
    own = layout.month_file("home", 2026, 1)
    put_apart(layout, slot("attic", FIRST + 11 * DAY))
    assert looked == [own]
    put_apart(layout, slot("attic", FIRST + 30.9 * DAY))
    put_apart(layout, slot("attic", FIRST + 31.5 * DAY))
    assert looked == [own, own, own]  # the month before; its own is not there yet
    looked.clear()
    put_apart(layout, slot("shed", FIRST + 11 * DAY, "garden"))  # farm has rows of other days only
    assert looked == [layout.month_file("garden", 2026, 1)]


def test_a_month_that_cannot_be_read_is_passed_over_where_rows_of_others_could_be(layout):
    put_apart(layout, slot("attic", FIRST + 10 * DAY), slot("attic", FIRST + 40 * DAY))
    layout.month_file("home", 2026, 1).write_bytes(b"no Parquet")
    outcome = put_apart(layout, slot("attic", FIRST + 31.2 * DAY))
    assert (outcome.added, outcome.damaged) == (1, [])


SLOTS = st.builds(
    lambda node, edge, minutes, place, late, speed: slot(
        node, FIRST + edge * DAY + minutes * 60, place, late, download_bps=float(speed)
    ),
    st.sampled_from(["attic", "shed"]), st.sampled_from([0, 15, 31]), st.integers(-1, 1),
    st.sampled_from(["home", "garden"]), st.sampled_from([-70.0, 0.0, 70.0]), st.integers(1, 2),
)  # fmt: skip
HANDS = st.builds(
    lambda node, number, edge, place: by_hand(node, number, FIRST + edge * DAY, place),
    st.sampled_from(["attic", "shed"]), st.integers(0, 2), st.sampled_from([-300, 0, 31, 300]),
    st.sampled_from(["home", "garden"]),
)  # fmt: skip


@settings(max_examples=tries(12))
@given(batches=st.lists(st.lists(st.one_of(SLOTS, HANDS), max_size=6), min_size=1, max_size=4))
def test_each_run_of_a_node_is_there_once_and_a_fresh_query_says_the_same_before(tmp_path_factory, batches):
    layout = fresh(tmp_path_factory)
    firsts, others = {}, set()
    for batch in batches:
        for row in batch:
            first = firsts.setdefault((row["node"], row["run_id"]), row)
            if first != row:
                others.add(json.dumps(row))
        wait(layout, *batch)
        asked = "SELECT node, run_id, location, started_at FROM records"
        before = open_archive(layout.root, fresh=True).query(asked).to_pylist()
        garden = open_archive(layout.root, fresh=True).only(location="garden").query(asked).to_pylist()
        ingest.ingest(layout)
        after = open_archive(layout.root).query(asked).to_pylist()
        key = lambda each: (each["node"], each["run_id"])  # noqa: E731
        assert sorted(before, key=key) == sorted(after, key=key)
        assert sorted(garden, key=key) == sorted((r for r in after if r["location"] == "garden"), key=key)
    assert stored(layout) == as_stored(*firsts.values())
    assert sum(lies.different for lies in aside.of(layout).values()) == len(others)
    assert verify.verify(layout) == []


def test_an_import_names_what_it_did_not_take(layout, tmp_path):
    one = slot("attic", FIRST)
    put_apart(layout, one)
    file = tmp_path / "rows.jsonl"
    rows = [one, {**one, "location": "garden"}, slot("shed", FIRST, run_id=one["run_id"]), slot("attic", FIRST + 300)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(None)
    assert bring(layout, [file], source, dry_run=True)[0].added == 2
    done = bring(layout, [file], source, dry_run=False)[0]
    assert (done.added, done.duplicates, done.different, done.refused) == (2, 2, 1, 0)
    assert "location is garden, in the stored record home" in done.problems[0]
    assert bring(layout, [file], source, dry_run=True)[0].added == 0


def test_columns_that_only_one_side_has_differ_where_they_have_values(layout):
    one = slot("attic", FIRST)
    put_apart(layout, one)
    file = layout.month_files()[0]
    for values, different in (([None], 0), ([7.0], 1)):
        table = pq.ParquetFile(file).read()
        table = table.drop_columns([name for name in ("quic_bps", "isp") if name in table.column_names])
        pq.write_table(table.append_column("quic_bps", [values]), file)
        assert put_apart(layout, one).different == different
    assert put_apart(layout, {**one, "isp": "Example Net"}).different == 1


def test_a_million_rows_are_looked_through_for_a_measurement_by_hand_and_no_more(layout, monkeypatch):
    put_apart(layout, *(by_hand("attic", n, FIRST + 31 * DAY * n) for n in range(9)))
    monkeypatch.setattr(doubles, "MOST_ROWS", 3)
    near, far = (by_hand("attic", n, FIRST + 31 * DAY * 5 + 9) for n in (4, 0))
    assert put_apart(layout, near).added == 0
    assert put_apart(layout, far).added == 1
    assert unix_time(near["started_at"]) > FIRST


def test_a_change_that_crashed_before_the_index_knew_it_is_known_afterwards(layout, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put_apart(layout, slot("attic", FIRST))
    for file in layout.inbox.glob("attic/*"):
        file.unlink()
    assert put_apart(layout, slot("attic", FIRST, "garden")).different == 1
