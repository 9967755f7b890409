"""Every query of Grafana's SQL dashboards, asked of a real server that holds a known fleet, has the right figures."""

from __future__ import annotations

import json
import re
import time

import psycopg
import pytest
from builders import ROOT, load, put, slot
from postgresql import Server, forms

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.record import utc_text
from speedtest_logger.sinks import postgresql
from speedtest_logger.sinks.connection import connected
from speedtest_logger.sinks.settings import Settings

FOLDER = ROOT / "dashboards/postgresql"
HOUR, HOURS, SILENT = 3600, 48, 6
NODES = {"attic": ("home", 1e8, 5e7, 10.0), "shed": ("garden", 4e7, 1e7, 30.0)}
RECEIVED, SENT = 1_000_000, 400_000
FAILED = 11  # of the shed: every fourth slot, but for those that it is silent in
RECORDS = 2 * HOURS - SILENT
OK = RECORDS - FAILED
OUTCOMES = {"ok": OK, "partial": 0, "failed": FAILED, "skipped": 0, "missed": SILENT}
# A figure's number; of a chart the sum of each line, or of each column.
EXPECTED = {
    "fleet": {
        "Nodes": 2,
        "Slots ok": OK / (2 * HOURS),
        "Missed": SILENT,
        "Data": OK * (RECEIVED + SENT),
        "Longest silence": None,  # of now
        "The database is behind": None,
        "Download": {"attic": HOURS * 1e8, "shed": (OK - HOURS) * 4e7},
        "Upload": {"attic": HOURS * 5e7, "shed": (OK - HOURS) * 1e7},
        "Latency": {"attic": HOURS * 10.0, "shed": (OK - HOURS) * 30.0},
        "Packet loss": {"attic": 0.0, "shed": 0.0},
        "Slots by outcome, a day": OUTCOMES,
        "Data by location, a day": {"home": HOURS * 1_400_000, "garden": (OK - HOURS) * 1_400_000},
    },
    "line": {
        "Download": 1e8,
        "Upload": 5e7,
        "Latency": 10.0,
        "Share of the plan": 0.8,
        "Missed": 0,
        "Last record": None,
        "Download, by the hour": dict.fromkeys(("10 of 100", "median", "90 of 100"), HOURS * 1e8),
        "Upload, by the hour": dict.fromkeys(("10 of 100", "median", "90 of 100"), HOURS * 5e7),
        "Latency, idle and under load": {"idle": HOURS * 10.0, "download": HOURS * 40.0, "upload": HOURS * 60.0},
        "Jitter": {"jitter": HOURS * 2.0},
        "Slots by outcome, a day": {"ok": HOURS, "partial": 0, "failed": 0, "skipped": 0, "missed": 0},
        "Data, a day": {"received": HOURS * RECEIVED, "sent": HOURS * SENT},
    },
}


def record(node, number, at):
    place, down, up, latency = NODES[node]
    if node == "shed" and number % 4 == 3:
        return slot(node, at, place, status="failed", reason="no_route", download_bps=None, upload_bps=None)
    return slot(
        node, at, place, download_bps=down, upload_bps=up, latency_ms=latency, download_latency_ms=40.0,
        upload_latency_ms=60.0, jitter_ms=2.0, packet_loss_pct=0.0, bytes_received=RECEIVED, bytes_sent=SENT,
    )  # fmt: skip


@pytest.fixture(scope="module", params=sorted(forms()))
def known(request, tmp_path_factory):
    """A server that holds the fleet, and the period that is looked at."""
    layout = Layout(tmp_path_factory.mktemp("archive"))
    layout.prepare()
    last = (int(time.time()) - 300) // HOUR * HOUR  # what comes after it stays pending for ten minutes at least
    slots = [last - back * HOUR for back in reversed(range(HOURS))]
    put(layout, *(record("attic", number, at) for number, at in enumerate(slots)))
    silent = range(HOURS - 2 - SILENT, HOURS - 2)
    put(layout, *(record("shed", number, at) for number, at in enumerate(slots) if number not in silent))
    entry = {"valid_from": utc_text(slots[0]), "valid_to": None, "interval_seconds": HOUR, "offset_seconds": 0}
    plans = {node: [{**entry, "location": NODES[node][0], "plan_download_mbps": 125}] for node in NODES}
    layout.fleet.mkdir(exist_ok=True)
    (layout.root / registry.PLACES[0]).write_text(json.dumps({"nodes": plans}))
    server = Server(*forms()[request.param]).make()
    with connected(Settings(server.conninfo("postgres"), timescale=server.timescale)) as session:
        postgresql.Sink(layout, session).sync()
    yield server, (slots[0] - HOUR, time.time())
    server.remove()


def expanded(sql, period):
    """SQL without Grafana's macros and variables, as its documentation says what they stand for."""
    begin, end = (f"'{utc_text(moment)}'::timestamptz" for moment in period)
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {begin} AND {end}", sql)
    sql = sql.replace("$__timeFrom()", begin).replace("$__timeTo()", end).replace("${node:sqlstring}", "'attic'")
    assert "$" not in sql
    return sql


def asked(server, sql):
    with psycopg.connect(server.conninfo("postgres"), options="-c TimeZone=UTC") as connection:
        cursor = connection.execute(sql)
        return [column.name for column in cursor.description], cursor.fetchall()


def lines(names, rows):
    """The sum of each line of a chart: by its name in the column `metric`, or one for each column."""
    found = {}
    for row in rows:
        values = dict(zip(names, row, strict=True))
        assert values.pop("time") is not None
        for name, value in [(values["metric"], values["value"])] if "metric" in values else values.items():
            found[name] = found.get(name, 0) + float(value or 0)
    return found


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_panel_has_the_right_figures(known, name):
    server, period = known
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    told = {}
    for panel in board["panels"]:
        (target,) = panel["targets"]
        names, rows = asked(server, expanded(target["rawSql"], period))
        if panel["type"] == "stat":
            ((value,),) = rows
            told[panel["title"]] = None if EXPECTED[name][panel["title"]] is None else pytest.approx(float(value))
            assert float(value) >= 0
        else:
            assert rows == sorted(rows, key=lambda row: row[0]), panel["title"]
            told[panel["title"]] = pytest.approx(lines(names, rows))
    assert told == EXPECTED[name]


def test_dashboards_are_fresh_and_whole():
    made = load("dashboards/generate_sql.py").files()
    assert sorted(made) == sorted(FOLDER.glob("*.json"))
    for file, text in made.items():
        assert file.read_text(encoding="utf-8") == text, f"run: python dashboards/generate_sql.py ({file.name})"
        board = json.loads(text)
        variables = {variable["name"] for variable in board["templating"]["list"]} | {"__timeFilter", "__timeFrom"}
        assert set(re.findall(r"\$\{?(\w+)", text)) <= variables | {"__timeTo"}
        taken = [(place["x"], place["y"]) for place in (panel["gridPos"] for panel in board["panels"])]
        assert len(taken) == len(set(taken))


def test_the_variable_lists_the_nodes(known):
    board = json.loads((FOLDER / "line.json").read_text(encoding="utf-8"))
    (variable,) = [each for each in board["templating"]["list"] if each["name"] == "node"]
    assert asked(known[0], variable["query"])[1] == [("attic",), ("shed",)]
