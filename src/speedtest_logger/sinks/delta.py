"""The archive's records as a Delta table in an object store, which many engines read at the same time.

    _delta_log/NUMBER.json                        a commit: one conditional PUT, so that of two writers one fails
    bucket=N/month=YYYY-MM/part-….parquet         zstd, by location and time; `bucket` is a hash of the location

The days that changes touched are made what the archive has of them. The archive's cursor stands in the commit that
carries its changes out, so whatever ends a publish, rows and cursor belong together. Each commit names the SHA-256 of
the one before and the digests of the days that it wrote, computed as the manifest's are.

The protocol: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Schema,
    Transaction,
    WriterProperties,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read import changes
from speedtest_logger.archive.read.changes import touched_by
from speedtest_logger.errors import DeliveryError, StorageError, UsageError
from speedtest_logger.files import identity
from speedtest_logger.sinks import commit
from speedtest_logger.sinks.data_files import PATH, ROW_GROUP, Partition, Replacement, replaced
from speedtest_logger.sinks.months import Days, place_in_order, rows_of
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.place import Place, said
from speedtest_logger.sinks.table import BUCKETS, PREFIX, Digests, Head, bucket_of, digests_by_month, head_of

BATCH_BYTES = 16_000_000  # of month files that go into one commit: some 400,000 records
APPLICATION = "speedtest-archive"  # whose transactions the table counts: their number is the manifest's line
PARTITIONS = ["bucket", "month"]
SCHEMA_OF_TABLE = pa.schema([*BATCH_SCHEMA, pa.field("bucket", pa.int32()), pa.field("month", pa.string())])
KEPT_LOG = "interval 400 days"
SMALL_FILES = 64 * 2**20  # files below it are put together, bytes
VACUUM_HOURS = 7 * 24  # that a reader may still use a file that is in the table no more
Advance = Callable[[int], None]


@dataclass
class Outcome:
    """What a publish did: records and commits that it wrote, and the line of the manifest that it got to."""

    records: int = 0
    commits: int = 0
    line: int = 0


@dataclass
class Publisher:
    """Carries one archive's changes into one table."""

    layout: Layout
    place: Place
    buckets: int = BUCKETS  # of a table that is made
    writer: str = ""  # as in Head
    outcome: Outcome = field(default_factory=Outcome)

    @cached_property
    def objects(self) -> Objects:
        """The table's, by connections that stay open."""
        return Objects(self.place)

    def publish(self, *, rebuild: bool = False, advance: Advance = lambda _: None) -> Outcome:
        """Carry out all changes since the last time. `rebuild`: all of the archive takes the place of the table's rows.

        `advance` hears of the months that were done.

        Raises UsageError for a table of another archive, or one that somebody else has written to; DeliveryError where
        another publish was faster; StorageError where the store or the archive cannot be read or written.
        """
        with self._committing():
            return self._publish(rebuild, advance)

    def adopt(self, table: DeltaTable) -> None:
        """Be the one who writes from this commit on; raises as publish where somebody has written meanwhile.

        The caller has found this archive's rows to be those of `table`.
        """
        with self._committing():
            head = head_of(table)
            if head is None:
                raise UsageError(f"{self.place.address} has a table that this program did not make")
            known = self._changes(None)
            cursor = known[-1].cursor if known else None
            self._commit(table, replace(head, cursor=cursor, reached=None, after="", writer=self.writer), {})

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """What fails with a table, in words."""
        try:
            yield
        except CommitFailedError as error:
            raise commit.somebody_else_wrote(self.place.address) from error
        except DeltaError as error:
            raise StorageError(f"{self.place.address}: {said(error)}") from error

    def _publish(self, rebuild: bool, advance: Advance) -> Outcome:
        table = self.place.table()
        if table is None:
            self.place.probe()
            table = self._create()
        self._check_columns(table)
        commit.check_protocol(table)
        head = self._head(table, rebuild)
        found = self._changes(head.cursor)
        target = found[-1].cursor if found else head.cursor
        batches = list(self._batches(self._due(head, found))) or ([{}] if rebuild else [])
        for number, names in enumerate(batches, 1):
            if number > 1:
                self._go_on(table, head)
            last = number == len(batches)
            begun = replace(head, reached=target, after=max(map(place_in_order, names), default=""))
            done = replace(head, cursor=target, reached=None, after="")
            head = self._commit(table, done if last else begun, names, is_new=rebuild and number == 1)
            advance(len(names))
        if target != head.cursor:
            if batches:
                self._go_on(table, head)
            head = self._commit(table, replace(head, cursor=target, reached=None, after=""), {})
        self.outcome.line = changes.Position.of(head.cursor).seq if head.cursor else 0
        return self.outcome

    def _head(self, table: DeltaTable, rebuild: bool) -> Head:
        """Where this goes on. Raises UsageError for a table of nobody's, DeliveryError for one of another writer's."""
        head = head_of(table)
        if rebuild:
            chain, buckets = (head.chain, head.buckets) if head else ("", self.buckets)
            return Head(chain=chain, buckets=buckets, writer=self.writer)
        if head is None:
            raise UsageError(
                f"{self.place.address} has a table that this program did not make, or that somebody else has written "
                "to since: nothing was changed; `speedtest-archive publish --rebuild` makes it the archive's again"
            )
        if head.writer != self.writer:
            raise DeliveryError(
                f"{self.place.address} is written by {head.writer.partition('#')[0] or 'an archive of its own'} now: "
                "nothing of this publish took effect"
            )
        return head

    def size(self, *, rebuild: bool = False) -> int:
        """How many months there are to carry, as far as is known before. Raises as publish."""
        table = None if rebuild else self.place.table()
        head = (head_of(table) if table else None) or Head()
        return len(self._due(head, self._changes(head.cursor)))

    def _check_columns(self, table: DeltaTable) -> None:
        """Raise UsageError for a table that has other columns than records: no commit makes it the archive's."""
        if (table.schema(), table.metadata().partition_columns) != (Schema.from_arrow(SCHEMA_OF_TABLE), PARTITIONS):
            raise UsageError(
                f"{self.place.address} has a table of other columns than records of this version have: nothing was "
                "changed; name an address where there is none"
            )

    def _create(self) -> DeltaTable:
        made = DeltaTable.create(
            self.place.address,
            SCHEMA_OF_TABLE,
            partition_by=PARTITIONS,
            storage_options=self.place.storage_options,
            configuration={"delta.logRetentionDuration": KEPT_LOG},
            commit_properties=_properties(Head(buckets=self.buckets, writer=self.writer), {}),
        )
        return DeltaTable(made.table_uri, storage_options=self.place.storage_options)

    def _changes(self, cursor: str | None) -> list[changes.Change]:
        """What is to be carried out: all that the archive's files show by now."""
        try:
            return changes.settled(self.layout, cursor)
        except UsageError as error:
            raise UsageError(
                f"{self.place.address} has the rows of another archive, or of this one before it was restored to an "
                "earlier state: nothing was changed; `speedtest-archive publish --rebuild` fills it anew"
            ) from error

    def _due(self, head: Head, found: list[changes.Change]) -> dict[str, Days]:
        """The months to be made again, less those that an unfinished publish has done and nothing touched since."""
        touched = touched_by(found)
        if head.reached is None:
            return touched
        try:
            since = touched_by(self._changes(head.reached))
        except UsageError:
            return touched
        return {
            name: days if place_in_order(name) > head.after else since[name]
            for name, days in touched.items()
            if place_in_order(name) > head.after or name in since
        }

    def _batches(self, due: dict[str, Days]) -> Iterator[dict[str, Days]]:
        """Months in their order, as many as go into one commit."""
        batch: dict[str, Days] = {}
        size = 0.0
        for name in sorted(due, key=place_in_order):
            found, days = identity(self.layout.archive / name), due[name]
            size += (found.size if found else 0) * (len(days) / 31 if days else 1)
            if batch and size > BATCH_BYTES:
                yield batch
                batch, size = {}, 0.0
            batch[name] = days
        if batch:
            yield batch

    def _commit(self, table: DeltaTable, head: Head, names: dict[str, Days], *, is_new: bool = False) -> Head:
        """Make months, or some of their days, what the archive has of them: all or nothing."""
        changed, days = self._changed(names, head.buckets)
        files = replaced(self.objects, table, changed, whole=is_new)
        commit.write(self.objects, table, [commit.transaction(*_reached(head)), *files], head.to_metadata(days))
        self.outcome.records += sum(rows.num_rows for each in changed.values() for rows in each.rows)
        self.outcome.commits += 1
        return replace(head, chain=head.to_metadata(days)[f"{PREFIX}chain"])

    def _go_on(self, table: DeltaTable, head: Head) -> None:
        """See the table with its last commit. Raises DeliveryError where that is not the one that `head` is of."""
        table.update_incremental()
        stands = head_of(table)
        if stands is None or stands.chain != head.chain:
            raise DeliveryError(f"{self.place.address}: what was just committed is not there: two publish at once")

    def _changed(self, names: dict[str, Days], buckets: int) -> tuple[dict[Partition, Replacement], Digests]:
        """What the archive has of months, by partition of the table, and the digests of the days that were read."""
        changed: dict[Partition, Replacement] = {}
        for name, days in names.items():
            location, year, number = month_of(name)
            of_partition = changed.setdefault((bucket_of(location, buckets), f"{year:04d}-{number:02d}"), Replacement())
            of_partition.days[location] = days
            of_partition.rows.append(rows_of(self.layout, name, days))
        read = [rows for each in changed.values() for rows in each.rows]
        digests = digests_by_month(self.layout, pa.concat_tables([BATCH_SCHEMA.empty_table(), *read]))
        return changed, {**{name: {} for name in names}, **digests}

    def maintain(self) -> dict[str, Any]:
        """Put small files together and remove those that no reader can use any more; returns how many.

        Raises as publish.
        """
        table = self.place.table()
        head = head_of(table) if table else None
        if table is None or head is None:
            raise UsageError(f"{self.place.address} has no table of an archive: publish first")
        try:
            small = table.optimize.compact(
                target_size=SMALL_FILES,
                writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP),
                commit_properties=_properties(head, {}),
            )
            table = self.place.table() or table
            # of what no commit names only data files are ours to remove: others may keep something of theirs there
            unused = [path for path in table.vacuum(VACUUM_HOURS, dry_run=True, full=True) if PATH.fullmatch(path)]
            self.objects.delete(unused)
            table.create_checkpoint()
            table.cleanup_metadata()
        except CommitFailedError as error:
            raise DeliveryError(f"{self.place.address}: somebody wrote to the table meanwhile: try again") from error
        except DeltaError as error:
            raise StorageError(f"{self.place.address}: {said(error)}") from error
        return {"put_together": small["numFilesRemoved"], "removed": len(unused)}


def _reached(head: Head) -> tuple[str, int]:
    """Whose transaction a commit is, and the manifest's line that it got to."""
    return APPLICATION, changes.Position.of(head.cursor).seq if head.cursor else 0


def _properties(head: Head, days: Digests) -> CommitProperties:
    """Of a commit by deltalake: it takes the place that it was meant for, or fails."""
    return CommitProperties(
        custom_metadata=head.to_metadata(days),
        max_commit_retries=0,
        app_transactions=[Transaction(*_reached(head))],
    )
