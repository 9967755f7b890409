"""Rollups are what the raw archive says, whatever became of it since they were made."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, by_hand, fresh, put, slot
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive.care import prune
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.read import rollup
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import VALUES, Rollups
from speedtest_logger.errors import StorageError

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns")
MEASURED = [*VALUES.values()]


def figures(archive, at):
    """Each node's and each shared location's figures by a beginning, from the records themselves."""
    columns = ", ".join(
        f"quantile_cont({column}, 0.1) AS {name}_low, quantile_cont({column}, 0.5) AS {name}, "
        f"quantile_cont({column}, 0.9) AS {name}_high, count({column}) AS {name}_tests"
        for name, column in VALUES.items()
    )
    counts = ", ".join(f"count(*) FILTER (status = '{status}') AS {status}" for status in rollup.STATUSES)
    parts = (
        f"SELECT {who} AS node, location, {at} AS start, {counts}, {columns}, sum(bytes_received) AS bytes_received, "
        f"sum(bytes_sent) AS bytes_sent FROM records GROUP BY {by} HAVING {having}"
        for who, by, having in (("node", "ALL", "true"), ("''", "location, 3", "count(DISTINCT node) > 1"))
    )
    found = archive.query(" UNION ALL ".join(parts)).to_pylist()
    shared = {(row["location"], row["start"]) for row in found if not row["node"]}
    for row in found:
        row["whole"] = not row["node"] or (row["location"], row["start"]) not in shared
    return sorted(found, key=lambda row: (row["node"], row["location"], row["start"]))


def same(rollups, zone):
    """Whether every table is what the records say."""
    archive = Archive(rollups.layout)
    hour = "CAST(floor(epoch(started_at)) AS BIGINT) // 3600 * 3600"
    midnight = f"CAST(floor(epoch(timezone('{zone}', date_trunc('day', timezone('{zone}', started_at))))) AS BIGINT)"
    for table, at in (("hour", hour), ("day", midnight)):
        columns = "node, location, start, * EXCLUDE (node, location, start)"
        assert rollups.rows(f"SELECT {columns} FROM {table} ORDER BY node, location, start") == figures(archive, at)
    sql = """SELECT node, location, CAST(floor(epoch(coalesce(scheduled_at, started_at))) AS BIGINT) AS moment,
             CASE WHEN scheduled_at IS NULL THEN hash(run_id) END AS run, status, reason,
             epoch_ms(started_at) AS started FROM records ORDER BY ALL"""
    assert rollups.rows("SELECT * FROM slot ORDER BY ALL") == archive.query(sql).to_pylist()


@st.composite
def rows(draw):
    """A record of one of three nodes in two locations, in a winter and spring with a change of the clocks in it."""
    node = draw(st.sampled_from(["attic", "porch", "shed"]))
    at = FIRST + draw(st.integers(0, 100 * 24)) * 3600 + draw(st.sampled_from([0, 1795, 3599]))
    number = st.none() | st.floats(0, 1e9, allow_nan=False)
    values = {column: draw(number) for column in MEASURED}
    status = draw(st.sampled_from(rollup.STATUSES))
    values |= {"status": status, "reason": "locked" if status in ("failed", "skipped") else None}
    values |= {
        "packet_loss_pct": draw(st.none() | st.floats(0, 100)),
        "bytes_received": draw(st.none() | st.integers(0, 9)),
    }
    location = draw(st.sampled_from(["home", "office"]))
    if draw(st.booleans()):
        return slot(node, at, location, **values)
    return by_hand(node, draw(st.integers(1, 10**6)), at, location, **values)


@given(
    st.lists(st.lists(rows(), min_size=1, max_size=8), min_size=1, max_size=4), st.sampled_from(ZONES), st.booleans()
)
@settings(max_examples=tries(5), phases=[Phase.explicit, Phase.generate])
def test_they_are_what_the_records_say_after_every_change(tmp_path_factory, deliveries, zone, pruned):
    layout = fresh(tmp_path_factory)
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named(zone))
    for delivery in deliveries:
        put(layout, *delivery)
        same(rollups, zone)
    if pruned:
        prune.prune(layout, FIRST + 101 * DAY, 60 * DAY, None)
        same(rollups, zone)
    rollups.close()


@pytest.fixture
def layout(tmp_path_factory):
    return fresh(tmp_path_factory)


def opened(layout, zone="UTC"):
    return Rollups(layout, layout.root / "rollup.duckdb", Zone.named(zone))


def counted(rollups):
    return rollups.rows("SELECT count(*) AS n FROM slot")[0]["n"]


def test_what_is_opened_again_goes_on_where_it_was(layout, monkeypatch):
    put(layout, slot("attic", FIRST))
    first = opened(layout)
    assert counted(first) == 1
    first.close()
    put(layout, slot("attic", FIRST + 3 * DAY))
    read = []
    original = rollup.records_of
    monkeypatch.setattr(rollup, "records_of", lambda *words: read.append(words[2:]) or original(*words))
    second = opened(layout)
    assert counted(second) == 2
    assert read == [(FIRST + 3 * DAY, FIRST + 4 * DAY)]  # the day that was touched, and nothing else
    assert counted(second) == 2
    assert len(read) == 1


@pytest.mark.parametrize("spoil", ["garbage", "gone", "zone", "format"])
def test_a_file_that_is_of_no_use_is_made_again(layout, spoil, monkeypatch):
    put(layout, slot("attic", FIRST + DAY - 1))
    opened(layout).close()
    file = layout.root / "rollup.duckdb"
    if spoil == "garbage":
        file.write_bytes(b"no database at all" * 1000)
    if spoil == "gone":
        file.unlink()
    if spoil == "format":
        monkeypatch.setattr(rollup, "FORMAT", "another")
    made = opened(layout, "Europe/Berlin" if spoil == "zone" else "UTC")
    assert counted(made) == 1


def test_one_process_has_the_file(layout):
    rollups = opened(layout)
    rollups.refresh()
    import subprocess
    import sys

    program = f"""
from pathlib import Path
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
Rollups(Layout(Path({str(layout.root)!r})), Path({str(rollups.file)!r}), Zone.named("UTC"))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "another process has" in found.stderr
    assert counted(rollups) == 0


def test_a_month_that_has_not_taken_its_place_is_waited_for(layout, monkeypatch):
    """The manifest names a change before its files are there: what is read then is the month as it was."""
    put(layout, slot("attic", FIRST))
    rollups = opened(layout)
    assert counted(rollups) == 1
    (file,) = layout.month_files()
    before = file.read_bytes()
    put(layout, slot("attic", FIRST + 300))
    after = file.read_bytes()
    file.write_bytes(before)
    parquet.beside(file).write_bytes(after)
    assert counted(rollups) == 1
    parquet.beside(file).replace(file)
    assert counted(rollups) == 2


def test_an_archive_that_was_restored_to_an_earlier_state_is_read_again(layout):
    put(layout, slot("attic", FIRST))
    rollups = opened(layout)
    (file,) = layout.month_files()
    chain = (layout.manifest / "open.jsonl").read_bytes()
    before = file.read_bytes()
    put(layout, slot("attic", FIRST + 300))
    assert counted(rollups) == 2
    file.write_bytes(before)
    (layout.manifest / "open.jsonl").write_bytes(chain)
    assert counted(rollups) == 1


def test_a_damaged_month_is_named_and_nothing_of_it_is_taken(layout):
    put(layout, slot("attic", FIRST))
    rollups = opened(layout)
    assert counted(rollups) == 1
    (file,) = layout.month_files()
    put(layout, slot("attic", FIRST + 300))
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    with pytest.raises(StorageError, match=r"speedtest\.parquet"):
        rollups.refresh()
    assert rollups.cursor() is not None


def test_records_of_the_last_days_are_kept_whole(layout, monkeypatch):
    old, new = slot("attic", FIRST), slot("attic", FIRST + 20 * DAY, message="as it was")
    put(layout, old, new)
    monkeypatch.setattr("time.time", lambda: FIRST + 21 * DAY)
    rollups = opened(layout)
    (kept,) = rollups.rows("SELECT * FROM recent")
    assert (kept["run_id"], kept["message"], kept["location"]) == (new["run_id"], "as it was", "home")


def test_after_the_first_build_little_of_the_file_stays_in_memory(layout, monkeypatch):
    put(layout, *(slot("attic", FIRST + number * 300) for number in range(3_000)))
    held = {}
    for most in ("400MB", "1MB"):
        monkeypatch.setattr(rollup, "LEAST_MEMORY", most)
        rollups = Rollups(layout, layout.root / f"{most}.duckdb", Zone.named("UTC"))
        rollups.renew()
        ((held[most],),) = rollups.reading().execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()
        ((limit,),) = rollups.reading().execute("SELECT current_setting('memory_limit')").fetchall()
        assert limit == "381.4 MiB", "later questions have as much as before"
    assert held["1MB"] < held["400MB"]


def test_where_a_change_takes_seconds_and_is_made_ahead_nobody_waits_for_it(layout, monkeypatch):
    put(layout, slot("attic", FIRST))
    rollups = opened(layout)
    monkeypatch.setattr(rollup, "PATIENCE_SECONDS", 0.0)  # every change takes longer
    rollups.renew_ahead()
    put(layout, slot("attic", FIRST + 300))
    assert counted(rollups) == 1, "the answer before"
    rollups.renew_ahead()
    assert counted(rollups) == 2
    put(layout, slot("attic", FIRST + 600))
    monkeypatch.setattr(rollup, "BEHIND_SECONDS", 0.0)  # nobody has made it ahead for so long
    assert counted(rollups) == 3


def test_a_slow_change_that_nobody_makes_ahead_is_waited_for(layout, monkeypatch):
    put(layout, slot("attic", FIRST))
    rollups = opened(layout)
    monkeypatch.setattr(rollup, "PATIENCE_SECONDS", 0.0)
    assert counted(rollups) == 1
    put(layout, slot("attic", FIRST + 300))
    assert counted(rollups) == 2
