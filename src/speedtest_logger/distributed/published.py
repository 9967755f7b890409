"""One version of a published table: its files, and which of them can hold the rows that a question is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from speedtest_logger.archive.read.dataset import Scope
from speedtest_logger.errors import StorageError
from speedtest_logger.record import utc_text
from speedtest_logger.sinks.data_files import DataFile, files_of
from speedtest_logger.sinks.place import Place, said
from speedtest_logger.sinks.table import bucket_of, head_of

FRAGMENT_BYTES = 64_000_000  # of files that are read together: some 0.2 s of one core, where three columns are asked
MOST_FILES = 1_000_000


@dataclass(frozen=True)
class Published:
    """A table at one version. `buckets`: by how many locations are told apart; None where nobody can rely on that."""

    place: Place
    version: int
    buckets: int | None
    files: tuple[DataFile, ...]

    @classmethod
    def of(cls, place: Place) -> Published:
        """The table as it is now. Raises UsageError where there is none, StorageError where it is not to be read."""
        table = place.existing()
        try:
            _check_protocol(table, place)
            head = head_of(table)
            found = files_of(table)
        except DeltaError as error:
            raise StorageError(f"{place.address}: {said(error)}") from error
        files = tuple(sorted(found, key=lambda file: (file.month, file.bucket, file.path)))
        return cls(place, table.version(), head.buckets if head else None, files)

    def narrowed(self, scope: Scope) -> Published:
        """The same with the files only that can hold rows of a scope."""
        files: Iterable[DataFile] = self.files
        if scope.location is not None and self.buckets:
            bucket = bucket_of(scope.location, self.buckets)
            files = [file for file in files if file.bucket == bucket]
        if scope.start is not None:
            first, month = scope.start * 1e6, utc_text(scope.start)[:7]
            files = [f for f in files if f.month >= month and (f.last is None or f.last + 999 >= first)]
        if scope.end is not None:
            end, month = scope.end * 1e6, utc_text(scope.end)[:7]
            files = [f for f in files if f.month <= month and (f.first is None or f.first - 999 < end)]
        return replace(self, files=tuple(files))

    def size(self) -> int:
        """How many its files have."""
        return sum(file.size for file in self.files)

    def fragments(self, *, whole_buckets: bool) -> list[tuple[DataFile, ...]]:
        """The files in groups of about equal size, the largest first, so that the last to be done is a small one.

        `whole_buckets`: all files of a bucket lie in one group.
        """
        units: dict[Any, list[DataFile]] = {}
        for file in self.files:
            units.setdefault(file.bucket if whole_buckets else file.path, []).append(file)
        found: list[list[DataFile]] = []
        sizes: list[int] = []
        for _, unit in sorted(units.items()) if whole_buckets else units.items():
            weight = sum(file.size for file in unit)
            if not found or sizes[-1] + weight > FRAGMENT_BYTES:
                found.append([])
                sizes.append(0)
            found[-1] += unit
            sizes[-1] += weight
        return [tuple(found[number]) for number in sorted(range(len(found)), key=lambda number: -sizes[number])]

    def touched(self, texts: str) -> int:
        """About how many bytes a question reads: those of the columns that its SQL names, as one file has them."""
        total = self.size()
        if not self.files or re.search(r"(?<!\()\*", texts):
            return total
        filesystem, root = self.place.filesystem()
        largest = max(self.files, key=lambda file: file.size)
        try:
            group = pq.read_metadata(f"{root}/{largest.path}", filesystem=filesystem).row_group(0)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.place.address}: {said(error)}") from error
        named = {word.lower() for word in re.findall(r"\w+", texts)}
        columns = [group.column(number) for number in range(group.num_columns)]
        sizes = [(column.path_in_schema in named, column.total_compressed_size) for column in columns]
        return int(total * sum(size for wanted, size in sizes if wanted) / max(1, sum(size for _, size in sizes)))


def _check_protocol(table: DeltaTable, place: Place) -> None:
    """Raise StorageError for a table whose files are not all that there is to it (deleted rows, other names, …)."""
    features = table.protocol().reader_features or []
    if table.protocol().min_reader_version > 1 and set(features) - {"timestampNtz"}:
        raise StorageError(
            f"{place.address}: readers of this table have to know {', '.join(sorted(features))}, which this one does "
            "not: somebody else has changed it; `speedtest-archive publish --rebuild` makes it the archive's again"
        )
    if table.protocol().min_reader_version > 1 and not features:
        raise StorageError(f"{place.address}: the table's columns have other names in its files: somebody changed it")
