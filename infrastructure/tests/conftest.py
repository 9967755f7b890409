"""An AWS (ministack) of this run's own. It listens everywhere: only in a network namespace of loopback alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import BotoCoreError

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
PATIENCE = 60  # s


def client(service: str, address: str, keys: dict[str, str] = KEYS) -> Any:
    """Something of AWS at an address of this machine."""
    return botocore.session.get_session().create_client(
        service, region_name=REGION, endpoint_url=address,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def wait_for(answers: Callable[[], object], log: Path) -> None:
    """Until it answers without an error of the connection."""
    deadline = time.monotonic() + PATIENCE
    while not _does(answers):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8", errors="replace")[-3000:]
        time.sleep(0.2)


def _does(answers: Callable[[], object]) -> bool:
    with suppress(BotoCoreError, OSError):
        answers()
        return True
    return False


@pytest.fixture(scope="session", autouse=True)
def _alone() -> None:
    """`make infrastructure` makes the namespace."""
    others = {name for _, name in socket.if_nameindex()} - {"lo"}
    assert not others, f"this machine's own network is here ({', '.join(sorted(others))}): run `make infrastructure`"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an AWS with nothing in it."""
    folder = tmp_path_factory.mktemp("aws")
    log, address = folder / "log", "http://127.0.0.1:4566"
    with (
        log.open("wb") as out,
        subprocess.Popen([PROGRAMS / "ministack"], stdout=out, stderr=out, cwd=folder) as server,
    ):
        try:
            wait_for(client("s3", address).list_buckets, log)
            yield address
        finally:
            server.kill()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a real S3 server (SeaweedFS) with nothing in it."""
    folder = tmp_path_factory.mktemp("store")
    log = folder / "log"
    command = [
        PROGRAMS / "weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        "-s3.port=8333", "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=5", "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    environment = {**os.environ, **KEYS}  # its administrator's
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as server:
        try:
            s3 = client("s3", "http://127.0.0.1:8333")
            wait_for(s3.list_buckets, log)
            yield s3
        finally:
            server.kill()
