"""Who has logged in: a random cookie each, of which only SHA-256 is kept, so that a restart logs nobody out."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speedtest_logger.dashboard.keys import TOKEN, sha256
from speedtest_logger.dashboard.users import User, Users
from speedtest_logger.files import STATE_BYTES, read_bounded, write_durably

IDLE_SECONDS = 7 * 86_400
LONGEST_SECONDS = 30 * 86_400
NOTED_SECONDS = 3_600  # how exactly it is known when a session was last used: each note is a write
MOST_OF_USER = 20
DAMAGED = (OSError, ValueError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Session:
    """A user's session; `mark` is of the password that it was begun with. Unix times (s)."""

    user: str
    mark: str
    began: float
    seen: float

    def lasts(self, now: float) -> bool:
        """Whether it has neither been idle for too long nor lasted for too long; a clock set back ends none."""
        return now - self.seen < IDLE_SECONDS and now - self.began < LONGEST_SECONDS


class Sessions:
    """All sessions, in memory and in one file. Whoever may read that file can log in with nothing of it."""

    def __init__(self, file: Path, users: Users, clock: Callable[[], float] = time.time) -> None:
        self.file = file
        self.users = users
        self.clock = clock
        self._lock = threading.Lock()
        self._sessions = {key: session for key, session in _read(file).items() if self._holds(session)}

    def begin(self, user: User) -> str:
        """A new session; returns its token, which is known to nobody else."""
        token, now = secrets.token_urlsafe(32), self.clock()
        with self._lock:
            self._sessions = {key: session for key, session in self._sessions.items() if self._holds(session)}
            theirs = sorted((s.seen, key) for key, s in self._sessions.items() if s.user == user.name)
            for _, key in theirs[: max(0, len(theirs) + 1 - MOST_OF_USER)]:
                del self._sessions[key]
            self._sessions[sha256(token)] = Session(user.name, user.mark, now, now)
            with suppress(OSError):  # a full disk keeps nobody out; a restart ends this session
                self._write()
        return token

    def user_of(self, token: str) -> User | None:
        """Whose session a token is of, while it lasts."""
        key = sha256(token) if TOKEN.fullmatch(token) else ""
        with self._lock:
            session = self._sessions.get(key)
            if session is None or not self._holds(session):
                return None
            if self.clock() - session.seen > NOTED_SECONDS:
                self._sessions[key] = replace(session, seen=self.clock())
                with suppress(OSError):  # a full disk logs nobody out
                    self._write()
        return self.users.get(session.user)

    def end(self, token: str) -> None:
        """End a session, wherever its cookie has got to."""
        with self._lock:
            if TOKEN.fullmatch(token) and self._sessions.pop(sha256(token), None):
                self._write()

    def _holds(self, session: Session) -> bool:
        user = self.users.get(session.user)
        return user is not None and user.mark == session.mark and session.lasts(self.clock())

    def _write(self) -> None:
        content = {key: asdict(session) for key, session in self._sessions.items()}
        write_durably(self.file, json.dumps(content).encode(), 0o600)


def _read(file: Path) -> dict[str, Session]:
    """The sessions of a file; none where it is not there, or damaged: everybody logs in again."""
    try:
        content: dict[str, dict[str, Any]] = json.loads(read_bounded(file, STATE_BYTES))
        found = {key: Session(**session) for key, session in content.items()}
        for session in found.values():
            session.lasts(0.0)
    except DAMAGED:
        return {}
    return found
