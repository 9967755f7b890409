"""Each question of the dashboard against the same question to the raw archive and to one table in memory.

The peers are asked in SQL for the bare figures that an answer is made of, in several statements where a page shows
several. Ours are the answers themselves, with what the peers are not asked for (missed slots, whose fault an outage is,
plans, states, versions). All in this process, taken in turns, except the archive as it was before the dashboard, which
is asked ahead of them in its own; ratios are of CPU, which stays the same whatever else the machine does. Ours keep
days that are over, and the running day until a delivery comes: what a question takes right after one has a column.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
from dashboard_before import costs_before
from dashboard_fleet import DAY, Fleet, Goals, costs

from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.dashboard.figures import Figures, Wanted

ARCHIVE_LIMIT, TABLE_LIMIT = 0.1, 2
LINE, NODE = "loc-0003", "node-0006"
BANDS = ", ".join(
    f"quantile_cont({column}, {share}) AS {column}_{number}"
    for column in ("download_bps", "upload_bps", "latency_ms")
    for number, share in enumerate((0.1, 0.5, 0.9))
)
MEDIANS = "median(download_bps), median(upload_bps), median(latency_ms), count(*), sum(bytes_received + bytes_sent)"
COUNTS = "node, status, reason, count(*) FROM records WHERE started_at >= {since} {where} GROUP BY ALL"
RUNS_OF_FAILURES = """
    location, node, min(started_at), max(started_at), count(*) FROM (
      SELECT *, sum(CAST(status IN ('ok', 'partial') AS INTEGER)) OVER (PARTITION BY node ORDER BY started_at) AS run
      FROM records WHERE started_at >= {since} {where} AND status <> 'skipped')
    WHERE status = 'failed' GROUP BY location, node, run HAVING count(*) >= 2"""


@dataclass(frozen=True)
class Question:
    """A question: its name, ours, and the same of `records` in SQL, of the last `days` of a node, a line or all.

    Statements have a semicolon between them.
    """

    name: str
    ours: Callable[[float, float], object]
    sql: str
    days: int
    node: str | None = None
    location: str | None = None

    def of(self, now: float) -> list[str]:
        """The statements for a time."""
        where = "".join(f" AND {name} = '{value}'" for name, value in self._scope().items() if value)
        text = self.sql.format(since=f"to_timestamp({now - self.days * DAY})", where=where)
        return [f"SELECT {statement}" for statement in text.split(";")]

    def _scope(self) -> dict[str, str | None]:
        return {"node": self.node, "location": self.location}

    def since(self, now: float) -> float:
        """From when on it is about (Unix time, s)."""
        return now - self.days * DAY

    def of_archive(self, archive: Archive, now: float) -> object:
        """Asked of the raw archive, as its library is used."""
        narrowed = archive.only(self.node, self.location, self.since(now))
        return [narrowed.query(statement) for statement in self.of(now)]


def questions(figures: Figures) -> list[Question]:
    """All that pages and the API ask."""
    records = "FROM records WHERE started_at >= {since} {where}"
    hour, day = "date_trunc('hour', started_at)", "date_trunc('day', started_at)"

    def lines(*_: float) -> object:
        figures._lines._made = None  # what is kept for a second
        return figures.lines()

    by_node, by_line = (
        f"{who}, {MEDIANS} {records} GROUP BY 1; {COUNTS}; {RUNS_OF_FAILURES}" for who in ("node", "location")
    )
    latest = f"* {records} QUALIFY row_number() OVER (PARTITION BY node ORDER BY started_at DESC) = 1"
    hours = f"location, {hour}, median(download_bps) {records} GROUP BY 1, 2"
    tests = f"location, started_at, download_bps, upload_bps, status, node {records} ORDER BY 2 DESC"
    standing = f"{latest}; location, {MEDIANS} {records} GROUP BY 1; {hours}; {tests}"
    failed, skipped = (f"count(*) FILTER (status = '{status}')" for status in ("failed", "skipped"))
    worst = f"node, {hour}, {failed}, {skipped} {records} GROUP BY 1, 2"
    week = f"isodow(started_at), hour(started_at), median(download_bps) {records} GROUP BY 1, 2"
    year = f"{day}, {BANDS}, count(*) {records} GROUP BY 1"
    return [
        Question("fleet now: each line's state and last day", lines, standing, 1),
        Question("a line now", lambda *_: figures.line(LINE), standing, 1, location=LINE),
        Question("fleet 24 h, a row per node", lambda s, e: figures.spans(s, e, by="node"), by_node, 1),
        Question("fleet 30 days, a row per line", figures.spans, by_line, 30),
        Question("fleet year, a row per line", figures.spans, by_line, 365),
        Question("fleet year, coverage", figures.coverage, COUNTS, 365),
        Question(
            "node 30 days by hour, bands",
            lambda s, e: figures.series(s, e, node=NODE),
            f"{hour}, {BANDS}, count(*) {records} GROUP BY 1",
            30,
            node=NODE,
        ),
        Question("line year by day, bands", lambda s, e: figures.series(s, e, location=LINE), year, 365, location=LINE),
        Question("line year, week", lambda s, e: figures.week(s, e, location=LINE), week, 365, location=LINE),
        Question(
            "line 24 h, each test",
            lambda s, e: figures.series(s, e, location=LINE, grain="test"),
            f"started_at, status, download_bps, upload_bps, latency_ms {records} ORDER BY 1",
            1,
            location=LINE,
        ),
        Question("line 30 days, cells", lambda s, e: figures.cells(s, e, location=LINE), worst, 30, location=LINE),
        Question(
            "line year, outages",
            lambda s, e: figures.outages(s, e, location=LINE, shortest=2),
            RUNS_OF_FAILURES,
            365,
            location=LINE,
        ),
        Question("fleet 30 days, outages", lambda s, e: figures.outages(s, e, shortest=2), RUNS_OF_FAILURES, 30),
        Question(
            "records, newest 500 of a line",
            lambda s, e: figures.records(Wanted(s, e, location=LINE)),
            f"* {records} ORDER BY started_at DESC LIMIT 500",
            7,
            location=LINE,
        ),
    ]


def after_a_delivery(figures: Figures, question: Question, now: float) -> object:
    """The answer where the tables are others than those of the question before."""
    figures.source.rollups.version += 2
    return question.ours(question.since(now), now)


def in_memory(shown: Fleet) -> duckdb.DuckDBPyConnection:
    """One table of all records, in memory, with a connection that stays."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = f"read_parquet('{shown.layout.archive}/*/*/*/speedtest.parquet', hive_partitioning = true)"
    connection.execute(f"CREATE TABLE records AS SELECT * FROM {files} ORDER BY location, node, started_at")  # noqa: S608  our own paths
    return connection


def compare(shown: Fleet, goals: Goals) -> None:
    """A line per question."""
    archive, table, figures = Archive(shown.layout), in_memory(shown), shown.figures()
    now, asked = time.time(), questions(figures)
    before = costs_before(
        shown.layout.root, [(each.node, each.location, each.since(now), each.of(now)) for each in asked]
    )
    print(f"\nquestions, {shown.nodes} nodes, {shown.days} days, {shown.rows:,} records (ms of time and of CPU):")
    heads = f"{'ours':>14}{'archive':>16}{'table':>16}{'delivery':>9}{'x archive':>11}{'x before':>10}{'x table':>9}"
    print(f"  {'':<42}{heads}")
    worst = [0.0, 0.0, 0.0]
    for question, cost_before in zip(asked, before, strict=True):
        statements = question.of(now)
        found = costs(
            lambda q=question: q.ours(q.since(now), now),
            lambda q=question: q.of_archive(archive, now),
            lambda s=statements: [table.sql(each).to_arrow_table() for each in s],
            lambda q=question: after_a_delivery(figures, q, now),
        )
        ours, of_archive, of_table, delivered = (cpu for _, cpu in found)
        ratios = [ours / peer for peer in (of_archive, cost_before, of_table)]
        worst = [max(pair) for pair in zip(worst, ratios, strict=True)]
        times = "".join(f"{1000 * wall:8.1f}{1000 * cpu:8.1f}" for wall, cpu in found[:3])
        times += f"{1000 * delivered:9.1f}"
        print(f"  {question.name:<40}{times}{ratios[0]:11.3f}{ratios[1]:10.3f}{ratios[2]:9.2f}", flush=True)
    figures.source.rollups.close()  # or no dashboard could be started on the same
    goals.say("the slowest question against Archive.query", worst[0], ARCHIVE_LIMIT)
    goals.say("the slowest question against Archive.query before the dashboard", worst[1], ARCHIVE_LIMIT)
    goals.say("the slowest question against one table in memory", worst[2], TABLE_LIMIT)
