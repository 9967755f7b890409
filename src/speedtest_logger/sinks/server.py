"""What a server of one's own is made to have: the database, who writes it, who only reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import LiteralString, NoReturn

from psycopg import sql

from speedtest_logger.errors import ConfigError, UsageError
from speedtest_logger.files import write_durably
from speedtest_logger.sinks.connection import Session
from speedtest_logger.sinks.settings import DATABASE, READER, WRITER

PROGRAMS = Path("/usr/lib/postgresql")
CREDENTIAL = "reader_password"
HANDED_OVER = ".reader_password"
FEWEST_CHARACTERS = 12


def serve(folder: Path, config: Path) -> NoReturn:
    """Become the newest server that is installed, with databases of its version, made where there are none.

    Those of another version go: what is in them comes from the archive, as at the first start. Raises UsageError.
    """
    programs = newest("postgres")
    data = folder / programs.parts[-2]
    for other in folder.iterdir():
        if other != data:
            shutil.rmtree(other)  # of another version, or half made
    if not data.is_dir():
        made = folder / "new"
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
        subprocess.run([programs / "initdb", *options, "--pgdata", made], check=True, stdout=subprocess.DEVNULL)
        made.rename(data)
    hand_over()
    program = str(programs / "postgres")
    os.execv(program, [program, "-D", str(data), "-c", f"config_file={config}"])  # noqa: S606  (it is the unit's own)


def newest(program: str) -> Path:
    """The directory of the programs of the newest version that has one. Raises UsageError."""
    found = _versions(program)
    if not found:
        raise UsageError(f"{program} is not installed: apt install postgresql")
    return found[max(found)]


def fitting(program: str, server: int) -> Path:
    """The same of a server's own version, else of the next later one: an earlier one refuses it. Raises UsageError."""
    found = {version: folder for version, folder in _versions(program).items() if version >= server}
    if not found:
        raise UsageError(f"{program} {server} or later is not installed: apt install postgresql-client")
    return found[min(found)]


def _versions(program: str) -> dict[float, Path]:
    return {float(file.parts[-3]): file.parent for file in PROGRAMS.glob(f"*/bin/{program}")}


def hand_over() -> None:
    """Leave the reader's password in memory for `prepare`: systemd 252 shows credentials to the main process only."""
    given, place = (os.environ.get(name) for name in ("CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"))
    if given and place and (Path(given) / CREDENTIAL).is_file():
        write_durably(Path(place) / HANDED_OVER, (Path(given) / CREDENTIAL).read_bytes(), mode=0o600)


def reader_password() -> str:
    """The reader's password, as it was handed over, once; empty where there is to be no reader. Raises ConfigError."""
    place = os.environ.get("RUNTIME_DIRECTORY")
    file = Path(place) / HANDED_OVER if place else None
    password = file.read_text(encoding="utf-8").strip() if file and file.is_file() else ""
    if file:
        file.unlink(missing_ok=True)
    if password and len(password) < FEWEST_CHARACTERS:
        raise ConfigError([f"the reader's password has fewer than {FEWEST_CHARACTERS} characters"])
    return password


def prepare(session: Session, password: str) -> None:
    """Have database and roles as they should be; the session is the server's owner's. It may be done again at any time.

    The writer owns the database, and makes the scratch database in which dumps are proved. The reader may log in
    where there is a password.
    """
    session.run("SET password_encryption = 'scram-sha-256'")
    _have_role(session, WRITER, "LOGIN CREATEDB PASSWORD NULL")
    _have_role(session, READER, "LOGIN" if password else "NOLOGIN PASSWORD NULL")
    if password:
        reader, secret = sql.Identifier(READER), sql.Literal(password)
        session.run(sql.SQL("ALTER ROLE {} PASSWORD {}").format(reader, secret))
    if not session.run("SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
        names = {"name": sql.Identifier(DATABASE), "owner": sql.Identifier(WRITER)}
        session.run(sql.SQL("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0").format(**names))
    session.run(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(DATABASE)))
    both = {"name": sql.Identifier(DATABASE), "reader": sql.Identifier(READER)}
    session.run(sql.SQL("GRANT CONNECT ON DATABASE {name} TO {reader}").format(**both))


def _have_role(session: Session, name: str, attributes: LiteralString) -> None:
    role = sql.Identifier(name)
    if not session.run("SELECT 1 FROM pg_roles WHERE rolname = %s", name):
        session.run(sql.SQL("CREATE ROLE {}").format(role))
    bounds = "NOSUPERUSER NOREPLICATION NOCREATEROLE " if name == WRITER else "NOSUPERUSER NOREPLICATION NOCREATEDB "
    session.run(sql.SQL("ALTER ROLE {} ").format(role) + sql.SQL(bounds) + sql.SQL(attributes))
