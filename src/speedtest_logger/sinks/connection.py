"""A connection that cannot hang: neither a dead server, nor a slow, full or stopped one holds a sync up for long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from speedtest_logger.errors import DeliveryError
from speedtest_logger.sinks.settings import CONNECT_SECONDS, Settings

Connection = psycopg.Connection[tuple[Any, ...]]
LOCK = 0x5EED7E57  # of Postgres's advisory locks: held by whoever changes the tables
PATIENCE: dict[str, str | int] = {
    "application_name": "speedtest-database",
    "client_encoding": "UTF8",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
AGAIN_SECONDS = 5  # later the same is raised again, in what tidies up after it
GRACE_SECONDS = 10  # the server ends a statement by itself; after so much longer it does not answer any more


@contextmanager
def connected(settings: Settings, **parameters: str) -> Iterator[Session]:
    """A session with the database; `parameters` of the connection go before those of the settings.

    Raises DeliveryError, which says in one line what the server, or nobody, said.
    """
    try:
        connection = _open(settings, parameters)
        try:
            yield Session(connection, settings)
        finally:
            connection.close()
    except psycopg.Error as error:
        raise DeliveryError(f"the database: {said(error)}") from error


def _open(settings: Settings, parameters: dict[str, str]) -> Connection:
    milliseconds = settings.timeout * 1000
    bounds = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c TimeZone=UTC"
    with deadline(CONNECT_SECONDS + GRACE_SECONDS):
        return psycopg.connect(
            make_conninfo(settings.conninfo, **PATIENCE, **{"options": bounds, **parameters}), autocommit=True
        )


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise DeliveryError in what takes longer: for a server that is there and does not answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise DeliveryError(f"the database has not answered for {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def said(error: psycopg.Error) -> str:
    """What the server said, in one line."""
    text = error.diag.message_primary or str(error)
    return " ".join(text.split())[:300] or type(error).__name__


class Session:
    """A connection with which statements are asked, each with a deadline of its own."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection, self.settings = connection, settings

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """What is done meanwhile has to be answered in time."""
        with deadline(self.settings.timeout + GRACE_SECONDS):
            yield

    def run(self, statement: LiteralString | sql.Composed, *values: object) -> list[tuple[Any, ...]]:
        """Carry out a statement; its rows, where it has some."""
        with self.in_time():
            cursor = self.connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done meanwhile, or nothing."""
        yield from self._all_or_nothing("BEGIN", "COMMIT", "ROLLBACK")

    @contextmanager
    def part(self) -> Iterator[None]:
        """Within a transaction: all that is done meanwhile, or nothing of it."""
        yield from self._all_or_nothing("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part")

    def _all_or_nothing(self, begin: LiteralString, keep: LiteralString, undo: LiteralString) -> Iterator[None]:
        self.run(begin)
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error, DeliveryError):
                self.run(undo)
            raise
        self.run(keep)

    def take_lock(self) -> None:
        """Be the only one that changes the tables, until the connection ends. Raises DeliveryError."""
        with self.transaction():
            self.run("SET LOCAL lock_timeout = '5s'")  # for the server to notice that another one has ended
            try:
                self.run("SELECT pg_advisory_lock(%s)", LOCK)
            except psycopg.errors.LockNotAvailable as error:
                raise DeliveryError("another sync is at work in this database") from error
