"""What is known of an inventory, and the problems found in it: one line for each, however many hosts have it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speedtest_logger.inventory import roles
from speedtest_logger.inventory.inputs import Input

SHOWN_HOSTS = 3
SHOWN_VALUE = 80
CREDENTIALS = re.compile(r"(?<=//)[^/@\s'\"]+@")
NODES, ARCHIVE, TARGETS, STORE = "speedtest_nodes", "speedtest_archive", "speedtest_targets", "speedtest_store"
DASHBOARD, FRONT, MONITORING = "speedtest_dashboard", "speedtest_front", "speedtest_monitoring"
DATABASE, CLUSTER = "speedtest_database", "speedtest_cluster"
ROLES_OF_GROUP = {
    NODES: ("speedtest_logger", "docker_host", "managed_host"),
    ARCHIVE: ("speedtest_archive", "managed_host"),
    CLUSTER: ("speedtest_cluster", "managed_host"),
    DASHBOARD: ("speedtest_dashboard", "docker_host", "managed_host"),
    DATABASE: ("speedtest_database", "managed_host"),
    FRONT: ("speedtest_front", "managed_host"),
    MONITORING: ("speedtest_monitoring", "managed_host"),
    STORE: ("speedtest_store", "managed_host"),
    TARGETS: ("speedtest_target", "managed_host"),
}


def default_node_name(host: str) -> str:
    """A node's name where the inventory gives none: the host's, with - for what an id may not have in it."""
    return host.lower().replace(".", "-").replace("_", "-")


class Failure(str):
    """Why a variable cannot be read: it stands where its value would."""

    __slots__ = ()


@dataclass(frozen=True)
class Inventory:
    """Hosts with those of their variables that concern us, groups, and where all of that comes from."""

    hosts: Mapping[str, Mapping[str, object]]
    groups: Mapping[str, list[str]]
    sources: tuple[str, ...] = ()  # files, folders, or hosts with commas between
    folders: tuple[Path, ...] = ()  # where host_vars/ and group_vars/ may lie
    checkout: Path = Path()


class BadValueError(LookupError):
    """A relation asks for a variable whose own value is wrong: it cannot be judged."""


@dataclass
class View:
    """A host's variables as its roles see them: the defaults where nothing is set."""

    host: str
    values: Mapping[str, object]
    roles: tuple[str, ...]
    bad: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> object:
        """A variable's value. Raises BadValueError where it is wrong by itself."""
        if name in self.bad:
            raise BadValueError(name)
        if name in self.values:
            return self.values[name]
        if name == "speedtest_logger_node_name":
            return default_node_name(self.host)
        return roles.known()[name].default

    def text(self, name: str) -> str:
        """A variable as text."""
        return str(self[name])

    def number(self, name: str) -> float:
        """A variable as a number."""
        value = self[name]
        return float(value) if isinstance(value, (int, float, str)) else 0.0


@dataclass(frozen=True)
class Problem:
    """A variable, what was seen, what to set instead."""

    variable: str
    seen: str
    words: str


class Problems:
    """Problems and the hosts that have each."""

    def __init__(self) -> None:
        self._hosts: dict[Problem, list[str]] = {}

    def add(self, problem: Problem, *hosts: str) -> None:
        """Remember a problem of some hosts, or of none."""
        self._hosts.setdefault(problem, []).extend(hosts)

    def lines(self) -> list[str]:
        """Each problem once, sorted."""
        return sorted(self._line(problem, hosts) for problem, hosts in self._hosts.items())

    @staticmethod
    def _line(problem: Problem, hosts: list[str]) -> str:
        more = len(hosts) - SHOWN_HOSTS
        names = ", ".join(hosts[:SHOWN_HOSTS]) + (f" and {more} more" if more > 0 else "")
        on = f" on {names}" if hosts else ""
        return CREDENTIALS.sub("…@", f"{problem.variable}: seen {problem.seen}{on}; {problem.words}")


def seen(an_input: Input, value: object) -> str:
    """A value as it is shown to people: secrets are not."""
    if value is None or (isinstance(value, str) and not value):
        return "nothing"
    if an_input.secret:
        return "a value that is not shown"
    shown = repr(value)
    return shown if len(shown) <= SHOWN_VALUE else shown[: SHOWN_VALUE - 1] + "…"


def views(inventory: Inventory) -> Iterator[View]:
    """Every host of ours with its roles."""
    roles_of: dict[str, list[str]] = {}
    for group, names in ROLES_OF_GROUP.items():
        for host in inventory.groups.get(group, []):
            roles_of.setdefault(host, []).extend(names)
    for host, values in inventory.hosts.items():
        yield View(host, values, tuple(roles_of.get(host, ())))
