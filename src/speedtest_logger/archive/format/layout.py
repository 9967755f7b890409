"""Where things lie below the archive's root, and the one way in which files get there."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from speedtest_logger import files

DEFAULT_ROOT = Path("/srv/speedtest-archive")
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MONTH_PATTERN = re.compile(
    r"location=(?P<location>[^/]+)/year=(?P<year>\d{4})/month=(?P<month>\d\d)/speedtest\.parquet"
)
MONTH_FILE = "speedtest.parquet"
RAW_FILE = "raw.parquet"
LOG_FILE = "log.parquet"
PROBE_FILE = "probes.parquet"
MADE = count()
BLOCK = 4_096  # a file takes no less on a disk


class Layout:
    """inbox/<node>/<ulid>.<sha256>.jsonl, archive/location=…/year=…/month=…/speedtest.parquet, and what is beside them.

    The SHA-256 in the name of a delivery is of its bytes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.raw_inbox = root / "raw-inbox"
        self.log_inbox = root / "log-inbox"
        self.probe_inbox = root / "probe-inbox"
        self.archive = root / "archive"
        self.raw = root / "raw"
        self.logs = root / "logs"
        self.probes = root / "probes"
        self.manifest = root / "manifest"
        self.quarantine = root / "quarantine"
        self.state = root / "state"
        self.gathered = root / "gathered"
        self.work = root / "work"  # what is being made: staging folders of backups and restores
        self.fleet = root / "fleet"  # root writes it: what is known of the nodes, and their limits
        self.backups = root / "backups"  # the backup account writes it
        self.database = root / "database"  # the database sink's account writes it
        self.store = root / "store"  # the publishing account writes it

    def prepare(self) -> None:
        """Make the directories that are missing."""
        records, raw = (self.inbox, self.archive, self.manifest), (self.raw_inbox, self.raw)
        beside = (self.log_inbox, self.logs, self.probe_inbox, self.probes)
        for folder in (*records, *raw, *beside, self.quarantine, self.state):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        for folder in (self.work, self.fleet):
            with suppress(PermissionError):  # on a host only root can make them: the role does
                folder.mkdir(mode=0o750, exist_ok=True)

    def month_file(self, location: str, year: int, month: int) -> Path:
        """The one file of a location and month."""
        return self.archive / f"location={location}" / f"year={year:04d}" / f"month={month:02d}" / MONTH_FILE

    def month_files(self, location: str | None = None) -> list[Path]:
        """All files of the dataset or of a location, sorted. Read folder by folder: there may be many thousands."""
        places = [f"{self.archive}/location={location}"] if location else _folders(str(self.archive), "location=")
        months = [m for place in places for year in _folders(place, "year=") for m in _folders(year, "month=")]
        return [Path(month, MONTH_FILE) for month in months if os.path.lexists(f"{month}/{MONTH_FILE}")]

    def raw_file(self, node: str, day: str) -> Path:
        """The one file of a node and day (YYYY-MM-DD) with raw output."""
        year, month, number = day.split("-")
        return self.raw / f"node={node}" / f"year={year}" / f"month={month}" / f"day={number}" / RAW_FILE

    def raw_files(self, node: str | None = None, first: str = "", last: str = "9999") -> list[Path]:
        """Those of a node or of all from a day on to another, sorted."""
        found = self.raw.glob(f"node={node or '*'}/year=*/month=*/day=*/{RAW_FILE}")
        return sorted(file for file in found if first <= day_of(file) <= last)

    def log_file(self, day: str) -> Path:
        """The one file of a day (YYYY-MM-DD) with lines of all nodes' logs that came in on it."""
        return _day_file(self.logs, day, LOG_FILE)

    def log_files(self, first: str = "", last: str = "9999") -> list[Path]:
        """Those from a day on to another, sorted."""
        return _day_files(self.logs, LOG_FILE, first, last)

    def probe_file(self, day: str) -> Path:
        """The one file of a day (YYYY-MM-DD) with results of all nodes' probes that began on it."""
        return _day_file(self.probes, day, PROBE_FILE)

    def probe_files(self, first: str = "", last: str = "9999") -> list[Path]:
        """Those from a day on to another, sorted."""
        return _day_files(self.probes, PROBE_FILE, first, last)

    def strangers(self) -> list[str]:
        """What lies where small files and deliveries lie and is neither file nor folder, in words."""
        folders = [self.state, self.manifest, self.quarantine, self.inbox, self.raw_inbox, self.work]
        folders += [self.log_inbox, self.logs, self.probe_inbox, self.probes]
        inboxes = (self.inbox, self.raw_inbox, self.log_inbox, self.probe_inbox)
        folders += [Path(folder) for inbox in inboxes for folder in _folders(inbox)]
        return [words for folder in folders for words in files.strangers(folder)]

    def name(self, file: Path) -> str:
        """A file's name below the dataset, as the manifest writes it."""
        return file.relative_to(self.archive).as_posix()


def _folders(folder: Path | str, prefix: str = "") -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.path for e in entries if e.name.startswith(prefix) and e.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):  # pruned meanwhile, or no folder of ours
        return []


def _day_file(folder: Path, day: str, name: str) -> Path:
    year, month, number = day.split("-")
    return folder / f"year={year}" / f"month={month}" / f"day={number}" / name


def _day_files(folder: Path, name: str, first: str, last: str) -> list[Path]:
    found = folder.glob(f"year=*/month=*/day=*/{name}")
    return sorted(file for file in found if first <= day_of(file) <= last)


def day_of(file: Path) -> str:
    """The day of a file that is one of a day, YYYY-MM-DD."""
    return "-".join(part.partition("=")[2] for part in file.parts[-4:-1])


def month_of(name: str) -> tuple[str, int, int]:
    """Location, year and month of a file's name below the dataset. Raises ValueError."""
    found = MONTH_PATTERN.fullmatch(name)
    if not found:
        raise ValueError(f"'{name}' is not a file of the dataset")
    return found["location"], int(found["year"]), int(found["month"])


def files_in(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a folder, which others may be taking away meanwhile; none where there is no folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=False)


def bytes_in(folder: Path) -> int:
    """What the files of a folder take on a disk at least."""
    return sum(max(BLOCK, found.st_size) for _, found in files_in(folder))


def make_folder(folder: Path) -> None:
    """Make a folder and the one that it is in where they are missing; they are on disk when this returns."""
    for missing in [place for place in (folder.parent, folder) if not place.is_dir()]:
        missing.mkdir(mode=0o750, exist_ok=True)
        files.sync_directory(missing.parent)


def sealed_name(name: str, content: bytes) -> str:
    """The name of a delivery's file, which says what its bytes are."""
    return name_with_seal(name, hashlib.sha256(content).hexdigest())


def name_with_seal(name: str, digest: str) -> str:
    """The same from the SHA-256 of the bytes."""
    return f"{name}.{digest}.jsonl"


def is_sealed(file_name: str, content: bytes) -> bool | None:
    """Whether a delivery's bytes are still what its file's name says; None where that says nothing of them."""
    name, *seal, _ = file_name.split(".")
    return sealed_name(name, content) == file_name if seal else None


def default_root() -> Path:
    """SPEEDTEST_ARCHIVE_DIR, or /srv/speedtest-archive."""
    return Path(os.environ.get("SPEEDTEST_ARCHIVE_DIR") or DEFAULT_ROOT)


def ulid() -> str:
    """A name that sorts by time: 48 bits of milliseconds, 80 others, base 32 (github.com/ulid/spec).

    These are how many this process has made, 24 bits, so that of one millisecond the later sorts behind, and 56 random.
    """
    counted = next(MADE) & 0xFFFFFF
    number = int(time.time() * 1000) << 80 | counted << 56 | int.from_bytes(os.urandom(7), "big")
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
