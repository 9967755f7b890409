"""What a node keeps on disk: outbox, history, raw output, refused records and small state files.

Everything is written to a temporary file, fsynced, renamed, and its directory fsynced: a crash leaves old or new.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from speedtest_logger import files
from speedtest_logger.errors import RecordError
from speedtest_logger.record import COLUMNS, Record, from_text, unix_time, validate

DAY_SECONDS = 86_400
sync_directory, write_durably = files.sync_directory, files.write_durably
FOLDERS = ("outbox", "results", "raw", "rejected", "state")
RECORD_BYTES = 1_000_000  # most that a record's file may have
RAW_BYTES = 16_000_000  # most that one run's engine may have said
MOST_WAITING = 200_000  # files of the outbox that are looked at at once


def record_to_csv(record: Record) -> bytes:
    """A header and one row; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(COLUMNS))  # RFC 4180's CRLF, so that a lone CR in a text gets quoted too
    writer.writeheader()
    writer.writerow(record.to_row())
    return text.getvalue().encode()


def record_from_csv(content: bytes) -> Record:
    """What record_to_csv wrote. Raises RecordError for anything else."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError("bad_file", f"no CSV: {error}") from error
    if len(rows) != 1 or None in rows[0] or None in rows[0].values():
        raise RecordError("bad_file", f"{len(rows)} rows or a torn row instead of one record")
    return validate(from_text(rows[0]))


def read_record(file: Path) -> Record:
    """What is in a file of the outbox. Raises RecordError for what is no record, FileNotFoundError for what is gone."""
    try:
        return record_from_csv(files.read_bounded(file, RECORD_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError("bad_file", f"no record: {error.strerror}") from error


@dataclass
class Spool:
    """The node's state directory."""

    directory: Path

    @property
    def outbox(self) -> Path:
        """Records that the archive has not receipted yet, one CSV file each."""
        return self.directory / "outbox"

    @property
    def rejected(self) -> Path:
        """Records that the archive refused, and files that are no records, each beside its reason."""
        return self.directory / "rejected"

    def prepare(self) -> None:
        """Make the directories that are missing."""
        for name in FOLDERS:
            (self.directory / name).mkdir(mode=0o750, parents=True, exist_ok=True)

    def write(self, record: Record) -> bool:
        """Outbox first, then history; False where the run is already known (its first record stands)."""
        file = self.outbox / f"{record.run_id}.csv"
        last = self.read_state("last_record") or {}
        if record.scheduled_at and last.get("run_id") == record.run_id:  # written before, perhaps delivered since
            return False
        known = files.is_regular(file)
        if not known:
            write_durably(file, record_to_csv(record))
        content = files.read_bounded(file, RECORD_BYTES)
        self._write_history(record_from_csv(content) if known else record, content)
        return not known

    def _write_history(self, record: Record, content: bytes) -> None:
        stamp = record.started_at
        folder = self.directory / f"results/year={stamp[:4]}/month={stamp[5:7]}/day={stamp[8:10]}"
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = folder / f"speedtest_{stamp[11:19].replace(':', '-')}.csv"
        if files.is_regular(file) and files.read_bounded(file, RECORD_BYTES) != content:  # two records of one second
            file = file.with_name(f"{file.stem}_{record.run_id[:8]}.csv")
        write_durably(file, content)

    def write_raw(self, run_id: str, engine: str, content: bytes) -> None:
        """Keep an engine's own words."""
        write_durably(self._raw_file(run_id, engine), content)

    def read_raw(self, run_id: str, engine: str) -> bytes | None:
        """An engine's own words, None where they are not kept any more, or something else lies there."""
        try:
            return files.read_bounded(self._raw_file(run_id, engine), RAW_BYTES)
        except OSError:
            return None

    def _raw_file(self, run_id: str, engine: str) -> Path:
        return self.directory / "raw" / f"{run_id}_{engine}.json"

    def waiting(self) -> dict[Path, os.stat_result]:
        """Files in the outbox, oldest first; a delivery under way can take any of them away at any time."""
        found = {}
        with os.scandir(self.outbox) as entries:
            for entry in islice((entry for entry in entries if entry.name.endswith(".csv")), MOST_WAITING):
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        found[Path(entry.path)] = entry.stat(follow_symlinks=False)
        return dict(sorted(found.items(), key=lambda entry: (entry[1].st_mtime_ns, entry[0].name)))

    def release(self, run_id: str) -> None:
        """Forget a record that the archive holds."""
        (self.outbox / f"{run_id}.csv").unlink(missing_ok=True)

    def reject(self, file: Path, reason: str) -> None:
        """Move a file out of the outbox and keep it beside the reason."""
        write_durably(self.rejected / f"{file.name}.reason", (reason + "\n").encode())
        os.replace(file, self.rejected / file.name)
        sync_directory(self.rejected)

    def overflow(self, max_bytes: float) -> list[Path]:
        """The oldest files that must go for the outbox to stay below its cap."""
        waiting, going = self.waiting(), []
        excess = sum(map(_disk_bytes, waiting.values())) - max_bytes
        for file, found in waiting.items():
            if excess <= 0:
                break
            excess -= _disk_bytes(found)
            going.append(file)
        return going

    def strangers(self) -> list[str]:
        """What lies where this program's files lie and is none, in words; it is neither read nor followed."""
        return [words for name in FOLDERS for words in files.strangers(self.directory / name)]

    def read_state(self, name: str) -> dict[str, Any] | None:
        """A small state file, None where it is missing or torn, or something else lies there."""
        try:
            content = json.loads(files.read_bounded(self.directory / "state" / f"{name}.json"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write_state(self, name: str, content: dict[str, Any]) -> None:
        """Replace a small state file."""
        write_durably(self.directory / "state" / f"{name}.json", (json.dumps(content) + "\n").encode())

    def clear_state(self, name: str) -> None:
        """Remove a small state file."""
        (self.directory / "state" / f"{name}.json").unlink(missing_ok=True)

    def prune(self, history_days: int, raw_days: int) -> int:
        """Remove history and raw output beyond their ages; returns how many files went. The outbox is never pruned."""
        old = [*_older(self.directory / "results", history_days), *_older(self.directory / "raw", raw_days)]
        for file in old:
            file.unlink()
        for folder in sorted((self.directory / "results").rglob("*="), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        return len(old)


def _disk_bytes(found: os.stat_result) -> int:
    return found.st_blocks * 512


def _older(folder: Path, days: int) -> Iterator[Path]:
    limit = time.time() - days * DAY_SECONDS
    return (file for file in folder.rglob("*") if files.is_regular(file) and file.lstat().st_mtime < limit)


def age_of(record: dict[str, Any]) -> float:
    """Seconds since a record's end."""
    return time.time() - unix_time(str(record["finished_at"]))
