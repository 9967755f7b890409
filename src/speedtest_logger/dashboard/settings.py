"""Settings of the dashboard from the environment, typed; every problem is reported at once. Standard library only.

The environment is /etc/speedtest-dashboard/dashboard.env: systemd and Docker read it for the program.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from speedtest_logger import domains, files
from speedtest_logger.archive.format.layout import DEFAULT_ROOT
from speedtest_logger.domains import Choice, Domain, Interval, Text, Whole
from speedtest_logger.errors import ConfigError

ENV_FILE = Path("/etc/speedtest-dashboard/dashboard.env")
PREFIX = "SPEEDTEST_DASHBOARD_"
LEVELS = ("debug", "info", "warning", "error")
NO_DATABASE = "the dashboard has no database of its own: it reads the archive, SPEEDTEST_ARCHIVE_DIR"
# What other dashboards are set up with, and why it has no effect here: whoever sets it expects one.
NOT_OURS = {
    **dict.fromkeys(("DATABASE_URL", "DB_HOST", "DB_PASS"), NO_DATABASE),
    "REDIS_URL": "nothing waits in a queue or a cache of another program: one process does all",
    "ELASTIC_URL": "it sends its log nowhere: its standard output has it, one JSON object a line",
    "API_KEY_SECRET": "keys are random, and only their hashes are kept: `speedtest-dashboard new-key` makes one",
    "JWT_SECRET_KEY": "sessions are random and kept by the server, so that they can be ended: nothing is signed",
    "ENCRYPTION_KEY": "nothing is kept that would have to be decrypted: of passwords and keys there are only hashes",
}


class Listed(Domain):
    """Items with commas between them. The value read: a tuple, each as its domain reads it."""

    def __init__(self, item: Domain) -> None:
        super().__init__(f"items with commas between them, each {item.words()}")
        self.item = item

    def parse(self, text: str) -> tuple[Any, ...]:
        """Each item."""
        return tuple(self.item.parse(item.strip()) for item in text.split(",") if item.strip())


def _option(variable: str, domain: Domain, default: Any, text: str) -> Any:
    """A setting: its variable, which values it may have, what it is when unset, what it does."""
    return field(default=default, metadata={"variable": variable, "domain": domain, "text": text})


@dataclass(frozen=True)
class Settings:
    """All settings."""

    archive_dir: Path = _option("SPEEDTEST_ARCHIVE_DIR", domains.PATH, DEFAULT_ROOT, "The archive that is shown.")
    state_dir: Path = _option(
        PREFIX + "DIR",
        domains.PATH,
        Path("/var/lib/speedtest-dashboard"),
        "What is the dashboard's own: rollups, notes, sessions. Started by hand where that cannot be written, it takes "
        "a folder of the account's instead, and says which.",
    )
    bind: str = _option(
        PREFIX + "BIND",
        domains.HOST,
        "127.0.0.1",
        "The address to listen on. Anything but loopback needs users: SPEEDTEST_DASHBOARD_USERS_FILE.",
    )
    port: int = _option(PREFIX + "PORT", Whole(0, 65_535), 8000, "The port to listen on; 0: any that is free.")
    time_zone: str = _option(PREFIX + "TIME_ZONE", domains.TIMEZONE, "UTC", "Time zone of the days in pages and API.")
    title: str = _option(
        PREFIX + "TITLE",
        Text("text of 80 characters at most", ".{1,80}"),
        "Speed tests",
        "What pages are headed with.",
    )
    users_file: Path | None = _option(
        PREFIX + "USERS_FILE",
        domains.PATH,
        None,
        'JSON: [{"name": NAME, "password": what `speedtest-dashboard hash-password` printed}]. With users, whoever '
        "wants to see anything has to log in, or to have a key; without, everybody may who can reach the address.",
    )
    keys_file: Path | None = _option(
        PREFIX + "KEYS_FILE",
        domains.PATH,
        None,
        "JSON: a list of what `speedtest-dashboard new-key` printed: keys for programs that use the API.",
    )
    shares_file: Path | None = _option(
        PREFIX + "SHARES_FILE",
        domains.PATH,
        None,
        "JSON: a list of what `speedtest-dashboard new-share` printed: links to one location's page, for people "
        "without a password.",
    )
    hosts: tuple[str, ...] = _option(
        PREFIX + "HOSTS",
        Listed(domains.HOST),
        (),
        "Names under which the dashboard is reached, with commas between them: others are refused. Empty: any with "
        "users; without users only loopback's, so that no web page can have a browser read it under another name.",
    )
    front: str = _option(
        PREFIX + "FRONT",
        domains.HOST,
        "",
        "The name under which a web server with TLS on this machine, the front, is reached, such as speed.example.org. "
        "Where it is set, what comes over loopback is believed about whom it is asked for (X-Forwarded-For, "
        "X-Forwarded-Proto), no other names are answered but those of SPEEDTEST_DASHBOARD_HOSTS, and users are needed.",
    )
    front_addresses: tuple[str, ...] = _option(
        PREFIX + "FRONT_ADDRESSES",
        Listed(domains.ADDRESSES),
        (),
        "Where the front is on another machine or in another container: its addresses, or networks that nobody else "
        "comes from, such as 10.42.0.0/16, with commas between them. They are believed instead of loopback.",
    )
    ingest_interval_seconds: int = _option(
        PREFIX + "INGEST_INTERVAL",
        Interval(),
        60,
        "How often the archive's ingest runs; /health says that it has stopped when three were left out.",
    )
    cors_origins: tuple[str, ...] = _option(
        "CORS_ORIGINS",
        Listed(domains.ORIGIN),
        (),
        "Origins of other web pages that may use the API with a key, with commas between them.",
    )
    log_level: str = _option("LOG_LEVEL", Choice(*LEVELS), "info", "The least that is logged.")
    environment: str = _option("ENV", domains.WORD, "prod", "dev: a machine on which this is developed.")
    debug: bool = _option(
        "DEBUG", domains.BOOLEAN, False, "true: log_level debug; only beside ENV=dev, for logs then tell much more."
    )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return domains.is_loopback(self.bind)


def load(environment: Mapping[str, str]) -> Settings:
    """Settings from variables. Raises ConfigError naming every problem: variable, value seen, what is expected."""
    values: dict[str, Any] = {}
    problems = []
    options = {option.metadata["variable"]: option for option in fields(Settings)}
    for variable, option in options.items():
        if seen := environment.get(variable, ""):
            try:
                values[option.name] = option.metadata["domain"].parse(seen)
            except ValueError as error:
                problems.append(f"{variable}={seen!r:.80}: {error}")
    for variable, why in NOT_OURS.items():
        if environment.get(variable):
            problems.append(f"{variable} means nothing here: {why}. Remove it.")
    known = {*options, PREFIX + "ENV_FILE"}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    problems += [f"{name}: there is no such setting" for name in unknown]
    settings = Settings(**values)
    problems = problems or contradictions(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with settings taken together."""
    found = []
    if not settings.on_loopback and settings.users_file is None:
        found.append(
            f"{PREFIX}BIND={settings.bind}: without users everybody who can reach this address could read everything: "
            f"name users in {PREFIX}USERS_FILE, or listen on 127.0.0.1"
        )
    if settings.front_addresses and not settings.front:
        found.append(f"{PREFIX}FRONT_ADDRESSES: a front has a name: set {PREFIX}FRONT, or leave its addresses out")
    if settings.front and settings.users_file is None:
        found.append(
            f"{PREFIX}FRONT={settings.front}: without users everybody who reaches this name could read everything: "
            f"name users in {PREFIX}USERS_FILE"
        )
    if settings.debug and settings.environment != "dev":
        found.append("DEBUG=true: only where ENV=dev is set, for logs then tell what nobody else should read")
    return found


def with_usable_state_dir(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The same settings; where their folder cannot be written, with one of this account's own."""
    if os.access(settings.state_dir, os.W_OK | os.X_OK):
        return settings
    name = hashlib.sha256(str(settings.archive_dir).encode()).hexdigest()[:8]  # what is kept is of one archive
    home = Path(environment.get("HOME") or "/nowhere")
    place = Path(environment.get("XDG_STATE_HOME") or home / ".local/state") / "speedtest-dashboard"
    there = next((folder for folder in place.parents if os.path.isdir(folder)), Path("/"))
    if not place.is_absolute() or there == Path("/") or not os.access(there, os.W_OK | os.X_OK):
        place = Path(tempfile.gettempdir(), f"speedtest-dashboard-{os.geteuid()}")
    return replace(settings, state_dir=place / name)


def make_state_dir(folder: Path) -> None:
    """Make a folder that only this account can read. Raises ConfigError where somebody else has put one there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (folder, folder.parent):
        shared = place == folder.parent and not place.name.startswith("speedtest-dashboard")
        if not shared and files.kind_of(place) != "a directory":
            raise ConfigError([f"{place} is {files.kind_of(place)}, not a directory: set {PREFIX}DIR to another one"])
        if not shared and os.lstat(place).st_uid not in (0, os.geteuid()):
            raise ConfigError([f"{place} belongs to somebody else: set {PREFIX}DIR to a folder of this account"])
