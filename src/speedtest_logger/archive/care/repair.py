"""The way back where a month is not as the manifest says: bring it back from a backup, or accept it as it was found.

Either is a line of the manifest, so the proof says for ever what was done, when and, of what was accepted, why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format import digest, month, parquet
from speedtest_logger.archive.format.layout import MONTH_FILE, Layout, month_of, ulid
from speedtest_logger.archive.format.schema import SCHEMA
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.ledger.entry import Accepted, Entry, Restored
from speedtest_logger.archive.write import store
from speedtest_logger.errors import DamagedFileError, UsageError
from speedtest_logger.files import sync_directory


def month_checked(name: str) -> None:
    """Raise UsageError for what is no month's name."""
    try:
        month_of(name)
    except ValueError as error:
        raise UsageError(f"{error}: they look like location=home/year=2026/month=01/{MONTH_FILE}") from error


def accept(layout: Layout, name: str, why: str) -> dict[str, Any]:
    """Have the manifest go on from a month as it is now, or from there being none; returns what was accepted.

    Raises UsageError where nothing differs, DamagedFileError where the file cannot be read.
    """
    month_checked(name)
    with store.single_writer(layout, "accept", wait=60):
        findings = verify.look(layout, name, manifest.state(layout).get(name))
        if not findings:
            raise UsageError(f"{name} is as the manifest says: there is nothing to accept")
        file = layout.archive / name
        facts = month.describe(file) if file.exists() else None
        manifest.append(layout, "accept", {name: Entry(facts, (Accepted(),))}, why)
        if facts:
            index.note_file(layout, file)
    return {"file": name, "rows": facts.rows if facts else 0, "was": [found.problem for found in findings]}


def put_back(layout: Layout, name: str, source: Path) -> dict[str, Any]:
    """Put a month back as it is in a file that came from a backup, under the writer's lock: restore.restore_month."""
    file, wanted = layout.archive / name, manifest.state(layout).get(name)
    if not verify.look(layout, name, wanted):
        raise UsageError(f"{name} is as the manifest says: nothing was changed")
    spoiled = _kept(layout, file)
    merged = month.write(source, _rows_of(spoiled))
    taken = merged.temporary if merged.added else source
    facts = month.describe(taken)
    entry = Entry(facts, (Restored(_was(spoiled)),))
    parquet.make_folders(file.parent)
    with taken.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(taken, parquet.beside(file))
    sync_directory(file.parent)
    manifest.append(layout, "restore", {name: entry})
    store.keep_promises(layout, {name: entry})
    index.note_file(layout, file)
    before = wanted.days if wanted else {}
    differences = {day: verify.compare(before.get(day), facts.days.get(day)) for day in {*before, *facts.days}}
    return {
        "rows": facts.rows,
        "taken_over": merged.added,
        "spoiled": str(spoiled) if spoiled else None,
        "days": {day: words for day, words in sorted(differences.items()) if words},
    }


def _kept(layout: Layout, file: Path) -> Path | None:
    """Another name for a spoiled file, in the quarantine: it stays when another takes its place. None for no file."""
    if not file.exists():
        return None
    other = layout.quarantine / "spoiled_months" / f"{ulid()}.parquet"
    parquet.make_folders(other.parent)
    os.link(file, other)
    sync_directory(other.parent)
    return other


def _rows_of(spoiled: Path | None) -> pa.Table:
    """The rows of a spoiled file in order; none where it cannot be read."""
    try:
        groups = parquet.groups(parquet.ParquetFile(spoiled)) if spoiled else iter(())
        return month.in_order(pa.concat_tables([SCHEMA.empty_table(), *(month.aligned(g, SCHEMA) for g in groups)]))
    except DamagedFileError:
        return SCHEMA.empty_table()


def _was(spoiled: Path | None) -> str | None:
    """The SHA-256 of what was there before; zeros where nothing can be said of it."""
    try:
        return digest.sha256_of(spoiled) if spoiled else None
    except OSError:
        return manifest.GENESIS
