"""Every question that has a name, once: whoever asks it of an archive hears the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.read.dataset import Archive, literal
from speedtest_logger.archive.read.local_time import Grain, Zone
from speedtest_logger.record import utc_text

DAY = 86_400  # seconds: a record starts soon after its slot, on whichever side of midnight
SHARES = (50, 80, 90)  # percent of the plan that tests are counted under
DIFFERENT = 1.1  # times: medians of nodes or programs further apart are not drawn as one
VALUES = {
    "download": "download_bps / 1e6",
    "upload": "upload_bps / 1e6",
    "latency": "latency_ms",
    "jitter": "jitter_ms",
}
DELAYS = {
    "latency_ms": "latency, idle (ms)",
    "download_latency_ms": "latency, downloading (ms)",
    "upload_latency_ms": "latency, uploading (ms)",
    "jitter_ms": "jitter (ms)",
    "packet_loss_pct": "packet loss (%)",
}


@dataclass(frozen=True)
class Band:
    """The low, middle and high value of so many tests."""

    low: float
    middle: float
    high: float
    tests: int


@dataclass(frozen=True)
class Source:
    """A node and the program that it measured with, how many of its tests measured something, and their medians."""

    node: str
    engine: str | None
    tests: int
    download: float | None
    upload: float | None
    latency: float | None

    @property
    def name(self) -> str:
        """Its heading."""
        return f"{self.node}, {self.engine or 'unknown program'}"

    def of(self, archive: Archive) -> Archive:
        """Its records only."""
        engine = f"engine = {literal(self.engine)}" if self.engine else "engine IS NULL"
        return replace(archive.only(node=self.node), besides=f"{archive.besides} AND {engine}")


def nodes(archive: Archive) -> pa.Table:
    """A row per node and location: how many records, from when to when, and medians."""
    return archive.query("""
        SELECT node, location, count(*) AS records, count(*) FILTER (status = 'ok') AS ok, min(started_at) AS first,
               max(started_at) AS last, round(median(download_bps) / 1e6, 1) AS download_mbps,
               round(median(upload_bps) / 1e6, 1) AS upload_mbps, round(median(latency_ms), 1) AS latency_ms
        FROM records GROUP BY node, location ORDER BY node, location""")


def latest(archive: Archive, count: int) -> pa.Table:
    """The newest records of each node, as many as are wanted."""
    return archive.query(f"""
        SELECT node, location, started_at, status, reason, round(download_bps / 1e6, 1) AS download_mbps,
               round(upload_bps / 1e6, 1) AS upload_mbps, round(latency_ms, 1) AS latency_ms, engine, server_name
        FROM records QUALIFY row_number() OVER (PARTITION BY node ORDER BY started_at DESC) <= {int(count)}
        ORDER BY node, started_at DESC""")


def last_of_each(archive: Archive, recent: float, end: float) -> tuple[list[dict[str, Any]], pa.Table]:
    """Each node's last record, how many it has, and medians: of all, and of those from a Unix time (s) on (recent_…).

    And `moments` from then to an end: asked at once, since each question alone opens the archive's files anew.
    """
    since = f"FILTER (started_at >= to_timestamp({float(recent)}))"
    sql = f"""
        SELECT node, count(*) AS records, max(finished_at) AS last_finished_at,
               arg_max(status, started_at) AS last_status, arg_max_null(reason, started_at) AS last_reason,
               median(download_bps) AS median_download_bps, median(upload_bps) AS median_upload_bps,
               median(latency_ms) AS median_latency_ms, count(*) {since} AS recent_records,
               median(download_bps) {since} AS recent_download_bps, median(upload_bps) {since} AS recent_upload_bps
        FROM records GROUP BY node"""
    last, tests = archive.answers([sql, _moments(recent, end)])
    rows: list[dict[str, Any]] = last.to_pylist()
    return [{**row, "last_finished_at": utc_text(row["last_finished_at"].timestamp())} for row in rows], tests


def medians(archive: Archive) -> dict[str, dict[str, float | None]]:
    """Each location's medians of download and upload, bit/s, by these names."""
    sql = """SELECT location, median(download_bps) AS download, median(upload_bps) AS upload
             FROM records GROUP BY location"""
    return {row.pop("location"): row for row in archive.query(sql).to_pylist()}


def records_by_node(archive: Archive, condition: str = "true") -> dict[str, int]:
    """How many records each node has that satisfy an SQL condition."""
    sql = f"SELECT node, count(*) AS n FROM records WHERE {condition} GROUP BY node ORDER BY node"
    return {row["node"]: row["n"] for row in archive.query(sql).to_pylist()}


def moments(archive: Archive, start: float, end: float) -> pa.Table:
    """Each record's node, slot or start (Unix time, whole s), run where it has no slot, status, reason and location.

    Of those whose slot, or else start, lies between two Unix times (s), in the order of their starts.
    """
    return archive.only(start=start - DAY, end=end + DAY).query(_moments(start, end))


def _moments(start: float, end: float) -> str:
    """SQL of `moments`."""
    return f"""
        SELECT node, CAST(floor(epoch(coalesce(scheduled_at, started_at))) AS BIGINT) AS moment,
               CASE WHEN scheduled_at IS NULL THEN run_id END AS run, status, reason, location
        FROM records WHERE coalesce(scheduled_at, started_at) >= to_timestamp({float(start)})
        AND coalesce(scheduled_at, started_at) < to_timestamp({float(end)})
        AND started_at >= to_timestamp({float(start - DAY)}) AND started_at < to_timestamp({float(end + DAY)})
        ORDER BY started_at, location"""


def span(archive: Archive) -> dict[str, Any]:
    """How many records there are, and the Unix times (s) of the first and the last one, None where there is none."""
    sql = "SELECT count(*) AS tests, epoch(min(started_at)) AS first, epoch(max(started_at)) AS last FROM records"
    row: dict[str, Any] = archive.query(sql).to_pylist()[0]
    return row


def speed(archive: Archive, direction: str, plan: float | None) -> dict[str, Any]:
    """Median and percentiles of a direction, Mbit/s, and the percentage of tests under each share of the plan."""
    value = f"{direction}_bps"
    under = ", ".join(
        f"100.0 * count(*) FILTER ({value} < {(plan or 0) * share * 1e4}) / nullif(count({value}), 0) AS u{share}"
        for share in SHARES
    )
    sql = f"""
        SELECT count({direction}_bps) AS tests, median({direction}_bps) / 1e6 AS median,
               quantile_cont({direction}_bps, 0.05) / 1e6 AS p5, quantile_cont({direction}_bps, 0.95) / 1e6 AS p95,
               min({direction}_bps) / 1e6 AS lowest, max({direction}_bps) / 1e6 AS highest, {under} FROM records"""
    row: dict[str, Any] = archive.query(sql).to_pylist()[0]
    share_of_plan = 100 * row["median"] / plan if plan and row["median"] is not None else None
    shares = [(share, row.pop(f"u{share}") if plan else None) for share in SHARES]
    return {"direction": direction, "plan": plan, "share": share_of_plan, "under": shares, **row}


def delays(archive: Archive) -> list[dict[str, Any]]:
    """Median, 95th percentile and number of each kind of latency (ms), of jitter and of loss (percent)."""
    parts = " UNION ALL ".join(
        f"SELECT '{text}' AS what, {place} AS place, count({name}) AS tests, median({name}) AS median, "
        f"quantile_cont({name}, 0.95) AS p95, max({name}) AS highest FROM records"
        for place, (name, text) in enumerate(DELAYS.items())
    )
    rows: list[dict[str, Any]] = archive.query(f"SELECT * FROM ({parts}) ORDER BY place").to_pylist()
    return [row for row in rows if row["tests"]]


def usual(archive: Archive) -> dict[str, float | None]:
    """What 95 % of the tests stay under, by the names of VALUES."""
    columns = ", ".join(f"quantile_cont({value}, 0.95) AS {name}" for name, value in VALUES.items())
    row: dict[str, float | None] = archive.query(f"SELECT {columns} FROM records").to_pylist()[0]
    return row


def bands(archive: Archive, by: str) -> dict[Any, dict[str, Band]]:
    """10th percentile, median and 90th percentile of each of VALUES that was measured, by an SQL expression."""
    quantiles = ", ".join(
        f"quantile_cont({value}, [0.1, 0.5, 0.9]) AS {name}, count({value}) AS {name}_tests"
        for name, value in VALUES.items()
    )
    rows = archive.query(f"SELECT {by} AS place, {quantiles} FROM records GROUP BY 1 ORDER BY 1").to_pylist()
    return {row["place"]: {name: _band(row, name) for name in VALUES if row[f"{name}_tests"]} for row in rows}


def _band(row: dict[str, Any], name: str) -> Band:
    low, middle, high = row[name]
    return Band(low, middle, high, row[f"{name}_tests"])


def by_hour(archive: Archive, zone: Zone) -> dict[int, dict[str, Band]]:
    """The bands by hour of the day on a zone's clocks."""
    return bands(archive, f"CAST(hour({zone.sql()}) AS INTEGER)")


def by_part(archive: Archive, zone: Zone, grain: Grain) -> dict[datetime, dict[str, Band]]:
    """The bands by hour, day, week or month on a zone's clocks, each under its beginning."""
    return bands(archive, f"CAST(date_trunc('{grain}', {zone.sql()}) AS TIMESTAMP)")


def tests(archive: Archive) -> list[dict[str, Any]]:
    """Every test: its start (Unix time, s), node, status, reason, and the VALUES, oldest first."""
    values = ", ".join(f"{value} AS {name}" for name, value in VALUES.items())
    sql = f"SELECT epoch(started_at) AS at, node, status, reason, {values} FROM records ORDER BY started_at, node"
    rows: list[dict[str, Any]] = archive.query(sql).to_pylist()
    return rows


def sources(archive: Archive) -> list[Source]:
    """Who measured, with what, those with the most tests first."""
    medians = ", ".join(f"median({VALUES[name]}) AS {name}" for name in ("download", "upload", "latency"))
    sql = f"""
        SELECT node, engine, count(*) AS tests, {medians} FROM records
        WHERE download_bps IS NOT NULL OR upload_bps IS NOT NULL OR latency_ms IS NOT NULL
        GROUP BY node, engine ORDER BY tests DESC, node, engine"""
    return [Source(**row) for row in archive.query(sql).to_pylist()]


def differ(found: list[Source]) -> bool:
    """Whether nodes and programs saw speeds that one median would hide."""
    both = ([s.download for s in found if s.download], [s.upload for s in found if s.upload])
    return any(max(speeds) > DIFFERENT * min(speeds) for speeds in both if speeds)


def methods(archive: Archive) -> list[dict[str, Any]]:
    """Which programs measured, against which servers."""
    sql = """
        SELECT engine, engine_version, server_name, server_host, runtime, count(*) AS tests
        FROM records WHERE engine IS NOT NULL GROUP BY ALL ORDER BY tests DESC LIMIT 20"""
    rows: list[dict[str, Any]] = archive.query(sql).to_pylist()
    return [{**row, "server": server(row["server_name"], row["server_host"])} for row in rows]


def server(name: str | None, host: str | None) -> str:
    """A server, named once: its host only where its name does not say it."""
    bare = (host or "").partition("://")[2].rstrip("/") or host or ""
    return " ".join(part for part in (name, None if bare and bare in (name or "") else host) if part)
