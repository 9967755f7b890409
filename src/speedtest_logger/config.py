"""Settings from the environment, typed; every problem is reported at once.

The environment is /etc/speedtest-telemetry/logger.env: systemd reads it for the units, this module for people.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from speedtest_logger import __version__, record, schedule
from speedtest_logger.errors import ConfigError

ENV_FILE = Path("/etc/speedtest-telemetry/logger.env")
PREFIX = "SPEEDTEST_"
RELEASE = PREFIX + "RELEASE"  # the release that an environment was written for
ENGINES = ("librespeed", "iperf3", "speedtest_cli", "ookla")
PROGRAMS = {"librespeed": "librespeed-cli", "iperf3": "iperf3", "speedtest_cli": "speedtest-cli", "ookla": "speedtest"}
QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _identifier(text: str) -> str:
    if not record.is_id(text):
        raise ValueError("letters, digits and inner hyphens are wanted, in lower case, 63 at most, not digits alone")
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false is wanted")
    return text.lower() == "true"


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError("a whole number from 0 on is wanted")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("a number from 0 on is wanted")
    return float(text)


def _interval(text: str) -> int:
    seconds = _whole(text)
    schedule.check_interval(seconds)
    return seconds


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)} is wanted")
        return text

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _engines(text: str) -> tuple[str, ...]:
    names = _words(text)
    for name in names:
        _one_of(*ENGINES)(name)
    if not names:
        raise ValueError(f"at least one of {', '.join(ENGINES)} is wanted")
    return names


def _quiet_hours(text: str) -> tuple[tuple[int, int], ...]:
    """Windows as (start, end) in minutes of the local day; an end before its start is on the next day."""
    windows = []
    for window in _words(text):
        match = QUIET.fullmatch(window)
        if not match:
            raise ValueError(f"'{window}' is no window: write it like 22:00-06:00")
        hour, minute, end_hour, end_minute = map(int, match.groups())
        windows.append((hour * 60 + minute, end_hour * 60 + end_minute))
    return tuple(windows)


def _timezone(text: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ValueError("a time zone such as Europe/Berlin is wanted") from error
    return text


def _option(parse: Callable[[str], Any], default: Any, text: str) -> Any:
    """A setting: how its text is read, what it is when unset (... = it must be set), what it does."""
    return field(default=default, metadata={"parse": parse, "text": text})


@dataclass
class Settings:
    """All settings. The variable of `node` is SPEEDTEST_NODE, and so on. `engine` holds what is set per engine."""

    node: str = _option(_identifier, ..., "name of this node in the archive")
    location: str = _option(_identifier, record.UNKNOWN_LOCATION, "id of the place whose line is measured")
    uplink: str | None = _option(_identifier, None, "id of the line that several nodes share")
    runtime: str = _option(_one_of(*record.NODE_RUNTIMES), "systemd", "how the logger runs")
    interval_seconds: int = _option(_interval, 3600, "time between slots; divides a day")
    offset_seconds: int = _option(_whole, 0, "start of the slots after the interval's start")
    start_tolerance_seconds: int = _option(_whole, 30, "a slot that starts later than this is skipped: late_start")
    measure_timeout_seconds: int = _option(_whole, 180, "a measurement, all tries included, is ended after this")
    duration_seconds: int = _option(_whole, 10, "length of the test in each direction")
    engines: tuple[str, ...] = _option(_engines, ("librespeed",), "programs to try, in order")
    source_interface: str | None = _option(str, None, "interface to measure through")
    source_address: str | None = _option(str, None, "address to measure from")
    ip_family: str = _option(_one_of("auto", "4", "6"), "auto", "internet protocol to measure with")
    ookla_licence_accepted: bool = _option(_boolean, False, "the owner accepts Ookla's licence and privacy terms")
    timezone: str = _option(_timezone, "UTC", "time zone of the quiet hours")
    quiet_hours: tuple[tuple[int, int], ...] = _option(_quiet_hours, (), "windows without tests, such as 22:00-06:00")
    paused: bool = _option(_boolean, False, "true: every slot is skipped: paused")
    busy_mbps: float = _option(_number, 0.0, "skip when the line already carries this much (Mbit/s); 0 = never")
    busy_window_seconds: int = _option(_whole, 3, "how long to watch the line for busy_mbps")
    data_budget_gb: float = _option(
        _number, 0.0, "most data a calendar month (UTC) may cost (10^9 bytes); 0 = no limit"
    )
    external_ip: str = _option(_one_of("full", "shortened", "none"), "full", "how much of the public address is kept")
    isp_enabled: bool = _option(_boolean, True, "false: the provider's name is not kept")
    state_dir: Path = _option(Path, Path("/var/lib/speedtest-telemetry"), "outbox, history, raw output")
    log_file: Path = _option(Path, Path("/var/log/speedtest-telemetry/speedtest-diag.log"), "diagnostics log")
    outbox_max_mb: float = _option(_number, 128.0, "most disk (10^6 bytes) that undelivered records may take")
    disk_min_free_mb: float = _option(_number, 50.0, "less free disk (10^6 bytes) than this skips: disk_full")
    history_days: int = _option(_whole, 400, "how long the local CSV history is kept")
    raw_days: int = _option(_whole, 30, "how long the engines' own words are kept")
    archive_host: str | None = _option(str, None, "the archive host; unset: records stay on the node")
    archive_port: int = _option(_whole, 22, "its ssh port")
    archive_user: str = _option(str, "speedtest-archive", "its account that receives")
    archive_raw: bool = _option(_boolean, False, "true: the engines' own words are delivered too")
    key_file: Path = _option(Path, Path("/etc/speedtest-telemetry/id_ed25519"), "this node's private key")
    known_hosts_file: Path = _option(Path, Path("/etc/speedtest-telemetry/known_hosts"), "the archive host's key")
    push_interval_seconds: int = _option(_interval, 300, "time between deliveries of what is left (runtime compose)")
    push_timeout_seconds: int = _option(_whole, 60, "a delivery without an answer is given up after this")
    push_batch_records: int = _option(_whole, 2000, "most records in one connection")
    engine: dict[str, EngineSettings] = field(default_factory=dict)


@dataclass
class EngineSettings:
    """What can be set for each engine: SPEEDTEST_IPERF3_SERVERS, and so on."""

    program: str = _option(str, None, "path or name of the program")
    servers: tuple[str, ...] = _option(_words, (), "servers to use, in order; empty: the engine chooses")
    blocked_servers: tuple[str, ...] = _option(_words, (), "servers never to use")
    extra_args: tuple[str, ...] = _option(_words, (), "further arguments for the program")


def read_env_file(file: Path) -> dict[str, str]:
    """Variables of an environment file as systemd reads it: NAME=value or NAME="value" (systemd.exec(5))."""
    values = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            quoted = len(value) > 1 and value[0] == value[-1] == '"'
            values[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value
    return values


def load(environment: Mapping[str, str]) -> Settings:
    """Settings from variables. Raises ConfigError naming every problem: variable, value seen, what is wanted."""
    problems: list[str] = []
    unread = {name for name in environment if name.startswith(PREFIX)} - {PREFIX + "ENV_FILE", RELEASE}
    plain = [option for option in fields(Settings) if option.name != "engine"]
    values = {
        o.name: _read(environment, PREFIX + o.name.upper(), o.metadata, o.default, unread, problems) for o in plain
    }
    engine = {}
    for name in ENGINES:
        options = {
            o.name: _read(
                environment,
                f"{PREFIX}{name.upper()}_{o.name.upper()}",
                o.metadata,
                PROGRAMS[name] if o.name == "program" else o.default,
                unread,
                problems,
            )
            for o in fields(EngineSettings)
        }
        engine[name] = EngineSettings(**options)
    if environment.get(RELEASE, __version__) == __version__:  # a release that was put back may not know newer settings
        problems += [f"{name}: there is no such setting" for name in sorted(unread)]
    if not problems:
        settings = Settings(**values, engine=engine)
        problems = _contradictions(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def _read(
    environment: Mapping[str, str],
    variable: str,
    metadata: Mapping[str, Any],
    default: Any,
    unread: set[str],
    problems: list[str],
) -> Any:
    unread.discard(variable)
    text = environment.get(variable, "")
    if text == "":
        if default is ...:
            problems.append(f"{variable} is not set: {metadata['text']}")
        return default
    try:
        return metadata["parse"](text)
    except ValueError as error:
        problems.append(f"{variable}={text!r:.80}: {error}")
        return default


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if settings.offset_seconds >= settings.interval_seconds:
        problems.append(
            f"SPEEDTEST_OFFSET_SECONDS={settings.offset_seconds}: must be below the interval "
            f"({settings.interval_seconds})"
        )
    needed = settings.measure_timeout_seconds + settings.start_tolerance_seconds
    if needed >= settings.interval_seconds:
        problems.append(
            f"SPEEDTEST_MEASURE_TIMEOUT_SECONDS={settings.measure_timeout_seconds}: with the start tolerance "
            f"({settings.start_tolerance_seconds}) it must be below the interval ({settings.interval_seconds})"
        )
    if "iperf3" in settings.engines and not settings.engine["iperf3"].servers:
        problems.append("SPEEDTEST_IPERF3_SERVERS is not set: iperf3 has no public list, name your own host:port")
    if settings.archive_raw and (settings.external_ip != "full" or not settings.isp_enabled):
        problems.append(
            "SPEEDTEST_ARCHIVE_RAW=true: an engine's own words tell the public address and the provider, which "
            "SPEEDTEST_EXTERNAL_IP and SPEEDTEST_ISP_ENABLED keep from the archive: have the one or the other"
        )
    return problems
