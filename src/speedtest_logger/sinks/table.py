"""A published table, read: what its commits say, its rows, and whether it holds what an archive does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from speedtest_logger.archive.format import digest
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import BATCH_SCHEMA, SCHEMA, SORT_KEYS
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.errors import RecordError, StorageError, UsageError
from speedtest_logger.record import COLUMNS, utc_text, validate, without_impossible

BUCKETS = 16
PREFIX = "speedtest."
AT_ONCE = 10_000  # rows that are looked at together
Digests = dict[str, dict[str, tuple[int, str]]]


@dataclass(frozen=True)
class Head:
    """What the table's last commit of ours says of it.

    `cursor` is the archive's, up to which everything is in the table. Where a publish touched more than one commit
    holds, `reached` is the cursor that it went for, and `after` the last month (of the order) that it has done.
    `writer` is which of several archive hosts may write, in which term of its lease; empty where there is one.
    """

    cursor: str | None = None
    reached: str | None = None
    after: str = ""
    chain: str = ""
    buckets: int = BUCKETS
    writer: str = ""

    def to_metadata(self, days: Digests) -> dict[str, str]:
        """As it stands in a commit, chained to the one before, with the digests of what the commit wrote."""
        content = {
            "cursor": self.cursor,
            "reached": self.reached,
            "after": self.after,
            "previous": self.chain,
            "buckets": self.buckets,
            "days": days,
            **({"writer": self.writer} if self.writer else {}),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return {f"{PREFIX}head": text, f"{PREFIX}chain": hashlib.sha256(text.encode()).hexdigest()}

    @classmethod
    def of(cls, commit: dict[str, Any]) -> Head | None:
        """What a commit says; None where it is not ours. Raises StorageError where it contradicts itself."""
        text, chain = commit.get(f"{PREFIX}head"), commit.get(f"{PREFIX}chain")
        if not isinstance(text, str):
            return None
        if hashlib.sha256(text.encode()).hexdigest() != chain:
            raise StorageError(f"commit {commit.get('version')} of the table was changed after it was written")
        try:
            content = json.loads(text)
            cursor, reached, after = (content[name] for name in ("cursor", "reached", "after"))
            head = cls(cursor, reached, after, chain, int(content["buckets"]), str(content.get("writer", "")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(f"commit {commit.get('version')} of the table says nothing of use: {error!r}") from error
        if head.buckets < 1 or not isinstance(head.after, str):
            raise StorageError(f"commit {commit.get('version')} of the table says what cannot be")
        return head


def head_of(table: DeltaTable) -> Head | None:
    """What the last commit says; None where it is not ours. Raises StorageError."""
    commits = table.history(1)
    return Head.of(commits[0]) if commits else None


def broken_links(table: DeltaTable) -> list[str]:
    """What is wrong with the commits' chain, as far back as they are kept; nothing where each follows from the last."""
    problems: list[str] = []
    later: dict[str, Any] | None = None
    for commit in table.history():  # the newest first
        number, text = commit["version"], commit.get(f"{PREFIX}head")
        if not isinstance(text, str):
            problems.append(f"commit {number} ({commit.get('operation')}) is not the archive's")
            continue
        chain = hashlib.sha256(text.encode()).hexdigest()
        if chain != commit.get(f"{PREFIX}chain"):
            problems.append(f"commit {number} was changed after it was written")
        if later and f'"previous":"{commit.get(f"{PREFIX}chain")}"' not in later[f"{PREFIX}head"]:
            problems.append(f"commit {later['version']} does not follow from commit {number}")
        later = commit
    return problems


def digests_told(table: DeltaTable) -> Digests:
    """The digests of days by month, as the commits that wrote them say, as far back as these are kept."""
    told: Digests = {}
    for commit in table.history():  # the newest first: what it says of a day holds
        with suppress(
            ValueError, LookupError, TypeError, AttributeError, RecursionError
        ):  # somebody else's tells nothing
            for name, days in json.loads(commit[f"{PREFIX}head"])["days"].items():
                for day, (rows, sha256) in days.items():
                    told.setdefault(name, {}).setdefault(day, (rows, sha256))
    return told


def rows_in(table: DeltaTable) -> int:
    """How many rows a table has, as its log says."""
    return int(pc.sum(pa.table(table.get_add_actions(flatten=True))["num_records"]).as_py() or 0)


def partitions(table: DeltaTable) -> Iterator[pa.Table]:
    """The table's rows by month and bucket, oldest first, with BATCH_SCHEMA."""
    dataset = table.to_pyarrow_dataset()
    found = pa.table(table.get_add_actions(flatten=True)).select(["partition.month", "partition.bucket"])
    keys = sorted({(row["partition.month"], int(row["partition.bucket"])) for row in found.to_pylist()})
    for month, bucket in keys:
        wanted = (pc.field("month") == month) & (pc.field("bucket") == bucket)
        rows = dataset.to_table(columns=BATCH_SCHEMA.names, filter=wanted)
        yield rows.cast(BATCH_SCHEMA).sort_by([("location", "ascending"), *SORT_KEYS])


def checked(rows: pa.Table) -> pa.Table:
    """Rows of a table as records, each on the day of its start.

    Who has the key of the store may have written anything: names become paths. Raises UsageError for what is no record.
    """
    times = [name for name, kind in COLUMNS.items() if kind == "time"]
    for batch in rows.select(list(COLUMNS)).to_batches(AT_ONCE):
        for row in batch.to_pylist():
            texts = {name: utc_text(row[name].timestamp()) for name in times if row[name] is not None}
            try:
                validate(without_impossible({**row, **texts}))
            except RecordError as error:
                raise UsageError(f"the table has a row that is no record: {error.reason}: {error}") from error
    place = rows.schema.get_field_index("day")
    return rows.set_column(place, rows.schema.field("day"), rows["started_at"].cast(pa.date32()))


def compared(table: DeltaTable, layout: Layout) -> list[str]:
    """In which months a table differs from the archive that it follows, in words."""
    known = manifest.state(layout)
    there: Digests = {}
    for rows in partitions(table):
        there.update(digests_by_month(layout, rows))
    return [
        f"{name}: {_difference(there.get(name, {}), known[name].days if name in known else {})}"
        for name in sorted({*there, *known})
        if there.get(name, {}) != (dict(known[name].days) if name in known else {})
    ]


def _difference(table: dict[str, tuple[int, str]], archive: dict[str, tuple[int, str]]) -> str:
    days = sorted(day for day in {*table, *archive} if table.get(day) != archive.get(day))
    rows = [sum(of.get(day, (0, ""))[0] for day in days) for of in (table, archive)]
    named = ", ".join(days[:3]) + (" …" if len(days) > 3 else "")
    return f"{rows[0]} rows of {named} in the table, {rows[1]} in the archive"


def bucket_of(location: str, buckets: int) -> int:
    """A location's bucket: the same everywhere and for ever."""
    return int(hashlib.sha256(location.encode()).hexdigest()[:8], 16) % buckets


def digests_of(rows: pa.Table) -> dict[str, tuple[int, str]]:
    """Rows and digest of each day (UTC) of a location's rows, as the manifest has them."""
    return {day.isoformat(): of_day for _, day, of_day in _days(rows)}


def digests_by_month(layout: Layout, rows: pa.Table) -> Digests:
    """The same of several locations' rows, by the month's name."""
    found: Digests = {}
    for location, day, of_day in _days(rows):
        name = layout.name(layout.month_file(location, day.year, day.month))
        found.setdefault(name, {})[day.isoformat()] = of_day
    return found


def _days(rows: pa.Table) -> Iterator[tuple[str, date, tuple[int, str]]]:
    """Each day of each location, with its rows and their digest."""
    rows = rows.sort_by([("location", "ascending"), *SORT_KEYS])
    canonical = digest.Canonical(rows.select(SCHEMA.names))
    first = 0
    for (location, day), same in groupby(zip(rows["location"].to_pylist(), rows["day"].to_pylist(), strict=True)):
        end = first + len(list(same))
        yield location, day, (end - first, digest.digest_of_rows([(canonical, first, end)]))
        first = end
