"""Months of the whole fleet in one file each, for questions about all of it.

The dataset has a file per location and month: right for what changes, but a question about a thousand locations opens
twelve thousand files a year, at 0.2 ms each. Months that are over and have many files are therefore gathered into one
more file. Its name is a fingerprint of the files that it was made of, and it is read only in the place of exactly
these: where one of them changes it is out of use that moment. Nothing is lost with it; gathered/ may be removed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import SCHEMA
from speedtest_logger.archive.ledger import index
from speedtest_logger.archive.read.snapshot import Files
from speedtest_logger.files import Identity, identities, is_regular, sync_directory

FEWEST_FILES = 100  # fewer are opened in no time
QUIET_SECONDS = 86_400  # a month that changed since yesterday may change again
ROW_GROUP = 122_880  # what DuckDB hands to a thread
GATHERED_SCHEMA = pa.schema([pa.field("location", pa.string()), *SCHEMA], metadata=SCHEMA.metadata)


def gather(layout: Layout, now: float, progress: Callable[[int], None] | None = None) -> list[Path]:
    """Gather what is worth it and remove what is out of use; returns the new files.

    `progress` hears of each file read. Raises OSError and leaves no half file.
    """
    remove_stale(layout)
    new = []
    for target, files in due(layout, now).items():
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write(target, list(files), progress)
        if target == place_of(layout, identities(files)):
            new.append(target)
        else:  # a month changed meanwhile
            target.unlink()
    return new


def due(layout: Layout, now: float) -> dict[Path, Files]:
    """Months that are worth gathering and are not: the file to write, and what is to go into it."""
    if index.read(layout).columns != [SCHEMA.names]:  # some files have columns of their own
        return {}
    return {
        target: files
        for files in _by_month(identities(layout.month_files()))
        if len(files) >= FEWEST_FILES
        and all(found.mtime_ns / 1e9 < now - QUIET_SECONDS for found in files.values())
        and not is_regular(target := place_of(layout, files))
    }


def instead_of(layout: Layout, files: Files) -> dict[Path, Files]:
    """The gathered files that may be read instead of some of `files`, and instead of which."""
    if not layout.gathered.is_dir():
        return {}
    months = _by_month(files)
    return {target: of for of in months if len(of) >= FEWEST_FILES and is_regular(target := place_of(layout, of))}


def remove_stale(layout: Layout) -> None:
    """Remove what was made of other files than those that are there now, and what a crash left."""
    used = {place_of(layout, files) for files in _by_month(identities(layout.month_files()))}
    for file in layout.gathered.glob("year=*/month=*/*"):
        if file not in used and (file.suffix == ".parquet" or time.time() - file.lstat().st_mtime > QUIET_SECONDS):
            file.unlink(missing_ok=True)


def place_of(layout: Layout, files: Files) -> Path:
    """Where a month's files are gathered: another place as soon as one of them is another."""
    texts = [f"{file.parts[-4]} {found.size} {found.mtime_ns}" for file, found in sorted(files.items())]
    fingerprint = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]
    year, month = next(iter(files)).parts[-3:-1]
    return layout.gathered / year / month / f"{fingerprint}.parquet"


def write(target: Path, files: list[Path], progress: Callable[[int], None] | None) -> None:
    """One file of many, by location and start; it is complete when it has its name."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with parquet.new_file(temporary) as stream:
        parquet.write(stream, _pieces(sorted(files), progress), GATHERED_SCHEMA, ROW_GROUP)
    os.replace(temporary, target)
    sync_directory(target.parent)


def _pieces(files: list[Path], progress: Callable[[int], None] | None) -> Iterator[pa.Table]:
    for file in files:
        source = parquet.ParquetFile(file)
        location = pa.scalar(file.parts[-4].partition("=")[2])
        for rows in parquet.groups(source):
            named = pa.field("location", pa.string())
            yield rows.add_column(0, named, pa.repeat(location, rows.num_rows)).replace_schema_metadata(
                GATHERED_SCHEMA.metadata
            )
        if progress:
            progress(1)


def _by_month(files: Files) -> Iterable[Files]:
    """A month's files each."""
    months: dict[tuple[str, ...], dict[Path, Identity]] = {}
    for file, found in files.items():
        months.setdefault(file.parts[-3:-1], {})[file] = found
    return months.values()
