"""Dask as the engine: workers that have this package import `answered` and run it, each on its part.

Nothing of a task is code: a function travels as its name. Another worker does the work of one that dies or falls
silent; where that is impossible, the question fails. Answers are complete or not given.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import dask
import distributed
import pyarrow as pa
from distributed.security import Security

from speedtest_logger import __version__
from speedtest_logger.distributed import scan
from speedtest_logger.distributed.engine import Task
from speedtest_logger.distributed.keys import Keys
from speedtest_logger.errors import ConfigError, DeliveryError, SpeedtestError, StorageError, UsageError

SCHEME = "dask://"
PORT = 8786
PACKAGES = ("distributed", "dask", "deltalake", "duckdb", "pyarrow")
CONNECT_SECONDS = 10
WITHOUT_WORKERS = 60  # s that a question waits for one
LOOK_SECONDS = 2.0
LOST = "asked again, it may be answered: nothing was changed"


def versions() -> dict[str, str]:
    """What has to be the same wherever a part of a question is answered."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "speedtest_logger": __version__, **{name: metadata.version(name) for name in PACKAGES}}


def address_of(text: str) -> str:
    """The scheduler's address as Dask has it, with TLS. Raises UsageError for what is none."""
    host, _, port = text.removeprefix(SCHEME).rpartition(":")
    if not text.startswith(SCHEME) or not host or not port.isdigit():
        raise UsageError(f"{text!r:.100} is not an engine: duckdb, or {SCHEME}HOST:{PORT}")
    return f"tls://{host}:{port}"


class DaskEngine:
    """A cluster, reached by its scheduler."""

    def __init__(self, name: str, keys: Keys) -> None:
        self.name = name
        self.address = address_of(name)
        self.keys = keys

    def run(self, tasks: Sequence[Task]) -> list[pa.Table]:
        """As Engine. Raises DeliveryError where the cluster does not answer, UsageError where versions differ."""
        with self.connected() as client:
            if not client.nthreads():
                raise DeliveryError(f"{self.name} has no worker: {LOST}")
            futures = client.map(answered, tasks, wanted=versions(), pure=False, retries=0)
            self._wait(client, futures)
            with _understood(self.name):
                answers: list[pa.Table] = client.gather(futures)
        if len(answers) != len(tasks):
            raise DeliveryError(f"{self.name}: {len(answers)} answers to {len(tasks)} parts: {LOST}")
        return answers

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A client of Dask's. Raises DeliveryError where nobody answers, or not to this member."""
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what there is to say, an error here says
        security = Security(
            require_encryption=True,
            tls_ca_file=self.keys.members,
            tls_client_key=self.keys.key,
            tls_client_cert=self.keys.certificate,
        )
        with dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"}):
            try:
                client = distributed.Client(
                    self.address, security=security, timeout=CONNECT_SECONDS, set_as_default=False
                )
            except (OSError, ValueError, TimeoutError, asyncio.TimeoutError) as error:
                raise DeliveryError(
                    f"{self.name} does not answer, or does not know this host: {_said(error)}"
                ) from error
            try:
                with client.as_current():
                    yield client
            finally:
                client.close(timeout=5)

    def _wait(self, client: Any, futures: Sequence[Any]) -> None:
        """Until all parts are answered, or one of them cannot be. Raises DeliveryError."""
        seen = time.monotonic()
        with _understood(self.name):
            while any(future.status == "pending" for future in futures):
                _wait_a_little(futures)
                if any(future.status in ("error", "cancelled", "lost") for future in futures):
                    return  # gather says which
                if client.status != "running":
                    raise DeliveryError(f"{self.name}: the scheduler went away: {LOST}")
                if client.nthreads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > WITHOUT_WORKERS:
                    raise DeliveryError(f"{self.name} has had no worker for {WITHOUT_WORKERS} s: {LOST}")


def _wait_a_little(futures: Sequence[Any]) -> None:
    try:
        distributed.wait(futures, timeout=LOOK_SECONDS, return_when="ALL_COMPLETED")
    except (TimeoutError, asyncio.TimeoutError):
        return


def answered(task: Task, wanted: dict[str, str]) -> pa.Table:
    """What a worker runs: `scan.answer`, if what makes answers has the same versions here as where the question is.

    Raises UsageError, which names them, where they differ; StorageError where this worker has no key of the store.
    """
    here = versions()
    differ = [f"{name} {here.get(name)} instead of {wanted[name]}" for name in wanted if here.get(name) != wanted[name]]
    if differ:
        raise UsageError(f"worker {socket.gethostname()} has {', '.join(differ)}: nothing was answered")
    try:
        return scan.answer(task, shared=True)
    except ConfigError as error:  # it is not carried as it is
        raise StorageError(f"worker {socket.gethostname()}: {'; '.join(error.problems)}") from None


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """What Dask raises, as an error of ours; what a part raised stays what it is."""
    try:
        yield
    except SpeedtestError:
        raise
    except distributed.scheduler.KilledWorker as error:
        raise DeliveryError(f"{name}: one worker after another died over a part: {_said(error)}") from error
    except (distributed.CancelledError, asyncio.CancelledError, OSError, TimeoutError, RuntimeError) as error:
        raise DeliveryError(f"{name}: the cluster went away meanwhile: {LOST} ({_said(error)})") from error
    except Exception as error:  # a worker's own, of whatever kind: this command cannot know them
        raise DeliveryError(f"{name}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
