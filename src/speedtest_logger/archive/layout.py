"""Where things lie below the archive's root, and the one way in which files get there."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

DEFAULT_ROOT = Path("/srv/speedtest-archive")
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Layout:
    """inbox/<node>/<ulid>.jsonl, archive/location=…/year=…/month=…/speedtest.parquet, quarantine/, state/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.archive = root / "archive"
        self.quarantine = root / "quarantine"
        self.state = root / "state"

    def month_file(self, location: str, year: int, month: int) -> Path:
        """The one file of a location and month."""
        return self.archive / f"location={location}" / f"year={year:04d}" / f"month={month:02d}" / "speedtest.parquet"


def default_root() -> Path:
    """SPEEDTEST_ARCHIVE_DIR, or /srv/speedtest-archive."""
    return Path(os.environ.get("SPEEDTEST_ARCHIVE_DIR") or DEFAULT_ROOT)


def ulid() -> str:
    """A name that sorts by time: 48 bits of milliseconds, 80 random bits, base 32 (github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
