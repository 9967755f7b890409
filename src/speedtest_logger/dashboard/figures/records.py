"""Records themselves: a page of them, one of them, and what its engine printed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.read.dataset import Archive, literal
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.errors import UsageError
from speedtest_logger.record import COLUMNS

MOST_ROWS = 10_000
ORDER = ["started_at", "node", "run_id"]
SLACK = 1.25  # times as long as so many slots: some have no record yet, or a node was silent
FEW = 1_001  # records: more are read by one statement, which holds no more than these
NEAR = 2 * 86_400  # a record starts near its slot


@dataclass(frozen=True)
class Wanted:
    """Which records: of a period (Unix time, s), a location, a node, a status; `cursor` is where a page ended."""

    start: float
    end: float
    location: str | None = None
    node: str | None = None
    status: str | None = None
    cursor: str | None = None
    limit: int = 500


def page(source: Source, wanted: Wanted) -> tuple[pa.Table, str | None]:
    """Records, newest first, with the columns of COLUMNS, and the cursor of the next page, None after the last one.

    Raises UsageError for a cursor that is none.
    """
    conditions = ["true"]
    end = wanted.end
    if wanted.cursor:
        moment, node, run = position_of(wanted.cursor)
        conditions.append(f"(epoch_ms(started_at), node, run_id) < ({moment}, {literal(node)}, {literal(run)})")
        end = min(end, moment / 1000 + 1)
    if wanted.status:
        conditions.append(f"status = {literal(wanted.status)}")
    limit = min(max(1, wanted.limit), MOST_ROWS)
    which = " AND ".join(conditions)
    if wanted.start >= source.oldest_recent():
        rows = _recent(source, replace(wanted, end=end), which, limit + 1)
    else:
        columns = ", ".join(f'"{name}"' for name in COLUMNS)
        archive = source.archive.only(wanted.node, wanted.location, wanted.start, end)
        rows = archive.query(f"SELECT {columns} FROM records WHERE {which} {_newest(limit + 1)}")
    following = cursor_of(rows.select(ORDER).slice(limit - 1, 1).to_pylist()[0]) if rows.num_rows > limit else None
    return rows.slice(0, limit), following


def _newest(count: int) -> str:
    return f"ORDER BY {', '.join(f'{name} DESC' for name in ORDER)} LIMIT {count}"


def _recent(source: Source, wanted: Wanted, which: str, count: int) -> pa.Table:
    """The newest so many of the records that the rollups have.

    They lie where the schedules have so many slots, as a rule: all of a week would have to be read and sorted. (Columns
    by name would cost another third.)
    """
    narrowed, given = source.where(wanted.location, wanted.node)
    sql = f"""SELECT * FROM recent WHERE {which} AND started_at >= to_timestamp($start)
              AND started_at < to_timestamp($end) {narrowed}"""
    start = wanted.end - count * SLACK * source.seconds_between(wanted.location, wanted.node)
    if start > wanted.start and not wanted.status and count <= FEW:
        rows = source.rollups.ask(f"{sql} LIMIT {2 * count}", {**given, "start": start, "end": wanted.end})
        rows = rows.select(list(COLUMNS))
        if count <= rows.num_rows < 2 * count:
            return rows.sort_by([(name, "descending") for name in ORDER]).slice(0, count)
    rows = source.rollups.ask(f"{sql} {_newest(count)}", {**given, "start": wanted.start, "end": wanted.end})
    return rows.select(list(COLUMNS))


def cursor_of(row: dict[str, Any]) -> str:
    """Where a page ends that has a row as its last one."""
    place = [round(row["started_at"].timestamp() * 1000), row["node"], row["run_id"]]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def position_of(cursor: str) -> tuple[int, str, str]:
    """A cursor, read: start (Unix time, ms), node, run. Raises UsageError."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, node, run = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        if not (isinstance(moment, int) and abs(moment) < 1e15 and isinstance(node, str) and isinstance(run, str)):
            raise ValueError(cursor)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{cursor!r:.80} is no cursor: begin without one") from error
    return moment, node, run


def one(source: Source, run_id: str, node: str | None, at: float | None) -> dict[str, Any] | None:
    """A record of the archive; `node` and `at`, its slot or start (Unix time, s), make it quick to find."""
    found = source.rollups.rows("SELECT * FROM recent WHERE run_id = $run LIMIT 1", {"run": run_id})
    if not found:
        sql = f"SELECT * EXCLUDE (year, month) FROM records WHERE run_id = {literal(run_id)} LIMIT 1"
        found = _near(source.archive, node, at).query(sql).to_pylist()
    return found[0] if found else None


def raw(source: Source, record: dict[str, Any]) -> bytes | None:
    """What a record's engine printed; None where it was not kept."""
    archive = _near(source.archive, record["node"], record["started_at"].timestamp())
    found = archive.query(f"SELECT content FROM raw WHERE run_id = {literal(record['run_id'])} LIMIT 1")
    content: bytes | None = found["content"][0].as_py() if found.num_rows else None
    return content


def _near(archive: Archive, node: str | None, at: float | None) -> Archive:
    return archive.only(node, start=None if at is None else at - NEAR, end=None if at is None else at + NEAR)
