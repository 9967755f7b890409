"""What lines and nodes delivered in a period: rows of the fleet's table, and outages."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from speedtest_logger.archive.read import slots
from speedtest_logger.archive.read.coverage import Cover
from speedtest_logger.archive.read.slots import DAY
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.standing import last_seen
from speedtest_logger.dashboard.figures.types import Outage, Span

SPEEDS = {"download": "download_bps", "upload": "upload_bps", "latency": "latency_ms"}
# NULL where nobody counted any
BYTES = """sum(CASE WHEN bytes_received IS NOT NULL OR bytes_sent IS NOT NULL
                       THEN coalesce(bytes_received, 0) + coalesce(bytes_sent, 0) END)::BIGINT"""


def spans(
    source: Source, period: tuple[float, float], now: float, *, by_node: bool, location: str | None = None
) -> list[Span]:
    """A row for each line, or each node and its line; of all lines or one.

    Medians are of all tests; of a period that begins before the records that the rollups keep, they are medians of the
    days' medians.
    """
    covers: dict[tuple[str, str], Cover] = {}
    outages: Counter[tuple[str, str]] = Counter()
    found, counts = source.spans(period, now, location)
    for cover in found:
        key = (cover.location, cover.node if by_node else "")
        covers.setdefault(key, Cover(key[1], key[0])).add(cover)
        outages[key] += counts.get(cover.node, 0)
    medians = _medians(source, period, location, by_node=by_node)
    keys = sorted({*covers, *medians})
    newest = _newest(source, location, {name for key in keys for name in _nodes(source, key)})
    return [
        _span(source, key, covers.get(key, Cover(key[1], key[0])), medians.get(key, {}), outages[key], newest)
        for key in keys
    ]


def _nodes(source: Source, key: tuple[str, str]) -> list[str]:
    """The nodes that a row is about."""
    location, node = key
    return [node] if node else source.nodes_of(location)


def _medians(
    source: Source, period: tuple[float, float], location: str | None, *, by_node: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    node = "node" if by_node else "''"
    narrowed, texts = source.where(location, None)
    given: dict[str, Any] = {**texts, "start": period[0], "end": period[1]}
    if period[0] >= source.oldest_recent():
        columns = ", ".join(f"quantile_cont({column}, 0.5) AS {name}" for name, column in SPEEDS.items())
        sql = f"""SELECT location, {node} AS node, {columns}, count(*) AS tests,
                  {BYTES} AS bytes FROM recent
                  WHERE started_at >= to_timestamp($start) AND started_at < to_timestamp($end) {narrowed}
                  GROUP BY 1, 2"""
    else:
        columns = ", ".join(f"quantile_cont({name}, 0.5) AS {name}" for name in SPEEDS)
        which = "node <> ''" if by_node else "whole"
        given["start"] = int(given["start"]) - 86_400 + 1  # days that the period touches
        sql = f"""SELECT location, {node} AS node, {columns}, sum(ok + partial + failed + skipped)::BIGINT AS tests,
                  {BYTES} AS bytes
                  FROM day WHERE {which} AND start >= $start AND start < $end {narrowed} GROUP BY 1, 2"""
    return {(row["location"], row["node"]): row for row in source.rollups.rows(sql, given)}


def _newest(source: Source, location: str | None, nodes: set[str]) -> dict[str, int]:
    """When the newest record of some nodes was (Unix time, s); all days are looked at where one was silent for one."""
    narrowed, given = source.where(location, None)
    sql = f"""SELECT node, CAST(floor(epoch(max(started_at))) AS BIGINT) AS "at" FROM recent
              WHERE started_at >= to_timestamp($since) {narrowed} GROUP BY node"""
    found: dict[str, int] = {}
    for since in (time.time() - DAY, 0):
        found = {row["node"]: row["at"] for row in source.rollups.rows(sql, {**given, "since": since})}
        if nodes <= found.keys():
            break
    return found


def _span(
    source: Source, key: tuple[str, str], cover: Cover, found: dict[str, Any], outages: int, newest: dict[str, int]
) -> Span:
    location, node = key
    plan, row = source.plan(location), cover.to_row()
    said = {name: source.hello(name) for name in _nodes(source, key)}
    hellos = [hello for hello in said.values() if hello]
    seen = [last_seen(hello, newest.get(name)) for name, hello in said.items()]
    download = found.get("download")
    return Span(
        location,
        node or None,
        plan,
        found.get("tests", 0),
        download,
        found.get("upload"),
        found.get("latency"),
        100 * download / plan.download if download is not None and plan.download else None,
        row["availability_pct"],
        row["accounted_pct"],
        outages,
        found.get("bytes"),
        _only({hello.get("version") for hello in hellos}),
        max((at for at in seen if at is not None), default=None),
        _outbox(hellos),
    )


def _outbox(hellos: list[dict[str, Any]]) -> int | None:
    """How many records wait on nodes, as far as they said."""
    waiting = [outbox["records"] for hello in hellos if isinstance(outbox := hello.get("outbox"), dict)]
    return sum(waiting) if waiting else None


def _only(values: set[Any]) -> str | None:
    """What all say alike, or all of it."""
    return ", ".join(sorted(map(str, values - {None}))) or None


def outages(
    source: Source, period: tuple[float, float], now: float, shortest: int, scope: tuple[str | None, str | None]
) -> list[Outage]:
    """Outages of at least so many slots, oldest first."""
    location, node = scope
    found = slots.outages(source.strips(*period, now, location=location, node=node), shortest)
    return [Outage(o.node, o.location, o.start, o.end, len(o.reasons), o.reason, o.blame) for o in found]
