"""What alerts remember: findings, what was told of them, and messages that have not left yet. One file, written whole.

Where it was written, all of it holds; where a process ended before, none of it does, and the same is found again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.follow import Book, watched_of
from speedtest_logger.alerts.messages import Message
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import StorageError
from speedtest_logger.files import read_bounded, write_durably

VERSION = 1
MOST_BYTES = 64_000_000
FOLDER = "alerts"
KEPT_SECONDS = 400 * 86_400.0  # findings that ended
MOST_FINDINGS = 3000
MOST_SENT = 200  # messages that are remembered after they left


@dataclass
class Post:
    """How a destination takes what it is sent: since when it fails, why, when it is tried again (Unix times, s)."""

    failing_since: float | None = None
    why: str = ""
    tries: int = 0
    next: float = 0
    sent: int = 0
    failed: int = 0
    digest: float = 0
    last_sent: float | None = None

    def wants_digest(self, destination: Destination, now: float) -> bool:
        """Whether one is due (`digest`: the last one). The first comes at the first time of day after it was added."""
        due = destination.digest_due(now)
        if due is None:
            return False
        self.digest = self.digest or now
        return self.digest < due


@dataclass
class State:
    """All of it.

    `cursor` as read.changes has it. `listening_since`: since when (Unix time, s) the archive has been filled without a
    break, None: it is not. `seen` counts evaluations in a row that saw something of the archive or a clock; `due` has
    when each line is to be judged again though nothing arrives.
    """

    cursor: str | None = None
    evaluated: float | None = None
    listening_since: float | None = None
    rules: str = ""
    began: float | None = None
    book: Book = field(default_factory=Book)
    waiting: list[Message] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    posts: dict[str, Post] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)

    def post(self, name: str) -> Post:
        """A destination's."""
        return self.posts.setdefault(name, Post())


def file_of(layout: Layout) -> Path:
    """Where it is."""
    return layout.root / FOLDER / "state.json"


def load(layout: Layout) -> State:
    """The state; a new one where there is none. Raises StorageError for one that cannot be read."""
    file = file_of(layout)
    try:
        content = json.loads(read_bounded(file, MOST_BYTES))
        if content["version"] != VERSION:
            raise ValueError(f"it is of version {content['version']!r:.20}")
        return State(
            content["cursor"],
            content["evaluated"],
            content["listening_since"],
            content["rules"],
            content["began"],
            Book([watched_of(entry) for entry in content["findings"]]),
            [Message(**message) for message in content["waiting"]],
            list(content["sent"]),
            {name: Post(**post) for name, post in content["posts"].items()},
            dict(content["seen"]),
            dict(content["due"]),
        )
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"{file} cannot be read ({str(error)[:200]}): move it away, and findings are told anew"
        ) from error


def save(layout: Layout, state: State) -> None:
    """Write it as a whole; it is on disk when this returns. Raises StorageError."""
    content = {
        "version": VERSION,
        "cursor": state.cursor,
        "evaluated": state.evaluated,
        "listening_since": state.listening_since,
        "rules": state.rules,
        "began": state.began,
        "findings": state.book.to_json(),
        "waiting": [message.to_json() for message in state.waiting],
        "sent": state.sent[-MOST_SENT:],
        "posts": {name: asdict(post) for name, post in state.posts.items()},
        "seen": state.seen,
        "due": state.due,
    }
    file = file_of(layout)
    try:
        write_durably(file, json.dumps(content, separators=(",", ":")).encode())
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}") from error


@contextmanager
def alone(layout: Layout, wait: float = 0) -> Iterator[None]:
    """While no other process evaluates or sends. Raises StorageError where one still does after `wait` seconds."""
    from speedtest_logger.files import lock_within, open_lock

    file = layout.root / FOLDER / "lock"
    try:
        stream = open_lock(file)
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror or error}") from error
    with stream:
        if not lock_within(stream, wait):
            raise StorageError("alerts are being evaluated by another process just now")
        yield
