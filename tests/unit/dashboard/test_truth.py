"""Whatever a fleet has been through, pages and API show what `coverage`, `report` and the raw records say."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import shutil
from datetime import datetime, timezone
from hashlib import sha256

import pytest
from builders import by_hand, fresh, put_in_inbox, slot, write_schedule
from dashboards import HOME
from parsed import parsed
from starlette.testclient import TestClient

from speedtest_logger.archive.care import prune
from speedtest_logger.archive.read import coverage
from speedtest_logger.archive.read.coverage import Cover
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.report import report
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.figures import kept
from speedtest_logger.dashboard.pages import shown
from speedtest_logger.record import utc_text

HOUR, DAY = 3_600, 86_400
NOW = datetime(2026, 3, 31, 12, 30, tzinfo=timezone.utc).timestamp()  # a change of the clocks was two days before
BEGAN = int(NOW) // DAY * DAY - 75 * DAY  # in January
ZONE = "Europe/Berlin"
PLACES = ("home", "office")
REASONS = ("no_route", "dns_failed", "engine_error")


def histories(rng, node):
    """A node's schedules: it may have moved, have been removed, and come later than others."""
    cuts = sorted(rng.sample(range(74), rng.choice([1, 1, 2])))
    cuts[0] = rng.choice([0, cuts[0]])
    ends = [*cuts[1:], 70 if rng.random() < 0.2 else None]
    for start, end in zip(cuts, ends, strict=True):
        until = None if end is None else utc_text(BEGAN + end * DAY)
        yield {
            "valid_from": utc_text(BEGAN + start * DAY), "valid_to": until,
            "interval_seconds": rng.choice([HOUR, 2 * HOUR]), "offset_seconds": rng.choice([0, 600]),
            "location": rng.choice(PLACES), "plan_download_mbps": rng.choice([0, 100, 250]), "plan_upload_mbps": 40,
        }  # fmt: skip


def records(rng, node, history):
    """A node's records: failures and silences in runs, tests that measured half of it, some that nobody scheduled."""
    for entry in history:
        step, place = entry["interval_seconds"], entry["location"]
        first = int(datetime.fromisoformat(entry["valid_from"]).timestamp())
        until = entry["valid_to"]
        last = min(NOW - 1, datetime.fromisoformat(until).timestamp() if until else NOW)
        mood, left = "ok", 0
        for at in range(first // step * step + step + entry["offset_seconds"], int(last), step):
            if left <= 0:
                mood = rng.choices(["ok", "partial", "failed", "skipped", "gap"], [12, 1, 3, 1, 2])[0]
                left = rng.randint(1, 60 if mood == "ok" else 5)
            left -= 1
            if mood == "gap":
                continue
            down, up = rng.uniform(20e6, 240e6), rng.uniform(5e6, 40e6)
            values = {"download_bps": down, "upload_bps": up, "latency_ms": rng.uniform(5, 90), "bytes_received": 9_000}
            if mood == "partial":
                values["upload_bps"] = None
            if mood in ("failed", "skipped"):
                values = dict.fromkeys(values) | {"reason": rng.choice(REASONS) if mood == "failed" else "quiet_hours"}
            yield slot(node, at, place, status=mood, **values)
        for number in range(rng.randint(0, 3)):  # by hand, or imported
            at = BEGAN + rng.uniform(0, 74) * DAY
            yield by_hand(
                node, rng.getrandbits(60) + number, at, place, download_bps=rng.uniform(1e6, 3e8), upload_bps=None
            )


def fleet(rng, layout):
    """Its schedules; its records in two deliveries of each node."""
    schedules = {node: list(histories(rng, node)) for node in ("attic", "porch", "shed", "barn")}
    write_schedule(layout, **schedules)
    rows = {node: list(records(rng, node, history)) for node, history in schedules.items()}
    return [
        {node: rng.sample(own[: len(own) * 2 // 3], len(own) * 2 // 3) for node, own in rows.items()},
        {node: own[len(own) * 2 // 3 :] for node, own in rows.items()},
    ]


def deliver(layout, rows):
    for node, own in rows.items():
        put_in_inbox(layout, own, node)
    ingest.ingest(layout)


def token(place):
    """A shared link's, of 32 bytes."""
    return base64.urlsafe_b64encode(place.encode().ljust(32)).decode().rstrip("=")


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr(kept, "FRESH_SECONDS", -1.0)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("seed", "pruned"), [(1, False), (2, True)])
def test_every_figure_is_that_of_the_records(tmp_path_factory, seed, pruned):
    layout = fresh(tmp_path_factory)
    own = tmp_path_factory.mktemp("own")
    first, second = fleet(random.Random(seed), layout)  # noqa: S311  the same fleet each time
    shares = own / "shares.json"
    hashes = {place: sha256(token(place).encode()).hexdigest() for place in PLACES}
    shares.write_text(json.dumps([{"location": p, "sha256": hashes[p], "expires": None} for p in PLACES]))
    variables = {"ARCHIVE_DIR": str(layout.root), "DASHBOARD_DIR": str(own), "DASHBOARD_TIME_ZONE": ZONE,
                 "DASHBOARD_SHARES_FILE": str(shares)}  # fmt: skip
    app = create_app(settings.load({f"SPEEDTEST_{name}": value for name, value in variables.items()}))
    asking = TestClient(app, base_url=HOME)
    try:
        deliver(layout, first)
        kept = tmp_path_factory.mktemp("kept") / "backup"
        shutil.copytree(layout.root, kept)
        deliver(layout, second)
        if pruned:
            assert prune.prune(layout, NOW, 55 * DAY, None)
            compare(Truth(layout), asking)
            return
        compare(Truth(layout), asking)
        for name in ("archive", "manifest", "state"):
            shutil.rmtree(layout.root / name)
            shutil.copytree(kept / name, layout.root / name)
        compare(Truth(layout), asking)
    finally:
        app.state.figures.source.rollups.close()


class Truth:
    """What the raw archive says, asked without the dashboard."""

    def __init__(self, layout):
        self.archive = Archive(layout)

    def row(self, place, sql):
        (found,) = self.archive.only(location=place, start=NOW - DAY, end=NOW).query(sql).to_pylist()
        return found

    def cover(self, place, days):
        made = Cover("", place)
        for cover in coverage.coverage(self.archive.only(location=place), NOW - days * DAY, NOW):
            made.add(cover)
        return made.to_row()

    def outages(self, days, shortest):
        accounts = list(coverage.accounts(self.archive, NOW - days * DAY, NOW))
        return coverage.outages(accounts, shortest)

    def days(self, place):
        at = f"date_trunc('day', timezone('{ZONE}', started_at))"
        sql = f"""SELECT strftime({at}, '%-d %B') AS day, median(download_bps) AS download, count(*) AS tests,
                  count(*) FILTER (status = 'failed') AS failed FROM records WHERE {at} >= '2026-01-01' GROUP BY ALL"""
        return {row["day"]: row for row in self.archive.only(location=place).query(sql).to_pylist()}


def compare(truth, asking):
    """Everything that is shown with everything that is so."""

    def ask(path, **query):
        answer = asking.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, (path, answer.text)
        return answer

    def page(path, **query):
        answer = asking.get(path, params=query)
        assert answer.status_code == 200, (path, answer.text)
        return parsed(answer.text)

    for by_day in (False, True):
        rows = ask("coverage", range="30d", by_day=by_day).json()["coverage"]
        covers = coverage.coverage(truth.archive, NOW - 30 * DAY, NOW, by_day=by_day)
        assert [{k: v for k, v in row.items() if k != "day" or v} for row in rows] == [c.to_row() for c in covers]
    covers = {cover.node: cover for cover in coverage.coverage(truth.archive, 0, NOW)}
    totals = asking.app.state.figures.totals()
    for node in asking.app.state.figures.source.known().current:
        counted = {name: covers[node].outcomes[name] for name in ("ok", "partial", "failed", "skipped", "missed")}
        assert counted | {"unscheduled": covers[node].unscheduled} == {
            name: count for name, count in totals[node].items() if name not in ("received", "sent")
        }
    wanted = truth.outages(30, 1)
    assert ask("outages", range="30d").json()["outages"] == [
        {"node": o.node, "location": o.location, "start": o.start, "until": o.end, "slots": len(o.reasons),
         "reason": o.reason, "blame": o.blame} for o in wanted
    ]  # fmt: skip
    long = [o for o in wanted if len(o.reasons) >= 2]
    [table] = page("/outages", range="30d").one(id="outages").all("table", kind="outages")
    assert [row.one("th").text for row in table.all("tr")[1:]] == [
        o.location for o in sorted(long, key=lambda o: (o.end is None, o.start), reverse=True)
    ]
    counted = ask("locations").json()["locations"]
    assert counted
    boards, table = [page("/"), page("/kiosk")], page("/fleet", range="24h")
    assert {line["location"] for line in counted} <= set(PLACES)
    of_day = truth.outages(1, 2)
    for line in counted:
        line_shown(truth, line, boards, table, of_day)
        line_page(truth, line, page, asking)


MEDIANS = """SELECT median(download_bps) AS download, median(upload_bps) AS upload, median(latency_ms) AS latency,
    count(*) AS tests FROM records"""


def line_shown(truth, line, boards, table, of_day):
    """A line in the API, on Now, the kiosk and Fleet."""
    place = line["location"]
    wanted, cover = truth.row(place, MEDIANS), truth.cover(place, 1)
    assert {name: line["median"][name] for name in ("download", "upload", "latency")} == {
        name: wanted[name] for name in ("download", "upload", "latency")
    }
    assert {name: line["coverage"][name] for name in cover} == cover
    plan = line["plan"]["download"]
    share = 100 * wanted["download"] / plan if plan and wanted["download"] is not None else None
    assert line["plan_pct"] == share
    for board in boards:
        row = board.one("table", kind="lines").one("tr", data_location=place)
        for label, name in (("Download", "download"), ("Upload", "upload")):
            assert row.one("td", data_label=label).one("span", kind="figure").text == shown.mbit(wanted[name])
        assert row.one("td", data_label="Latency").text.startswith(shown.number(wanted["latency"]))
    row = table.one(id="fleet-table").one("tr", data_location=place)
    figure = {cell["data-label"]: cell.text for cell in row.all("td")}
    outages = sum(outage.location == place for outage in of_day)
    assert [figure[name] for name in ("download", "upload", "latency")] == [
        shown.mbit(wanted["download"]), shown.mbit(wanted["upload"]), shown.number(wanted["latency"])
    ]  # fmt: skip
    plain = {name: (text or "").replace(shown.NARROW, " ") for name, text in figure.items()}
    assert plain["of the plan"] == shown.share(share).replace(shown.NARROW, " ")
    assert plain["availability"] == shown.percent(cover["availability_pct"]).replace(shown.NARROW, " ")
    assert plain["accounted for"] == shown.percent(cover["accounted_pct"]).replace(shown.NARROW, " ")
    assert plain["outages"] == ("—" if cover["availability_pct"] is None and not outages else str(outages))


def line_page(truth, line, page, asking):
    """A line's page, for all and shared, its badge, its year, its report."""
    place = line["location"]
    wanted = truth.row(place, MEDIANS)
    pair = f"{shown.mbit(wanted['download'])} / {shown.mbit(wanted['upload'])}"
    for path in (f"/line/{place}", f"/share/{token(place)}"):
        head = page(path, range="24h").one(id="head")
        tiles = {tile.one("dt").text: tile.one("dd", kind="big").text for tile in head.all("div", kind="tile")}
        assert tiles["Median of 24 h Mbit/s"] == pair
    badge = asking.get(f"/badge/{place}.svg").text
    assert line["state"] in ("down", "silent", "new") or f"{shown.mbit(wanted['download'])} " in badge
    days = truth.days(place)
    year = page(f"/line/{place}/year/2026", by="measured")
    said = [link["aria-label"] for cell in year.all("td") for link in cell.all("a")]
    for words in said:
        name, _, text = words.partition(": ")
        day = days.get(name.partition(" ")[2])
        if day is None:
            assert text == "nothing was tested"
        else:
            assert f"{shown.mbit(day['download'])} Mbit/s" in text or day["download"] is None, (words, day)
            assert f"{day['failed']:,} of {day['tests']:,} tests failed" in text or not day["failed"], (words, day)
    assert len(days) == sum("nothing was tested" not in words for words in said) or not said
    period = (NOW - 30 * DAY, NOW)
    made, archive = io.BytesIO(), truth.archive.only(location=place)
    if archive.only(start=period[0], end=period[1]).to_arrow(["run_id"]).num_rows:
        zone = report.zone_of(archive, place)
        report.write_to(archive, period, report.planned(archive, place), made, None, zone=zone)
        answer = asking.get("/api/v1/report", params={"location": place, "range": "30d"})
        assert re.sub(r"\s+", " ", answer.text) == re.sub(r"\s+", " ", made.getvalue().decode())
