"""The backups' repository, as restic reads and writes it.

restic's own variables say where it is and with which password: RESTIC_REPOSITORY, RESTIC_PASSWORD_FILE, AWS_… and so on
(restic.readthedocs.io). What restic reads of this machine, its repository and its cache, is looked at first: whether it
comes to an end with them (https://restic.readthedocs.io/en/stable/100_references.html#repository-layout).
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from speedtest_logger import env_file
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.files import kind_of

TAG = "speedtest-archive"
DUMPS_TAG = "speedtest-database"  # of snapshots that hold the database's dumps, and nothing of the archive
ENV_FILE = Path("/etc/speedtest-archive/backup.env")
REPOSITORY = "RESTIC_REPOSITORY"
UNREAD = "restic dump: its end was not read"
NOT_INSTALLED = "restic is not installed: apt install restic"
LOCAL = "local:"  # before a directory, where restic is told so
DEPTH = 4  # REPOSITORY/data/00/PACK, CACHE/ID/data/00/PACK


class UnreadError(StorageError):
    """Who should read what restic dumps does not any more."""


def find(snapshot: str) -> dict[str, Any]:
    """A snapshot's `id`, `short_id` and `time`, as restic says them. Raises UsageError where there is none."""
    said = restic("snapshots", "--json", "--host", TAG, "--tag", TAG, "--", snapshot)
    found: list[dict[str, Any]] = json.loads(said)
    if not found:
        raise UsageError(f"the repository has no snapshot '{snapshot}' of an archive")
    return found[-1]


def initialise() -> None:
    """Make the repository where there is none yet."""
    try:
        restic("cat", "config")
    except StorageError as error:
        if "config" not in str(error):
            raise
        restic("init")


def restic(*words: str, cwd: Path | None = None) -> str:
    """Run restic; returns what it printed. Raises UsageError where it is missing, StorageError with its words."""
    try:
        done = subprocess.run(
            _command(*words),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=credentials(),
        )
    except FileNotFoundError as error:
        raise UsageError(NOT_INSTALLED) from error
    if done.returncode != 0:
        raise StorageError(f"restic {words[0]}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


@contextmanager
def dumping(writing: int, what: list[str]) -> Iterator[None]:
    """Restic at work, and how it ended."""
    command = ["dump", *what]
    try:
        process = subprocess.Popen(
            _command(*command), stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, env=credentials()
        )
    except FileNotFoundError as error:
        raise UsageError(NOT_INSTALLED) from error
    finally:
        os.close(writing)
    try:
        yield
    finally:
        said = process.communicate()[1].decode(errors="replace").strip()[-600:]
    if process.returncode == -signal.SIGPIPE:
        raise UnreadError(UNREAD)
    if process.returncode != 0:
        raise UsageError(said) if "not found in snapshot" in said else StorageError(f"restic dump: {said}")


def _command(*words: str) -> list[str]:
    environment = credentials()
    if not environment.get(REPOSITORY):
        raise UsageError("RESTIC_REPOSITORY is not set: a directory, sftp:user@host:/path or s3:https://host/bucket")
    check(environment)
    given = shlex.split(environment.get("SPEEDTEST_RESTIC_OPTIONS", ""))
    return ["restic", *(word for option in given for word in ("-o", option)), *words]


def take_credentials() -> None:
    """Where root started this by hand, have what the unit would have from its file, before root's rights are gone."""
    os.environ.update(credentials())


def credentials() -> dict[str, str]:
    """The environment, and for root, below it, what the unit has from its file."""
    if os.geteuid() != 0 or REPOSITORY in os.environ or not kind_of(ENV_FILE):
        return dict(os.environ)
    return {**env_file.read(ENV_FILE), **os.environ}


def check(environment: Mapping[str, str]) -> None:
    """Raise StorageError where something else lies among the files: restic would wait for a pipe for ever.

    Of a repository elsewhere nothing is looked at. `environment`: restic's own variables.
    """
    for name in ("RESTIC_REPOSITORY", "RESTIC_CACHE_DIR"):
        place = Path(environment.get(name, "").removeprefix(LOCAL))
        if place.is_absolute():
            for path in strangers(place):
                raise StorageError(
                    f"{path}: there is {kind_of(path)} where restic has a file: look at it and remove it"
                )


def strangers(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """What is neither a file nor a directory, nor a link to a file, nor one of root's to a directory."""
    with suppress(OSError), os.scandir(folder) as entries:  # what it cannot read restic says
        for entry in entries:
            if entry.is_dir() and not (entry.is_symlink() and entry.stat(follow_symlinks=False).st_uid):
                if depth:
                    yield from strangers(Path(entry.path), depth - 1)
            elif not entry.is_file() and os.path.lexists(entry.path):
                yield Path(entry.path)
