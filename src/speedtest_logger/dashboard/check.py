"""Whether the dashboard could show its archive, and what is wrong otherwise. Standard library only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.dashboard import keys, users
from speedtest_logger.dashboard.health import health
from speedtest_logger.dashboard.settings import PREFIX, Settings
from speedtest_logger.errors import ConfigError, NoAccessError, SpeedtestError
from speedtest_logger.record import utc_text

SOON_SECONDS = 14 * 86_400
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    code: str
    passed: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Everything that `serve` needs, and what it would only say in its log."""
    found: list[Finding] = []
    people = _loaded(found, "users", lambda: users.load(settings.users_file))
    programs = _loaded(found, "keys", lambda: keys.load(settings.keys_file))
    links = _loaded(found, "shares", lambda: keys.load_shares(settings.shares_file))
    if people is not None:
        count = len(people.by_name)
        found.append(Finding("users", True, f"{count} may log in" if count else "none: nobody has to log in"))
    if programs is not None:
        ends = [(f"the key {key.name}", key.expires) for key in programs.by_id.values()]
        found.append(_expiry("keys", ends))
    if links is not None:
        ends = [(f"the share of {share.location}", share.expires) for share in links.by_sha256.values()]
        found.append(_expiry("shares", ends))
    return [*found, _archive(settings), _state_dir(settings), _ingest(settings)]


def _loaded(found: list[Finding], code: str, load: Callable[[], Loaded]) -> Loaded | None:
    """What a file holds; None, and findings, where it cannot be used."""
    try:
        return load()
    except ConfigError as error:
        found += [Finding(code, False, problem) for problem in error.problems]
    except NoAccessError as error:
        found.append(Finding(code, False, str(error)))
    return None


def _expiry(code: str, ends: list[tuple[str, float | None]]) -> Finding:
    """Whether any of them has ended; who has one that soon will is told."""
    now = time.time()
    over = [f"{what} has expired: make a new one" for what, end in ends if end is not None and end <= now]
    soon = [
        f"{what} works until {utc_text(end - 1)[:10]}"
        for what, end in ends
        if end is not None and now < end <= now + SOON_SECONDS
    ]
    return Finding(code, not over, "; ".join([*over, *soon]) or f"{len(ends)} of them")


def _archive(settings: Settings) -> Finding:
    layout = Layout(settings.archive_dir)
    try:
        for folder in (layout.archive, layout.manifest, layout.state):
            os.scandir(folder).close()
        last = manifest.head(layout)
        for file in layout.month_files()[-1:]:
            file.open("rb").close()
    except PermissionError as error:
        return Finding(
            "archive", False, f"{error.filename} cannot be read by this account: it needs the archive's group"
        )
    except OSError as error:
        return Finding("archive", False, f"{error.filename}: {error.strerror}")
    except SpeedtestError as error:
        return Finding("archive", False, str(error))
    return Finding("archive", True, f"{layout.root}, {last.seq} changes")


def _state_dir(settings: Settings) -> Finding:
    place = settings.state_dir
    there = next((folder for folder in (place, *place.parents) if folder.exists()), place)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding("state", True, str(place))
    return Finding("state", False, f"{place} cannot be written by this account: set {PREFIX}DIR")


def _ingest(settings: Settings) -> Finding:
    found = health(settings)
    if found.scheduler == "none":
        return Finding("ingest", True, "this archive was made without Ansible: it is shown as it is")
    return Finding("ingest", found.why is None, found.why or "runs")
