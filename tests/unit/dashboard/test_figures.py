"""Figures of pages and API are those of the raw archive, and a line's state is what its slots say."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from builders import fresh, put, slot
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.read import coverage, questions
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.dashboard.figures import Figures, Wanted, kept, source, system
from speedtest_logger.dashboard.figures.records import cursor_of, position_of
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.record import utc_text

STEP, HOUR, DAY = 600, 3600, 86_400
NOW = datetime(2026, 3, 31, 12, 30, tzinfo=timezone.utc).timestamp()  # summer time began two days before
FROM = NOW - 10 * DAY
BERLIN = Zone.named("Europe/Berlin")


def entry(location, offset, plan=100):
    return {
        "valid_from": utc_text(FROM - 1), "valid_to": None, "interval_seconds": STEP, "offset_seconds": offset,
        "location": location, "plan_download_mbps": plan, "plan_upload_mbps": 0,
    }  # fmt: skip


def rows_of(node, location, offset, outcome):
    """Records of a node's slots; `outcome` gives status, reason and download (Mbit/s) of a slot's time, or None."""
    first = int(FROM) // STEP * STEP + offset
    for at in range(first, int(NOW) - 30, STEP):
        if made := outcome(at):
            status, reason, speed = made
            bps = None if speed is None else speed * 1e6
            yield slot(
                node, at, location, status=status, reason=reason, download_bps=bps, latency_ms=speed, upload_bps=bps
            )


def wavy(at):
    return "ok", None, 80 + at // STEP % 37


def made(tmp_path_factory, patch, *nodes):
    """Figures of a fleet of (node, location, outcome)."""
    layout = fresh(tmp_path_factory)
    patch.setattr("time.time", lambda: NOW)
    schedule = {node: [entry(location, 60 * n)] for n, (node, location, _) in enumerate(nodes)}
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": schedule}))
    rows = [
        row for n, (node, location, outcome) in enumerate(nodes) for row in rows_of(node, location, 60 * n, outcome)
    ]
    folder = layout.inbox / "all"
    folder.mkdir()
    put(layout, *rows[:1])
    for node in schedule:
        (layout.inbox / node).mkdir(exist_ok=True)
        own = [json.dumps(row) + "\n" for row in rows[1:] if row["node"] == node]
        (layout.inbox / node / f"{'1' * 26}.jsonl").write_text("".join(own))
    from speedtest_logger.archive.write import ingest

    ingest.ingest(layout)
    return Figures(layout, Rollups(layout, layout.root / "rollup.duckdb", BERLIN), BERLIN)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Lines that are well, slow, down, with a node that is silent, and with an engine that fails."""
    with pytest.MonkeyPatch.context() as patch:
        yield made(
            tmp_path_factory,
            patch,
            ("attic", "home", wavy),
            ("porch", "home", lambda at: wavy(at + STEP)),
            ("flat", "slow", lambda at: ("ok", None, 41) if at > NOW - 2 * HOUR else wavy(at)),
            ("garage", "down", lambda at: ("failed", "no_route", None) if at > NOW - 3 * DAY else wavy(at)),
            ("shed", "half", lambda at: None if at > NOW - 3 * HOUR else wavy(at)),
            ("barn", "half", wavy),
            ("mill", "engine", lambda at: ("failed", "engine_error", None) if at > NOW - HOUR else wavy(at)),
        )


@pytest.mark.parametrize(
    ("location", "state", "hours", "said"),
    [
        ("home", "well", None, "well"),
        ("slow", "slow", 2, "41% of the plan for 12 tests"),
        ("down", "down", 72, "the line is down: no_route"),
        ("half", "silent", 3, "shed is silent, while others of this line speak"),
        ("engine", "failing", 1, "tests fail: engine_error"),
    ],
)
def test_a_line_says_what_is_wrong_and_since_when(figures, location, state, hours, said):
    line = figures.line(location)
    assert (line.state, line.sentence) == (state, said)
    if hours is None:
        assert line.since is None
    else:
        assert 0 <= NOW - hours * HOUR - line.since + STEP <= STEP


def test_what_needs_somebody_comes_first(figures):
    now = figures.now()
    assert now.sentence == "4 of 5 lines need you."
    assert [line.location for line in now.lines] == ["down", "half", "slow", "engine", "home"]
    with pytest.raises(KeyError):
        figures.line("nowhere")


def test_a_lines_day_is_that_of_its_records(figures):
    archive = Archive(figures.source.layout)
    for line in figures.lines():
        of_day = archive.only(location=line.location, start=NOW - DAY, end=NOW)
        (row,) = of_day.query("SELECT median(download_bps) AS d, max(started_at) AS last FROM records").to_pylist()
        assert line.median["download"] == row["d"]
        assert line.last.at == int(row["last"].timestamp())
        covers = coverage.coverage(archive.only(location=line.location), NOW - DAY, NOW)
        assert line.coverage["expected"] == sum(cover.expected for cover in covers)
        assert line.coverage["failed"] == sum(cover.outcomes["failed"] for cover in covers)
    assert [figures.line("down").ticks[-2], figures.line("home").ticks[-2]] == ["failed", "ok"]
    assert figures.line("down").speeds[-2] is None  # nothing measured is no zero


@pytest.mark.parametrize(("grain", "days"), [("test", 1), ("hour", 7), ("day", 9)])
@pytest.mark.parametrize("scope", [{"location": "home"}, {"node": "attic"}, {"location": "down"}])
def test_columns_are_those_of_the_records(figures, grain, days, scope):
    start = NOW - days * DAY
    found = figures.series(start, NOW, grain=grain, values=("download", "latency"), **scope)
    archive = Archive(figures.source.layout).only(**scope)
    if grain == "test":
        rows = archive.only(start=start, end=NOW).to_arrow(["download_bps", "status"]).to_pylist()
        assert found.values["download"] == [row["download_bps"] for row in rows]
        assert found.status == [row["status"] for row in rows]
        return
    zone = BERLIN if grain == "day" else Zone.named("UTC")
    wanted = questions.by_part(archive, zone, grain)
    at = [zone.part(moment, grain) for moment in found.at]
    assert len(set(at)) == len(at) == len(found.tests)
    for place, beginning in enumerate(at):
        band = wanted.get(beginning, {}).get("download")
        shown = [found.values[name][place] for name in ("download_low", "download", "download_high")]
        if band is None:
            assert shown == [None] * 3
        else:
            assert shown == pytest.approx([band.low * 1e6, band.middle * 1e6, band.high * 1e6])


def test_cells_are_the_slots(figures):
    (found,) = figures.cells(NOW - DAY, NOW, node="shed")
    slots = next(iter(coverage.accounts(Archive(figures.source.layout).only(node="shed"), NOW - DAY, NOW))).slots
    assert [(at, outcome) for at, outcome in zip(found.at, found.outcome, strict=True)] == [s[:2] for s in slots]
    assert [run is None for run in found.runs] == [s.status in ("missed", "pending") for s in slots]
    first = next(run for run in found.runs if run)
    assert figures.record(first)["run_id"] == first
    (days,) = figures.cells(NOW - 9 * DAY, NOW, node="garage")
    assert days.grain == "hour"
    assert sum(days.slots) == sum(figures.coverage(NOW - 9 * DAY, NOW, node="garage")[0][k] for k in ("expected",))
    assert days.outcome[-5:] == ["failed"] * 5


def test_a_fleets_table_is_that_of_its_records(figures):
    archive = Archive(figures.source.layout)
    exact = {span.location: span for span in figures.spans(NOW - DAY, NOW)}
    rows = archive.only(start=NOW - DAY, end=NOW).query(
        "SELECT location, median(download_bps) AS d, count(*) AS n FROM records GROUP BY location"
    )
    for row in rows.to_pylist():
        assert (exact[row["location"]].download, exact[row["location"]].tests) == (row["d"], row["n"])
    newest = archive.query("SELECT location, epoch(max(started_at)) AS at FROM records GROUP BY location").to_pylist()
    for row in newest:  # no node has said anything of itself
        assert exact[row["location"]].last_seen == int(row["at"])
    assert exact["down"].download is None
    assert exact["slow"].share == pytest.approx(exact["slow"].download / 1e6)
    of_days = {span.node: span for span in figures.spans(NOW - 9.5 * DAY, NOW, by="node")}
    medians = [
        band["download"].middle for band in questions.by_part(archive.only(node="attic"), BERLIN, "day").values()
    ]
    assert of_days["attic"].download / 1e6 == pytest.approx(sorted(medians)[len(medians) // 2], abs=2)


def test_the_hours_of_the_week_are_medians_of_hours(figures):
    found = figures.week(NOW - 9 * DAY, NOW, location="slow")
    hours = questions.by_part(
        Archive(figures.source.layout).only(location="slow", start=(NOW - 9 * DAY) // HOUR * HOUR), BERLIN, "hour"
    )
    by_place = {}
    for beginning, values in hours.items():
        by_place.setdefault((beginning.weekday(), beginning.hour), []).append(values["download"].middle)
    for (weekday, hour), medians in by_place.items():
        medians.sort()
        middle = (medians[(len(medians) - 1) // 2] + medians[len(medians) // 2]) / 2
        assert found.values[weekday][hour] == pytest.approx(middle * 1e6), (weekday, hour)


@pytest.mark.parametrize("between", [None, 0.01, 1e6])  # as scheduled; there are more than expected, and fewer
@pytest.mark.parametrize("days", [1, 9.5])  # in the rollups, and beyond what they keep
def test_pages_of_records_have_each_of_them_once(figures, monkeypatch, days, between):
    if between:
        monkeypatch.setattr(type(figures.source), "seconds_between", lambda *_: between)
    wanted = {"start": NOW - days * DAY, "end": NOW, "node": "attic", "limit": 100}
    seen, cursor = [], None
    while True:
        found, cursor = figures.records(Wanted(**wanted, cursor=cursor))
        rows = found.to_pylist()
        seen += [row["run_id"] for row in rows]
        if cursor is None:
            break
    archive = Archive(figures.source.layout).only(node="attic", start=NOW - days * DAY, end=NOW)
    assert seen == archive.to_arrow(["run_id"])["run_id"].to_pylist()[::-1]


@pytest.mark.parametrize("interval", [0, -60, "300", None, "registry"])
def test_records_need_no_registry(figures, monkeypatch, interval):
    wanted = Wanted(NOW - DAY, NOW, location="slow", limit=20)
    found = figures.records(wanted)[0]["run_id"].to_pylist()
    known = figures.source.known()

    def known_now(_):
        if interval == "registry":
            raise StorageError("the registry cannot be read")
        return replace(known, current={name: {**e, "interval_seconds": interval} for name, e in known.current.items()})

    monkeypatch.setattr(type(figures.source), "known", known_now)
    assert len(found) == 20
    assert figures.records(wanted)[0]["run_id"].to_pylist() == found


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_any_text_is_a_cursor_or_is_refused(text):
    try:
        moment, node, run = position_of(text)
    except UsageError as error:
        assert "cursor" in str(error)
    else:
        at = datetime.fromtimestamp(moment / 1000, timezone.utc)
        assert position_of(cursor_of({"started_at": at, "node": node, "run_id": run}))[1:] == (node, run)


def test_the_system_says_what_is_wrong_first(figures):
    parts = figures.system()
    assert [part.ok for part in parts] == sorted(part.ok for part in parts)
    assert {part.name for part in parts} >= {"archive", "ingest", "inbox", "backup", "verify", "disk"}
    assert next(part for part in parts if part.name == "archive").figures["records"] > 5_000


def test_a_node_that_left_the_inventory_is_down_no_longer(tmp_path_factory, monkeypatch):
    """Whatever it said last: nobody expects anything of it, and the line is as its other nodes say."""

    def fails(at):
        return ("failed", "no_route", None) if at > NOW - 5 * HOUR else wavy(at)

    found = made(
        tmp_path_factory, monkeypatch, ("attic", "home", wavy), ("old", "home", fails), ("barn", "farm", fails),
        ("mill", "mixed", fails), ("gone", "mixed", fails),
    )  # fmt: skip
    assert {line.location: line.state for line in found.lines()} == {"home": "failing", "farm": "down", "mixed": "down"}
    monkeypatch.setattr(kept, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(source, "LOOK_SECONDS", -1.0)
    registry = found.source.layout.state / "schedule.json"
    content = json.loads(registry.read_text())
    left = NOW - 2 * HOUR
    for node in ("old", "barn", "gone"):
        content["nodes"][node][0]["valid_to"] = utc_text(left)
    registry.write_text(json.dumps(content))
    lines = {line.location: (line.state, line.sentence) for line in found.lines()}
    assert lines["home"] == ("well", "well")
    assert lines["farm"] == ("well", "no node measures it any more")
    assert lines["mixed"] == ("down", "the line is down: no_route")
    until = {outage.node: outage.until for outage in found.outages(NOW - DAY, NOW, shortest=2)}
    assert until == {"old": left, "barn": left, "gone": left, "mill": None}
    accounts = list(coverage.accounts(Archive(found.source.layout), NOW - DAY, NOW))
    assert {o.node: o.end for o in coverage.outages(accounts, 2)} == until
    before = found.outages(NOW - DAY, left - HOUR, shortest=2)
    assert {outage.until for outage in before} == {None}  # of a time when it was not known yet
    found.source.rollups.close()


@pytest.mark.parametrize("days", [1, 10])  # by the records themselves, and by the days' rows
def test_bytes_that_nobody_counted_are_not_zero(figures, tmp_path_factory, monkeypatch, days):
    assert {span.bytes for span in figures.spans(NOW - days * DAY, NOW)} == {None}
    layout = fresh(tmp_path_factory)
    monkeypatch.setattr("time.time", lambda: NOW)
    put(layout, slot("attic", NOW - STEP, "home", bytes_received=5_000), slot("attic", NOW - 2 * STEP, "home"))
    counted = Figures(layout, Rollups(layout, layout.root / "rollup.duckdb", BERLIN), BERLIN)
    assert [span.bytes for span in counted.spans(NOW - days * DAY, NOW)] == [5_000]
    counted.source.rollups.close()


def test_a_look_at_the_system_that_takes_long_is_made_before_somebody_waits(tmp_path_factory, tmp_path, monkeypatch):
    """As an inbox for each of thousands of nodes does."""
    looks = []

    def slow(*_):
        looks.append(1)
        time.sleep(0.05)
        return []

    monkeypatch.setattr(system, "parts", slow)
    monkeypatch.setattr(kept, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(kept, "FRESH_SECONDS", -1.0)
    layout = fresh(tmp_path_factory)
    shown = Figures(layout, Rollups(layout, tmp_path / "rollup.duckdb", BERLIN), BERLIN)
    shown.judge_ahead()
    assert (len(looks), shown.system(), shown.troubles(), len(looks)) == (1, [], [], 1)
