"""doctor: what a measurement and a delivery need, checked one by one; each finding has a code."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from speedtest_logger import engines
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import server_host
from speedtest_logger.errors import DeliveryError, EngineError
from speedtest_logger.node import chain, network
from speedtest_logger.node.archive_hosts import send
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.probes.catalogue import PROBES

EARLIEST_SANE_CLOCK = 1_750_000_000
CONNECT_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """One check: its code, whether it passed, what was seen and, if it failed, what to do."""

    code: str
    passed: bool
    text: str


def examine(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """All checks, in the order in which a measurement needs them."""
    checks: list[Callable[[], Finding]] = [
        lambda: interface(settings),
        lambda: address(settings),
        route,
        gateway,
        lambda: dns(settings),
        lambda: servers(settings),
        clock,
        lambda: disk(settings),
        lambda: key(settings),
        lambda: archive(settings),
    ]
    found = [check() for check in checks]
    found += [engine(settings, name, environment) for name in settings.engines]
    return found + [probe(settings, name, environment) for name in settings.probes]


def interface(settings: Settings) -> Finding:
    """The interface that is measured is there and its cable is in."""
    name = settings.source_interface or network.default_interface()
    if name is None:
        return Finding("INTERFACE_DOWN", False, "no interface has a default route: is the cable in?")
    if not network.has_carrier(name):
        return Finding("INTERFACE_DOWN", False, f"{name} has no carrier: check its cable and `ip link show {name}`")
    return Finding("INTERFACE", True, f"{name} is up")


def address(settings: Settings) -> Finding:
    """There is an address to measure from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            if settings.source_address:
                probe.bind((settings.source_address, 0))
                return Finding("ADDRESS", True, settings.source_address)
            probe.connect(("192.0.2.1", 9))  # a documentation address: connecting a datagram socket sends nothing
            return Finding("ADDRESS", True, str(probe.getsockname()[0]))
        except OSError as error:
            return Finding("NO_ADDRESS", False, f"no usable address: {error.strerror}; see `ip address`")


def route() -> Finding:
    """There is a default route."""
    name = network.default_interface()
    return (
        Finding("ROUTE", True, f"default route through {name}")
        if name
        else Finding("NO_DEFAULT_ROUTE", False, "no default route: check DHCP or `ip route`")
    )


def gateway() -> Finding:
    """The default gateway is known to the neighbour table, or answers."""
    found = subprocess.run(
        ["ip", "route", "show", "default"], capture_output=True, text=True, check=False
    ).stdout.split()
    if "via" not in found:
        return Finding(
            "GATEWAY_UNKNOWN", bool(found), "the default route names no gateway (normal on point-to-point links)"
        )
    via = found[found.index("via") + 1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((via, 9))
        probe.send(b"")
    for _ in range(20):
        state = subprocess.run(["ip", "neighbour", "show", via], capture_output=True, text=True, check=False).stdout
        if "lladdr" in state:
            return Finding("GATEWAY", True, f"{via} answers")
        time.sleep(0.1)
    return Finding("GATEWAY_UNREACHABLE", False, f"{via} does not answer: check the router")


def dns(settings: Settings) -> Finding:
    """The names that the settings need can be resolved."""
    wanted = [settings.archive_host] if settings.archive_host else []
    wanted += [server_host(server) for server in named_servers(settings) if not server.isdigit()]
    missing = [host for host in wanted if host and not network.resolves(host)]
    if missing:
        return Finding("DNS_FAILED", False, f"cannot resolve {', '.join(missing)}: check /etc/resolv.conf")
    return Finding("DNS", True, f"{len(wanted)} names resolved")


def named_servers(settings: Settings) -> list[str]:
    """The servers that the engines of the chain are told to use."""
    return [server for name in settings.engines for server in settings.engine[name].servers]


def servers(settings: Settings) -> Finding:
    """No server is this machine, unless that is allowed."""
    try:
        for server in named_servers(settings):
            chain.refuse_own(settings, server)
    except EngineError as error:
        return Finding("OWN_SERVER", False, str(error))
    return Finding(
        "SERVERS",
        True,
        f"{len(named_servers(settings))} named" + ("" if settings.own_server_allowed else ", none is this machine"),
    )


def clock() -> Finding:
    """The clock is plausible; synchronised where systemd knows."""
    if time.time() < EARLIEST_SANE_CLOCK:
        return Finding("CLOCK_WRONG", False, f"the clock says {time.strftime('%Y-%m-%d')}: set up time synchronisation")
    synchronised = os.path.exists("/run/systemd/timesync/synchronized")
    return Finding("CLOCK", True, "plausible" + (", synchronised" if synchronised else ""))


def disk(settings: Settings) -> Finding:
    """There is room, and the state directory can be written."""
    try:
        free = shutil.disk_usage(settings.state_dir).free / 1e6
    except OSError as error:
        return Finding("DISK_UNUSABLE", False, f"{settings.state_dir}: {error.strerror}")
    outbox = Spool(settings.state_dir).outbox  # what is above it is root's, where roles made it
    place = outbox if outbox.is_dir() else settings.state_dir
    if not os.access(place, os.W_OK):
        return Finding("DISK_UNUSABLE", False, f"{place} cannot be written: run this as the logger's account")
    if free < settings.disk_min_free_mb:
        return Finding("DISK_FULL", False, f"{free:.0f} MB free, {settings.disk_min_free_mb:g} wanted")
    return Finding("DISK", True, f"{free:.0f} MB free")


def key(settings: Settings) -> Finding:
    """What the node proves itself by, and what the archive does, is there and readable."""
    if not settings.archive_host:
        return Finding("KEY", True, "no archive host is set: records stay here")
    https = settings.transport == "https"
    own, others = (settings.token_file, settings.ca_file) if https else (settings.key_file, settings.known_hosts_file)
    for file in (own, others):
        if file and not os.access(file, os.R_OK):
            return Finding("KEY_MISSING", False, f"{file} is missing or unreadable: run site.yml, or run this as root")
    return Finding("KEY", True, str(own))


def archive(settings: Settings) -> Finding:
    """The archive answers a delivery of nothing."""
    if not settings.archive_host:
        return Finding("ARCHIVE", True, "none is set")
    patient = min(settings.push_timeout_seconds, 4 * CONNECT_SECONDS)
    try:
        send(replace(settings, push_timeout_seconds=patient), b"")
    except DeliveryError as error:
        return Finding("ARCHIVE_UNREACHABLE", False, f"{settings.archive_host}: {error}")
    return Finding("ARCHIVE", True, f"{settings.archive_host} answers")


def engine(settings: Settings, name: str, environment: Mapping[str, str]) -> Finding:
    """The engine's program is there and is what its name says."""
    if (licence := ENGINES[name].licence) and not getattr(settings, licence.setting):
        words = f"{name}: set speedtest_logger_{licence.setting} if you accept it"
        return Finding("LICENCE_NOT_ACCEPTED", False, words)
    try:
        path = {"PATH": environment.get("PATH", os.defpath)}
        version = chain.identify(Spool(settings.state_dir), engines.get(name), settings.engine[name], path)
    except (EngineError, OSError) as error:
        return Finding("ENGINE_MISSING", False, f"{name}: {error}")
    return Finding("ENGINE", True, f"{name} {version}")


def probe(settings: Settings, name: str, environment: Mapping[str, str]) -> Finding:
    """The probe's program is there, and a container may send echo requests where the probe does; a unit may anyway."""
    known = PROBES[name]
    if known.program and not shutil.which(known.program, path=environment.get("PATH", os.defpath)):
        words = f"{name}: there is no program {known.program}: install Debian's package {known.package}"
        return Finding("PROGRAM_MISSING", False, words)
    if known.needs_icmp and settings.runtime != "systemd":
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
        except OSError as error:
            words = f"{name}: {error.strerror}: this account's group is not within net.ipv4.ping_group_range"
            return Finding("ICMP_FORBIDDEN", False, words)
    return Finding("PROBE", True, f"{name} can run")
