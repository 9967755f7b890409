"""A real PostgreSQL server for a test: of whichever version is installed, on a socket in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

ACCOUNT = "postgres"
OPTIONS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20", "-c", "shared_buffers=32MB")
TIMESCALE = ("-c", "shared_preload_libraries=timescaledb", "-c", "timescaledb.telemetry_level=off")


# another folder may have servers of other systems too, which are then tested as well
PROGRAMS = Path(os.environ.get("SPEEDTEST_POSTGRESQL_DIR") or "/usr/lib/postgresql")


def versions() -> dict[str, Path]:
    """The directories of the servers' programs, by their major versions."""
    return {folder.parent.name: folder for folder in sorted(PROGRAMS.glob("*/bin"))}


def forms() -> dict[str, tuple[Path, bool]]:
    """Each server's programs, and whether it loads TimescaleDB: those that have it are there twice."""
    found = {}
    for version, programs in versions().items():
        found[version] = (programs, False)
        if (programs.resolve().parents[3] / f"share/postgresql/{version}/extension/timescaledb.control").is_file():
            found[f"{version} with TimescaleDB"] = (programs, True)
    return found


class Server:
    """A server whose databases lie in a directory; anybody who can reach its socket is who they say they are."""

    def __init__(self, programs: Path, timescale: bool = False) -> None:
        self.programs, self.timescale = programs, timescale
        # where its account can get, and the disk is not needed
        self.folder = Path(tempfile.mkdtemp(prefix="speedtest-postgresql-", dir="/dev/shm"))
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def make(self) -> Server:
        """Make its databases and start it."""
        account = pwd.getpwnam(ACCOUNT)
        self.folder.chmod(0o755)
        os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-D", str(self.data))
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.data), "-k", str(self.folder), *OPTIONS]
        command += TIMESCALE if self.timescale else ()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=ACCOUNT, group=ACCOUNT, cwd="/")
        for _ in range(2_400):
            if self._answers():
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """Stop it at once; its databases stay."""
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)
            self.process = None

    def database(self, name: str) -> str:
        """Make an empty database, in place of one of its name; returns its conninfo."""
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
        return self.conninfo(name)

    def conninfo(self, name: str) -> str:
        """How a database is reached."""
        return f"host={self.folder} dbname={name} user={ACCOUNT}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
        except psycopg.Error:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, user=ACCOUNT, group=ACCOUNT, cwd="/", check=True, capture_output=True)

    def remove(self) -> None:
        """Stop it, and remove what it has."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
