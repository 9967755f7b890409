"""A tree of plain files has each run of the days that are over once, whoever was killed, came late or came twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import obstore
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from builders import DAY, FIRST, by_hand, bytes_of, fresh, put, run, slot, stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive.care import prune
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.record import unix_time
from speedtest_logger.sinks import tree
from speedtest_logger.sinks.place import Place

HOME = "uploads/location=home/year=2026/month=01"


@pytest.fixture
def place(tmp_path):
    return Place.of(str(tmp_path / "plain"))


@pytest.fixture
def clock(monkeypatch):
    """What time it is: the test moves it."""
    now = [FIRST + 40.0 * DAY]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def publish(layout, place, *, results=False, **how):
    return vars(tree.Tree(layout, place, results).publish(**how))


def files(place, ends="parquet"):
    return sorted(str(file.relative_to(place.address)) for file in Path(place.address).rglob(f"*.{ends}"))


def runs(place, folder="uploads", form="parquet"):
    """Each (node, run_id, location) of a tree as a program reads it that knows nothing of us."""
    table = ds.dataset(f"{place.address}/{folder}", format=form, partitioning="hive").to_table(
        columns=["node", "run_id", "location", "speedtest_address", "year", "month", "day", "started_at"]
    )
    for row in table.to_pylist():
        at = row["started_at"]
        assert (row["location"], row["year"], row["month"], row["day"]) == (
            row["speedtest_address"], at.year, at.month, at.day)  # fmt: skip
    return Counter((row["node"], row["run_id"], row["location"]) for row in table.to_pylist())


def of_archive(layout, before):
    """Those of the archive that started before a moment (Unix time, s)."""
    return Counter((node, run_id, place) for node, run_id, place, at in stored(layout) if unix_time(at) < before)


def test_days_that_are_over_are_there_once_in_the_folders_that_others_know(layout, place, clock):
    clock[0] = FIRST + 3 * DAY + tree.SETTLED
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 300), slot("porch", FIRST + DAY, "garden"))
    put(layout, slot("attic", FIRST + 3 * DAY + 600))  # today
    assert publish(layout, place) == {"records": 3, "files": 2, "results": 0}
    assert files(place) == [
        "uploads/location=garden/year=2026/month=01/day=02/speedtest_001.parquet",
        f"{HOME}/day=01/speedtest_001.parquet",
    ]
    assert runs(place) == of_archive(layout, FIRST + 3 * DAY)
    before = bytes_of(Path(place.address))
    assert publish(layout, place) == {"records": 0, "files": 0, "results": 0}
    assert bytes_of(Path(place.address)) == before
    clock[0] += DAY
    assert publish(layout, place)["files"] == 1  # nothing came; the day is over
    assert runs(place) == of_archive(layout, clock[0])
    assert publish(layout, place)["files"] == 0


def test_what_comes_late_comes_into_the_next_number_and_no_file_changes(layout, place, clock):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    first = Path(place.address, f"{HOME}/day=01/speedtest_001.parquet").read_bytes()
    put(layout, slot("attic", FIRST + 300), slot("porch", FIRST + 600))
    assert publish(layout, place) == {"records": 2, "files": 1, "results": 0}
    assert files(place) == [f"{HOME}/day=01/speedtest_{number}.parquet" for number in ("001", "002")]
    assert Path(place.address, files(place)[0]).read_bytes() == first
    assert runs(place) == of_archive(layout, clock[0])


def test_a_day_is_over_an_hour_after_its_end(layout, place, clock):
    put(layout, slot("attic", FIRST))
    for now, count in ((FIRST + DAY - 1, 0), (FIRST + DAY + tree.SETTLED - 1, 0), (FIRST + DAY + tree.SETTLED, 1)):
        clock[0] = now
        publish(layout, place)
        assert len(files(place)) == count


def test_its_columns_are_speedsnakes_and_the_records_own(layout, place, clock):
    failed = slot("attic", FIRST + 300, status="failed", reason="no_route", download_bps=None, upload_bps=None)
    put(layout, slot("attic", FIRST, latency_ms=7.5, external_ip="192.0.2.7", isp="Example"), failed)
    publish(layout, place)
    [file] = files(place)
    found = pq.ParquetFile(Path(place.address, file))
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    names = found.schema_arrow.names
    assert names[:8] == ["download", "upload", "ping", "timestamp", "share", "client_ip", "client_isp",
                         "speedtest_address"]  # fmt: skip
    assert not {"location", "year", "month", "day"} & set(names)  # the folders say them
    ok, bad = found.read().to_pylist()
    assert (ok["download"], ok["upload"], ok["ping"], ok["timestamp"], ok["client_ip"], ok["client_isp"]) == (
        1e8, 5e7, 7.5, "2026-01-01T00:00:01.000Z", "192.0.2.7", "Example")  # fmt: skip
    assert (bad["download"], bad["status"], bad["reason"]) == (None, "failed", "no_route")
    frame = pd.read_parquet(place.address + "/uploads")
    assert list(frame["download"].dropna()) == [1e8]


def test_an_archive_that_lost_all_takes_its_runs_back_from_the_tree(layout, place, clock, tmp_path):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 300, status="failed", reason="no_route", download_bps=None,
                                           upload_bps=None))  # fmt: skip
    put(layout, slot("attic", FIRST + 600))
    publish(layout, place)
    back = Layout(tmp_path / "back")
    back.prepare()
    assert run(back, "import", place.address + "/uploads") == 0
    assert stored(back) == stored(layout)


class CutOffError(BaseException):
    """What a kill is to the code."""


@given(st.randoms(use_true_random=False))
@settings(max_examples=tries(2), suppress_health_check=list(HealthCheck))
def test_whatever_comes_and_is_cut_off_each_run_is_there_once(tmp_path_factory, chance):
    """A kill comes before or after an object is there; what may expire of results/ is nobody's loss."""
    layout = fresh(tmp_path_factory)
    place = Place.of(str(tmp_path_factory.mktemp("store")))
    now = [FIRST + 20.0 * DAY]
    put_object, left = obstore.put, [0]

    def cut_off(*args, **how):
        left[0] -= 1
        if left[0] == 0 and chance.random() < 0.5:
            raise CutOffError
        done = put_object(*args, **how)
        if left[0] == 0:
            raise CutOffError
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now[0])
        patch.setattr(tree, "KEPT_SECONDS", chance.choice([0.0, 30.0]))
        patch.setattr(obstore, "put", cut_off)
        for _ in range(4):
            for _ in range(chance.randrange(3)):
                at = now[0] // DAY * DAY - chance.randrange(4) * DAY
                node, location = chance.choice(["attic", "porch"]), chance.choice(["home", "garden"])
                put(layout, *(slot(node, at + 300 * number, location) for number in range(chance.randrange(1, 4))))
            now[0] += chance.choice([60, tree.SETTLED, DAY])
            left[0] = chance.randrange(6)
            try:
                publish(layout, place, results=True, rebuild=chance.random() < 0.1)
            except CutOffError:
                left[0] = 0
                publish(layout, place, results=True)
            today = (now[0] - tree.SETTLED) // DAY * DAY
            expected = of_archive(layout, today)
            assert (runs(place) if expected else Counter()) == expected
            assert tree.Tree(layout, place).compared() == []
            days = Counter(run for run in of_archive(layout, now[0] + DAY) if run not in expected)
            assert not days or not days - runs(place, "results", "csv")


def test_today_lies_in_results_as_csv_by_the_second(layout, place, clock):
    clock[0] = FIRST + 3 * DAY + 7200
    put(layout, slot("attic", FIRST + 3 * DAY), slot("attic", FIRST))
    assert publish(layout, place, results=True) == {"records": 1, "files": 1, "results": 1}
    folder = "results/location=home/year=2026/month=01/day=04"
    assert files(place, "csv") == [f"{folder}/speedtest_00-00-01.csv"]
    put(
        layout,
        slot("porch", FIRST + 3 * DAY),
        by_hand("attic", 7, FIRST + 3 * DAY + 0.5),
        slot("attic", FIRST + 4 * DAY),
    )
    assert publish(layout, place, results=True)["results"] == 2
    [first, _tomorrow] = files(place, "csv")
    assert first == f"{folder}/speedtest_00-00-01.csv"
    assert sorted(pd.read_csv(Path(place.address, first))["node"]) == ["attic", "attic", "porch"]
    assert runs(place, "results", "csv") == of_archive(layout, FIRST + 9 * DAY) - of_archive(layout, FIRST + DAY)
    assert publish(layout, place, results=True)["results"] == 0


@pytest.mark.parametrize("point", range(1, 7))
def test_a_publish_that_is_cut_off_shows_today_the_next_time(layout, place, clock, monkeypatch, point):
    clock[0] = FIRST + 3 * DAY + 7200
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 3 * DAY), slot("porch", FIRST + 3 * DAY + 300, "garden"))
    put_object, left = obstore.put, [point]

    def cut_off(*args, **how):
        left[0] -= 1
        if left[0] == 0:
            raise CutOffError
        return put_object(*args, **how)

    monkeypatch.setattr(obstore, "put", cut_off)
    with pytest.raises(CutOffError):
        publish(layout, place, results=True)
    publish(layout, place, results=True)
    assert runs(place) == of_archive(layout, FIRST + DAY)
    assert runs(place, "results", "csv") == of_archive(layout, clock[0]) - of_archive(layout, FIRST + DAY)


def test_what_is_pruned_stays_and_what_is_wrong_is_told(layout, place, clock):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 38 * DAY))
    publish(layout, place)
    there = runs(place)
    clock[0] = FIRST + 400.0 * DAY
    prune.prune(layout, FIRST + 400 * DAY, 350 * DAY, None)
    assert len(stored(layout)) == 1
    assert publish(layout, place)["files"] == 0
    assert runs(place) == there
    plain = tree.Tree(layout, place)
    assert plain.compared() == []
    kept = Path(place.address, "uploads/location=home/year=2026/month=02/day=08")
    twice = kept / "speedtest_002.parquet"
    twice.write_bytes((kept / "speedtest_001.parquet").read_bytes())
    assert ["0 runs" in told and "1 are there twice" in told for told in plain.compared()] == [True]
    (kept / "speedtest_001.parquet").unlink()
    twice.unlink()
    assert ["1 runs of the archive are not there" in told for told in plain.compared()] == [True]
    assert publish(layout, place, rebuild=True)["records"] == 1
    assert plain.compared() == []


@pytest.mark.parametrize("said", [b"", b"nonsense", b"[]", b'{"cursor": "x", "waiting": {}}', b'{"cursor": null}',
                                  b'{"cursor": null, "waiting": {"../x": null}}'])  # fmt: skip
def test_a_state_that_makes_no_sense_costs_a_look_and_nothing_else(layout, place, clock, said):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    before, state = bytes_of(Path(place.address)), Path(place.address, tree.STATE)
    right = state.read_bytes()
    state.write_bytes(said)
    assert publish(layout, place)["files"] == 0
    assert state.read_bytes() == right
    assert bytes_of(Path(place.address)) == before


def test_a_tree_of_another_archive_is_refused_until_it_shall_have_both(layout, place, clock, tmp_path):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    another = Layout(tmp_path / "another")
    another.prepare()
    put(another, slot("shed", FIRST), slot("shed", FIRST + DAY))
    with pytest.raises(UsageError, match="tree of another archive"):
        publish(another, place)
    assert publish(another, place, rebuild=True)["records"] == 2
    assert runs(place) == of_archive(another, clock[0]) + of_archive(layout, clock[0])


def test_what_is_larger_than_a_day_can_be_is_not_read(layout, place, clock):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    with Path(place.address, f"{HOME}/day=01/speedtest_002.parquet").open("wb") as file:
        file.truncate(tree.MOST_FILE_BYTES + 1)
    put(layout, slot("attic", FIRST + 300))
    with pytest.raises(StorageError, match=r"speedtest_002.parquet has 100000001 bytes, 100000000 at most"):
        publish(layout, place)


def test_a_file_of_somebody_else_is_named_and_left(layout, place, clock):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    file = Path(place.address, f"{HOME}/day=01/speedtest_002.parquet")
    file.write_bytes(b"no Parquet")
    put(layout, slot("attic", FIRST + 300))
    with pytest.raises(StorageError, match=r"speedtest_002.parquet is no file of an archive"):
        publish(layout, place)
    assert file.read_bytes() == b"no Parquet"


def test_a_store_that_heeds_no_condition_is_refused(layout, place, clock, monkeypatch):
    put(layout, slot("attic", FIRST))
    put_object = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, path, content, **_: put_object(store, path, content))
    with pytest.raises(StorageError, match="ignores If-None-Match"):
        publish(layout, place)
    assert files(place) == []


def test_who_does_not_ask_for_a_tree_has_none(layout, tmp_path, capsys):
    put(layout, slot("attic", FIRST))
    table, plain = str(tmp_path / "store/records"), str(tmp_path / "store/plain")
    assert run(layout, "publish", table) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 1, "commits": 1, "line": 1}
    assert sorted(place.name for place in (tmp_path / "store").iterdir()) == ["records"]
    assert run(layout, "publish", "--tree", plain, table) == 0
    assert json.loads(capsys.readouterr().out)["tree"] == {"records": 1, "files": 1, "results": 0}
    assert run(layout, "publish", "--check", "--tree", plain, table) == 0
    assert "once" in capsys.readouterr().err
    Path(plain, f"{HOME}/day=01/speedtest_001.parquet").unlink()
    assert run(layout, "publish", "--check", "--tree", plain, table) == 1
    assert run(layout, "publish", "--rebuild", "--tree", plain, table) == 0
    assert run(layout, "publish", "--check", "--tree", plain, table) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tree", "/t/records", "/t/records"], "upkeep of the table"),
        (["--tree", "/t/records/plain/", "/t/records"], "upkeep of the table"),
        (["--tree", "/t", "/t/results/table"], "may expire"),
        (["--results", "/t/records"], "goes with --tree"),
    ],
)
def test_a_tree_in_the_tables_way_is_refused(layout, capsys, words, said):
    assert run(layout, "publish", *words) == 2
    assert said in capsys.readouterr().err
