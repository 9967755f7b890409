"""What the sink is told: where the database is, how long to wait for it, how much of the archive it is to have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from speedtest_logger.errors import ConfigError

SOCKET_DIR = "/run/speedtest-database"
DATABASE, WRITER, READER = "speedtest", "speedtest_writer", "speedtest_reader"
LOCAL = f"postgresql:///{DATABASE}?host={SOCKET_DIR}&user={WRITER}"
CREDENTIAL = "database_url"
TIMESCALE = "SPEEDTEST_DATABASE_TIMESCALE"
CONNECT_SECONDS = 10
TIMEOUT_SECONDS = 120
LONGEST_TIMEOUT = 3600
MOST_MONTHS = 1200


@dataclass(frozen=True)
class Settings:
    """`conninfo` may hold a password. `timeout`: seconds for a statement; `keep_months` 0 is all months.

    `timescale`: the records are to be a hypertable of TimescaleDB, and else in partitions.
    """

    conninfo: str = field(repr=False)
    timeout: int = TIMEOUT_SECONDS
    keep_months: int = 0
    timescale: bool = False

    def of_database(self, name: str) -> Settings:
        """The same for another database of the server."""
        return replace(self, conninfo=make_conninfo(self.conninfo, dbname=name))

    def parameter(self, name: str) -> str:
        """A parameter of the connection, such as dbname; empty where it is not given."""
        return str(conninfo_to_dict(self.conninfo).get(name) or "")


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of an environment. Raises ConfigError naming all that is wrong, but no password."""
    wrong: list[str] = []
    timeout = _number(environment, "SPEEDTEST_DATABASE_TIMEOUT", TIMEOUT_SECONDS, (1, LONGEST_TIMEOUT), wrong)
    months = _number(environment, "SPEEDTEST_DATABASE_KEEP_MONTHS", 0, (0, MOST_MONTHS), wrong)
    timescale = environment.get(TIMESCALE) or "false"
    if timescale not in ("true", "false"):
        wrong.append(f"{TIMESCALE} is {timescale!r:.20}: true or false is expected")
    try:
        conninfo = make_conninfo(_url(environment), **_parts(environment))
    except ProgrammingError:  # its text may have the password
        conninfo = ""
        wrong.append("DATABASE_URL is no address of a database: write postgresql://USER:PASSWORD@HOST:5432/NAME")
    if wrong:
        raise ConfigError(wrong)
    return Settings(conninfo, timeout, months, timescale == "true")


def _url(environment: Mapping[str, str]) -> str:
    """The address: systemd hands one that has a password over as a credential."""
    if given := environment.get("DATABASE_URL"):
        return given
    folder = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / CREDENTIAL if folder else None
    return credential.read_text(encoding="utf-8").strip() if credential and credential.is_file() else LOCAL


def _parts(environment: Mapping[str, str]) -> dict[str, str]:
    names = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "DB_USER", "password": "DB_PASS"}
    return {name: value for name, variable in names.items() if (value := environment.get(variable))}


def _number(environment: Mapping[str, str], name: str, default: int, bounds: tuple[int, int], wrong: list[str]) -> int:
    text = environment.get(name) or str(default)
    if text.isascii() and text.isdecimal() and bounds[0] <= int(text) <= bounds[1]:
        return int(text)
    wrong.append(f"{name} is {text!r:.20}: a whole number from {bounds[0]} to {bounds[1]} is expected")
    return default
