"""Have a host's own archive hold what the table does.

What only the host has goes into the shared inbox before the table's rows take its place: nothing is lost, whichever
host took the lease from whom, and when.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from speedtest_logger.archive.format.layout import Layout, month_of, name_with_seal, ulid
from speedtest_logger.archive.format.schema import BATCH_SCHEMA, SORT_KEYS
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.ledger.entry import Entry, Pruned
from speedtest_logger.archive.read import gathered
from speedtest_logger.archive.read.moments import records_of
from speedtest_logger.archive.shared.objects import INBOX
from speedtest_logger.archive.write import store
from speedtest_logger.errors import StorageError
from speedtest_logger.record import COLUMNS, utc_text
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.table import PREFIX, Digests, Head, bucket_of, checked, digests_of, head_of, partitions

VERB = "follow"
SHOWN = 3
Days = dict[str, tuple[int, str]]


@dataclass
class Following:
    """What following did: rows that came, rows that went into the shared inbox, months whose place was taken."""

    added: int = 0
    given_back: int = 0
    replaced: list[str] = field(default_factory=list)


def told(table: DeltaTable, after: int = -1) -> Digests:
    """The digests of days by month that commits after a version wrote; a month without days is gone."""
    found: Digests = {}
    newest = table.version()
    if newest <= after:
        return found
    for commit in reversed(table.history(newest - after if after >= 0 else None)):
        text = commit.get(f"{PREFIX}head")
        if commit["version"] <= after or not isinstance(text, str) or Head.of(commit) is None:
            continue
        for name, days in json.loads(text)["days"].items():
            month_of(name)
            known = found.setdefault(name, {})
            if not days:
                known.clear()
            known.update({day: (rows, sha256) for day, (rows, sha256) in days.items()})
    return found


def follow(layout: Layout, table: DeltaTable, objects: Objects, after: int = -1) -> Following:
    """Bring what commits after a version changed. From the beginning (-1) on, the whole archive is compared.

    Raises StorageError where a commit says otherwise than the table's rows do, and UsageError for rows that are none.
    """
    done = Following()
    with store.single_writer(layout, VERB, wait=300):
        if after < 0 and not layout.month_files():
            for rows in partitions(table):
                done.added += store.commit(layout, VERB, checked(rows)).added
        wanted = told(table, after)
        for name in differing(layout, wanted, whole=after < 0):
            wanted[name] = bring(layout, table, objects, name, wanted.get(name), done)
        left = differing(layout, wanted, whole=False)
    if left:
        raise StorageError(f"not as the table has it: {', '.join(left[:SHOWN])}: run speedtest-archive verify")
    return done


def differing(layout: Layout, wanted: Digests, *, whole: bool) -> list[str]:
    """Months of which the archive does not hold what it should; `whole`: those that nobody told of are among them."""
    known = manifest.state(layout)
    found = []
    for name in sorted({*wanted, *(known if whole else ())}):
        have = dict(known[name].days) if name in known else {}
        days = wanted.get(name)
        if not days:
            differs = bool(have)
        else:
            compared = {*days, *have} if whole else set(days)
            differs = any(have.get(day) != days.get(day) for day in compared)
        if differs:
            found.append(name)
    return found


def bring(layout: Layout, table: DeltaTable, objects: Objects, name: str, days: Days | None, done: Following) -> Days:
    """Make a month what the table has of it; returns its days' digests.

    `days` is what commits say: nothing where the month went by right, None where no commit that is kept names it.
    """
    theirs, ours = rows_of(table, name), _own(layout, name)
    found = digests_of(theirs)
    if any(found.get(day, said) != said for day, said in (days or {}).items()):
        raise StorageError(f"{name}: the table's rows are not what its commits say of them: nothing was changed")
    lacking = _without(ours, theirs)
    if days != {}:
        done.given_back += give_back(objects, lacking)
    if theirs.num_rows and not lacking.num_rows:
        done.added += store.commit(layout, VERB, theirs).added
        if not differing(layout, {name: found}, whole=False):
            return found
    if ours.num_rows:
        _remove(layout, name)
        done.replaced.append(name)
    if theirs.num_rows:
        done.added += store.commit(layout, VERB, theirs).added
    return found


def rows_of(table: DeltaTable, name: str) -> pa.Table:
    """A month of the table as records."""
    location, year, number = month_of(name)
    head = head_of(table)
    bucket = bucket_of(location, head.buckets if head else 1)
    wanted = (
        (pc.field("month") == f"{year:04d}-{number:02d}")
        & (pc.field("bucket") == bucket)
        & (pc.field("location") == location)
    )
    rows = table.to_pyarrow_dataset().to_table(columns=BATCH_SCHEMA.names, filter=wanted)
    return checked(rows.cast(BATCH_SCHEMA).sort_by([("location", "ascending"), *SORT_KEYS]))


def _own(layout: Layout, name: str) -> pa.Table:
    location, year, number = month_of(name)
    first = date(year, number, 1)
    after = (first + timedelta(days=31)).replace(day=1)
    ends = [int(datetime(day.year, day.month, 1, tzinfo=timezone.utc).timestamp()) for day in (first, after)]
    return records_of(layout, location, *ends)


def _without(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Rows whose run is not among others."""
    known = set(zip(others["node"].to_pylist(), others["run_id"].to_pylist(), strict=True))
    keys = zip(rows["node"].to_pylist(), rows["run_id"].to_pylist(), strict=True)
    return rows.filter(pa.array([key not in known for key in keys], pa.bool_()))


def give_back(objects: Objects, rows: pa.Table) -> int:
    """Put records into the shared inbox, as if their nodes had just delivered them; returns how many."""
    lines: dict[str, list[bytes]] = {}
    times = [name for name, kind in COLUMNS.items() if kind == "time"]
    for row in rows.select(list(COLUMNS)).to_pylist():
        texts = {name: utc_text(row[name].timestamp()) for name in times if row[name] is not None}
        kept = {name: value for name, value in {**row, **texts}.items() if value is not None}
        lines.setdefault(row["node"], []).append(json.dumps(kept, ensure_ascii=False).encode() + b"\n")
    for node, of_it in lines.items():
        content = b"".join(of_it)
        objects.put_new(f"{INBOX}{node}/{name_with_seal(ulid(), hashlib.sha256(content).hexdigest())}", content)
    return int(rows.num_rows)


def _remove(layout: Layout, name: str) -> None:
    files: dict[str, Any] = {name: Entry(None, (Pruned(),))}
    manifest.append(layout, VERB, files)
    store.keep_promises(layout, files)
    store.remove_empty_folders(layout.archive, list(files))
    index.rebuild(layout)
    gathered.remove_stale(layout)
