"""What a node keeps on disk: outbox, history, raw output, refused records and small state files.

Everything is written to a temporary file, fsynced, renamed, and its directory fsynced: a crash leaves old or new.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import files
from speedtest_logger.errors import RecordError
from speedtest_logger.node import outbox
from speedtest_logger.record import COLUMNS, Record, from_text, validate, without_impossible

ReadState = Callable[[str], "dict[str, Any] | None"]  # a small state file by its name, None where there is none
DAY_SECONDS = 86_400
sync_directory, write_durably = files.sync_directory, files.write_durably
DROPPED_BEFORE = "dropped_total"  # the state that has what the cap's earlier journals counted
FOLDERS = ("outbox", "results", "raw", "rejected", "probes", "state")
RECORD_BYTES = 200_000  # most that a record's file may have
RAW_BYTES = 16_000_000  # most that one run's engine may have said
MOST_NAME = 200  # bytes of a file's name that leave room for an ending


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
        raise RecordError("bad_file", f"not CSV: {error}") from error
    if len(rows) != 1 or None in rows[0] or None in rows[0].values():
        raise RecordError("bad_file", f"{len(rows)} rows or a torn row instead of one record")
    return validate(without_impossible(from_text(rows[0])))


def state_of(content: str | bytes) -> dict[str, Any] | None:
    """What is in a small state file; None where it is torn, or something else."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


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

    @property
    def probes(self) -> Path:
        """Results of probes that the archive does not have yet, some minutes in a file."""
        return self.directory / "probes"

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
        """Keep an engine's raw output."""
        write_durably(self._raw_file(run_id, engine), content)

    def read_raw(self, run_id: str, engine: str) -> bytes | None:
        """An engine's raw output, None where it is not kept any more, or something else lies there."""
        try:
            return files.read_bounded(self._raw_file(run_id, engine), RAW_BYTES)
        except OSError:
            return None

    def _raw_file(self, run_id: str, engine: str) -> Path:
        return self.directory / "raw" / f"{run_id}_{engine}.json"

    def waiting(self) -> dict[Path, os.stat_result]:
        """Files in the outbox, oldest first; a delivery under way can take any of them away at any time."""
        found = {}
        for entry in outbox.listed(self.outbox):
            with suppress(FileNotFoundError):
                found[self.outbox / entry.name] = (self.outbox / entry.name).lstat()
        return found

    def has_room(self, coming: Record, most: float) -> bool:
        """Whether a record surely fits into so many bytes, without a look at the outbox: then it is counted in.

        What is known is the most that can be there: deliveries may have taken some of it away.
        """
        known, (needed, _) = (self.read_state("outbox") or {}).get("bytes"), self.disk_bytes(coming)
        if not isinstance(known, (int, float)) or known + needed > most:
            return False
        self.write_hint("outbox", {"bytes": known + needed})
        return True

    def disk_bytes(self, coming: Record) -> tuple[int, int]:
        """What a record will take on the disk, and what the smallest file does."""
        block = os.statvfs(self.outbox).f_frsize
        return -(-len(record_to_csv(coming)) // block) * block, block

    def dropped(self) -> int:
        """How many undelivered records ever had to go: those of the cap's journal, and of the journals before it."""
        journal, before = self.read_state("dropped") or {}, self.read_state(DROPPED_BEFORE) or {}
        record = journal.get("record")
        counted = not isinstance(record, dict) or record.get("run_id") == before.get("run_id")
        return int(before.get("records", 0)) + (0 if counted else int(journal.get("records", 0)))

    def release(self, run_id: str) -> None:
        """Forget a record that the archive holds."""
        (self.outbox / f"{run_id}.csv").unlink(missing_ok=True)

    def reject(self, file: Path, reason: str) -> None:
        """Move what lies in the outbox out of it, whatever it is, and keep it beside the reason."""
        name = file.name if len(os.fsencode(file.name)) <= MOST_NAME else f"{os.urandom(16).hex()}.csv"
        if os.path.lexists(self.rejected / name) and not stat.S_ISREG(os.lstat(self.rejected / name).st_mode):
            name = f"{os.urandom(16).hex()}.csv"  # a directory there cannot be replaced
        write_durably(self.rejected / f"{name}.reason", (reason + "\n").encode(errors="backslashreplace"))
        with suppress(FileNotFoundError):
            os.replace(file, self.rejected / name)
        sync_directory(self.rejected)

    def take_back(self, file: Path) -> None:
        """Move a refused record into the outbox again; the one that waits there under its name stays."""
        if not os.path.lexists(self.outbox / file.name):
            os.replace(file, self.outbox / file.name)
            sync_directory(self.outbox)
            file.with_name(f"{file.name}.reason").unlink(missing_ok=True)

    def strangers(self) -> list[str]:
        """What lies where this program's files lie and is none, in words; it is neither read nor followed."""
        return [words for name in FOLDERS for words in files.strangers(self.directory / name)]

    def read_state(self, name: str) -> dict[str, Any] | None:
        """A small state file, None where it is missing or torn, or something else lies there."""
        try:
            return state_of(files.read_bounded(self.directory / "state" / f"{name}.json"))
        except OSError:
            return None

    def write_state(self, name: str, content: dict[str, Any]) -> None:
        """Replace a small state file."""
        write_durably(self.directory / "state" / f"{name}.json", (json.dumps(content) + "\n").encode())

    def write_hint(self, name: str, content: dict[str, Any]) -> None:
        """Replace a small state file that may be lost: it can be made again, and the disk is spared."""
        temporary = self.directory / "state" / f".{name}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(temporary, self.directory / "state" / f"{name}.json")

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


def _older(folder: Path, days: int) -> Iterator[Path]:
    limit = time.time() - days * DAY_SECONDS
    return (file for file in folder.rglob("*") if files.is_regular(file) and file.lstat().st_mtime < limit)
