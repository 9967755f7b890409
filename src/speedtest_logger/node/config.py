"""Settings from the environment, typed; every problem is reported at once.

The environment is /etc/speedtest-telemetry/logger.env: systemd reads it for the units, this module for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from speedtest_logger import __version__, domains, record
from speedtest_logger.domains import Choice, Domain, Interval, ListOf, Number, Whole, Window
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.errors import ConfigError
from speedtest_logger.probes.catalogue import PROBES

ENV_FILE = Path("/etc/speedtest-telemetry/logger.env")
PREFIX = "SPEEDTEST_"
RELEASE = PREFIX + "RELEASE"  # the release that an environment was written for
EACH = ("engine", "probe")  # what holds the settings of each engine and of each probe
SSH_PORT = 22
MOST_TARGETS = 10  # of one probe: all are asked at once


def _option(domain: Domain, default: Any, text: str) -> Any:
    """A setting: which values it may have, what it is when unset (... = it must be set), what it does.

    This row is all: logger.env, the role's variable with its default, check and documentation come from it.
    """
    return field(default=default, metadata={"domain": domain, "text": text})


@dataclass
class Settings:
    """All settings. The variable of `node` is SPEEDTEST_NODE, and so on.

    `engine` and `probe` hold what is set for each engine and each probe.
    """

    node: str = _option(
        domains.IDENTIFIER, ..., "Name of the node in the archive: lower-case letters, digits, inner hyphens."
    )
    location: str = _option(
        domains.IDENTIFIER,
        record.UNKNOWN_LOCATION,
        "The place whose line is measured; a UUID or a short word. Reports group by it.",
    )
    uplink: str | None = _option(
        domains.IDENTIFIER,
        None,
        "Name of the line that this node shares with others. Nodes on one uplink never measure at the same time.",
    )
    runtime: str = _option(
        Choice(*record.NODE_RUNTIMES),
        "systemd",
        "How the logger runs: systemd (units and timers), compose (a container; the host needs the role docker_host) "
        "or kubernetes (a CronJob, which no run opens a connection to).",
    )
    interval_seconds: int = _option(
        Interval(),
        3600,
        "Time between measurements; must divide a day. Public services limit tests: an hour or more is polite.",
    )
    offset_seconds: int = _option(
        Whole(0, 86_399), 0, "Start of the slots after the interval's start (seconds); the fleet's plan gives it."
    )
    start_tolerance_seconds: int = _option(
        Whole(0, 3600),
        30,
        "A slot that would start later than this is skipped (reason late_start), so that uplinks stay free of "
        "overlaps.",
    )
    measure_timeout_seconds: int = _option(
        Whole(1, 3600), 180, "A measurement, all tries included, is ended after this many seconds."
    )
    duration_seconds: int = _option(
        Whole(1, 300), 10, "Length of the test in each direction (seconds), for engines that let it be set."
    )
    plan_download_mbps: float = _option(
        Number(0, 1_000_000), 0.0, "What the contract promises (Mbit/s), for status and reports; 0 = unknown."
    )
    plan_upload_mbps: float = _option(
        Number(0, 1_000_000), 0.0, "What the contract promises for uploads (Mbit/s); 0 = unknown."
    )
    engines: tuple[str, ...] = _option(
        ListOf(Choice(*ENGINES), least=1, unique=True),
        ("librespeed",),
        f"Engines to try, in order: {', '.join(ENGINES)}. The first that answers wins; the record says which.",
    )
    source_interface: str | None = _option(domains.INTERFACE, None, "Measure through this interface.")
    source_address: str | None = _option(domains.ADDRESS, None, "Measure from this address.")
    ip_family: str = _option(
        Choice("auto", "4", "6"), "auto", "Measure with IPv4 or IPv6 only; auto: as the engine likes."
    )
    own_server_allowed: bool = _option(
        domains.BOOLEAN,
        False,
        "true: a server on the node itself may be measured, as to try a fleet of one machine; it says how fast the "
        "machine is, not its line. false: such a slot fails and says so.",
    )
    ookla_licence_accepted: bool = _option(
        domains.BOOLEAN,
        False,
        "true: you accept Ookla's licence and privacy terms for this node (personal, non-commercial use).",
    )
    timezone: str = _option(
        domains.TIMEZONE,
        "UTC",
        "Time zone of the line: of SPEEDTEST_QUIET_HOURS, and of the clocks in its reports.",
    )
    quiet_hours: tuple[tuple[int, int], ...] = _option(
        ListOf(Window(), most=100),
        (),
        'Windows without measurements, such as "22:00-06:00", in SPEEDTEST_TIMEZONE. Each skipped slot is a record.',
    )
    paused: bool = _option(domains.BOOLEAN, False, "true: every slot is skipped, with a record (reason paused).")
    busy_mbps: float = _option(
        Number(0, 1_000_000), 0.0, "Skip while the line already carries this much (Mbit/s); 0 = never."
    )
    busy_window_seconds: int = _option(
        Whole(1, 60), 3, "How long the line is watched for SPEEDTEST_BUSY_MBPS (seconds)."
    )
    data_budget_gb: float = _option(
        Number(0, 1_000_000),
        0.0,
        "Most data that a calendar month's measurements may cost (10^9 bytes, UTC); 0 = no limit.",
    )
    external_ip: str = _option(
        Choice("full", "shortened", "none"), "full", "How much of the public address is kept: full, shortened, none."
    )
    isp_enabled: bool = _option(domains.BOOLEAN, True, "false: the provider's name is not kept.")
    state_dir: Path = _option(
        domains.PATH, Path("/var/lib/speedtest-telemetry"), "Outbox, history, raw output, refused records."
    )
    log_file: Path = _option(
        domains.PATH, Path("/var/log/speedtest-telemetry/speedtest-diag.log"), "The diagnostics log."
    )
    metrics_dir: Path | None = _option(
        domains.PATH,
        None,
        "After each run speedtest.prom is written here, for Prometheus's node-exporter. Empty: none is.",
    )
    outbox_max_mb: float = _option(
        Number(0.01, 1_000_000),
        128.0,
        "Most disk that undelivered records may take (10^6 bytes); how many had to go then is told in one record. "
        "128 MB hold some 31,000 records: 108 days without an archive at 5 minutes, 3 1/2 years at 1 hour.",
    )
    disk_min_free_mb: float = _option(
        Number(0, 1_000_000_000),
        50.0,
        "With less free disk than this (10^6 bytes) slots are skipped, with a record (reason disk_full).",
    )
    history_days: int = _option(Whole(1, 36_500), 400, "How long the local CSV history is kept (days).")
    raw_days: int = _option(Whole(0, 36_500), 30, "How long raw output is kept (days).")
    probes: tuple[str, ...] = _option(
        ListOf(Choice(*PROBES), unique=True),
        (),
        f"Probes beside the tests: {', '.join(PROBES)}; empty: none. They wait while the line is measured, rest while "
        "SPEEDTEST_PAUSED is true, and go on in SPEEDTEST_QUIET_HOURS, for they cost next to nothing.",
    )
    probe_interval_seconds: int = _option(
        Interval(), 60, "Time between two runs of SPEEDTEST_PROBES; must divide a day."
    )
    runtime_dir: Path = _option(
        domains.PATH,
        Path("/run/speedtest-telemetry"),
        "Where answers of probes wait in memory for five minutes before they are written; where it is missing they "
        "wait in SPEEDTEST_STATE_DIR.",
    )
    archive_host: str | None = _option(
        domains.HOST, None, "Where nodes reach the archive host. Empty: records stay on the node."
    )
    archive_port: int = _option(
        domains.PORT,
        SSH_PORT,
        "Its port there: that of ssh, or with SPEEDTEST_TRANSPORT https that of the front, often 443.",
    )
    archive_others: tuple[str, ...] = _option(
        ListOf(domains.HOST_PORT, most=100, unique=True),
        (),
        "Other hosts that share the archive, HOST:PORT each: a node prefers one of all, and delivers to the next where "
        "that gives no receipt.",
    )
    transport: str = _option(
        Choice("ssh", "https"),
        "ssh",
        "How records get there: ssh, by this node's key, or https, by its token, to the front of the archive host.",
    )
    archive_user: str = _option(domains.ACCOUNT, "speedtest-archive", "The archive host's account that receives.")
    archive_raw: bool = _option(
        domains.BOOLEAN,
        False,
        "true: raw output is delivered too, with the public address and the provider that it tells.",
    )
    log_delivery_enabled: bool = _option(
        domains.BOOLEAN,
        True,
        "true: new lines of the diagnostics log are delivered too, after the records. false: they stay on the node.",
    )
    push_interval_seconds: int = _option(
        Interval(),
        300,
        "What a delivery after each measurement left behind is tried again this often; must divide a day.",
    )
    key_file: Path = _option(domains.PATH, Path("/etc/speedtest-telemetry/id_ed25519"), "This node's private key.")
    known_hosts_file: Path = _option(
        domains.PATH, Path("/etc/speedtest-telemetry/known_hosts"), "The archive host's key."
    )
    token_file: Path = _option(
        domains.PATH, Path("/etc/speedtest-telemetry/token"), "This node's token, for SPEEDTEST_TRANSPORT https."
    )
    ca_file: Path | None = _option(
        domains.PATH,
        None,
        "With SPEEDTEST_TRANSPORT https: the only certificates by which the front is trusted (PEM): those of an "
        "authority of your own, or its own. Empty: the system's authorities.",
    )
    push_timeout_seconds: int = _option(
        Whole(1, 3600), 60, "A delivery without an answer is given up after this (seconds)."
    )
    push_batch_records: int = _option(Whole(1, 10_000), 2000, "Most records in one connection.")
    engine: dict[str, EngineSettings] = field(default_factory=dict)
    probe: dict[str, ProbeSettings] = field(default_factory=dict)


@dataclass
class EngineSettings:
    """What can be set for each engine: SPEEDTEST_IPERF3_SERVERS, and so on."""

    program: str = _option(domains.PROGRAM, None, "Path or name of the program.")
    servers: tuple[str, ...] = _option(ListOf(domains.WORD), (), "Servers to use, in this order.")
    blocked_servers: tuple[str, ...] = _option(ListOf(domains.WORD), (), "Servers never to use.")
    extra_args: tuple[str, ...] = _option(ListOf(domains.WORD), (), "Further arguments for the program.")


@dataclass
class ProbeSettings:
    """What can be set for each probe: SPEEDTEST_PING_TARGETS, and so on."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contradiction:
    """Settings that are right one by one and wrong together: the variable to change, its value, what is wrong."""

    variable: str
    value: object
    words: str


def engine_domain(engine: str, option: str) -> Domain:
    """Which values an engine's option may have: each engine names its servers in its own way."""
    if option in ("servers", "blocked_servers"):
        return ListOf(ENGINES[engine].servers)
    domain: Domain = EngineSettings.__dataclass_fields__[option].metadata["domain"]
    return domain


def engine_text(engine: str, option: str) -> str:
    """What an engine's option does."""
    text: str = EngineSettings.__dataclass_fields__[option].metadata["text"]
    return ENGINES[engine].servers_text if option == "servers" else text


def probe_domain(probe: str) -> Domain | None:
    """Which targets a probe may have; None where it has none of its own."""
    targets = PROBES[probe].targets
    return ListOf(targets, most=MOST_TARGETS, unique=True) if targets else None


def load(environment: Mapping[str, str]) -> Settings:
    """Settings from variables. Raises ConfigError naming every problem: variable, value seen, what is expected."""
    settings, problems = read(environment)
    problems = problems or [f"{c.variable}={c.value}: {c.words}" for c in contradictions(settings)]
    if problems:
        raise ConfigError(problems)
    return settings


def read(environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Settings from variables, each by itself, and what is wrong with them."""
    reader = _Reader(environment)
    plain = {
        o.name: reader.read(o.name, o.metadata["domain"], o.default, o.metadata["text"])
        for o in fields(Settings)
        if o.name not in EACH
    }
    engine = {}
    for name, program in ENGINES.items():
        options = {}
        for o in fields(EngineSettings):
            default = program.name if o.name == "program" else o.default
            options[o.name] = reader.read(f"{name}_{o.name}", engine_domain(name, o.name), default, o.metadata["text"])
        engine[name] = EngineSettings(**options)
    probe = {}
    for name, known in PROBES.items():
        domain = probe_domain(name)
        read = reader.read(f"{name}_targets", domain, known.default, known.targets_text) if domain else ()
        probe[name] = ProbeSettings(read)
    if environment.get(RELEASE, __version__) == __version__:  # a release that was put back may not know newer settings
        reader.problems += [f"{name}: there is no such setting" for name in sorted(reader.unread)]
    return Settings(**plain, engine=engine, probe=probe), reader.problems


class _Reader:
    """Reads variables one by one and remembers what is wrong with them and which are left."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems: list[str] = []
        self.unread = {name for name in environment if name.startswith(PREFIX)} - {PREFIX + "ENV_FILE", RELEASE}

    def read(self, name: str, domain: Domain, default: Any, text: str) -> Any:
        """The value of a setting, or its default."""
        variable = PREFIX + name.upper()
        self.unread.discard(variable)
        seen = self.environment.get(variable, "")
        if seen == "":
            if default is ...:
                self.problems.append(f"{variable} is not set: {text}")
            return default
        try:
            return domain.parse(seen)
        except ValueError as error:
            self.problems.append(f"{variable}={seen!r:.80}: {error}")
            return default


def contradictions(settings: Settings) -> list[Contradiction]:
    """What is wrong with settings taken together."""
    found = [*_times(settings), *_probes(settings)]
    if settings.transport == "https" and settings.archive_host and settings.archive_port == SSH_PORT:
        words = "SPEEDTEST_TRANSPORT is https, and that is ssh's port: name the front's, often 443"
        found.append(Contradiction("SPEEDTEST_ARCHIVE_PORT", settings.archive_port, words))
    for name in settings.engines:
        if (own := ENGINES[name].own_server) and not settings.engine[name].servers:
            words = f"{name} has no public list, name {own} of yours"
            found.append(Contradiction(f"{PREFIX}{name.upper()}_SERVERS", "", words))
    if settings.archive_raw and (settings.external_ip != "full" or not settings.isp_enabled):
        words = (
            "raw output tells the public address and the provider, which SPEEDTEST_EXTERNAL_IP and "
            "SPEEDTEST_ISP_ENABLED keep from the archive: choose one of the two"
        )
        found.append(Contradiction("SPEEDTEST_ARCHIVE_RAW", "true", words))
    return found


def _probes(settings: Settings) -> list[Contradiction]:
    """Each probe has something to ask."""
    found = []
    for name in settings.probes:
        if (own := PROBES[name].own_target) and not settings.probe[name].targets:
            words = f"SPEEDTEST_PROBES names {name}, which has no target by itself: name {own}"
            found.append(Contradiction(f"{PREFIX}{name.upper()}_TARGETS", "", words))
    if "traceroute" in settings.probes and "ping" not in settings.probes:
        words = "traceroute shows the way to a target of ping that does not answer: name ping too"
        found.append(Contradiction("SPEEDTEST_PROBES", " ".join(settings.probes), words))
    return found


def _times(settings: Settings) -> list[Contradiction]:
    """A slot has room for its measurement, and a measurement for its test."""
    found = []
    interval, timeout = settings.interval_seconds, settings.measure_timeout_seconds
    if settings.offset_seconds >= interval:
        found.append(
            Contradiction(
                "SPEEDTEST_OFFSET_SECONDS",
                settings.offset_seconds,
                f"must be below SPEEDTEST_INTERVAL_SECONDS ({interval})",
            )
        )
    watched = settings.busy_window_seconds if settings.busy_mbps else 0
    if timeout + settings.start_tolerance_seconds + watched >= interval:
        also = f", and SPEEDTEST_BUSY_WINDOW_SECONDS ({watched}) for SPEEDTEST_BUSY_MBPS," if watched else ""
        words = (
            f"with SPEEDTEST_START_TOLERANCE_SECONDS ({settings.start_tolerance_seconds}){also} it must be below "
            f"SPEEDTEST_INTERVAL_SECONDS ({interval})"
        )
        found.append(Contradiction("SPEEDTEST_MEASURE_TIMEOUT_SECONDS", timeout, words))
    if settings.duration_seconds >= timeout:
        words = f"must be below SPEEDTEST_MEASURE_TIMEOUT_SECONDS ({timeout}), which takes in both directions"
        found.append(Contradiction("SPEEDTEST_DURATION_SECONDS", settings.duration_seconds, words))
    return found
