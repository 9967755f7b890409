"""Names in an inventory that are almost ours, files for hosts that are not there, and an inventory that is empty."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from speedtest_logger.inventory import roles
from speedtest_logger.inventory.found import (
    ARCHIVE,
    CLUSTER,
    DASHBOARD,
    DATABASE,
    FRONT,
    MONITORING,
    NODES,
    STORE,
    TARGETS,
    Inventory,
    Problem,
    Problems,
)
from speedtest_logger.inventory.relations.archive import shared_by_all

OURS = re.compile("speedtest|docker_host_|managed_host_")
OURS_OR_LIKE = re.compile(r"[a-z]{2,}[_-].*_|speed|docker_?host|managed_?host|fleet_archive", re.IGNORECASE)
GROUPS = (NODES, ARCHIVE, CLUSTER, DASHBOARD, DATABASE, FRONT, MONITORING, STORE, TARGETS)
MADE = ("speedtest_upgrades",)  # nodes.yml makes it
ENDINGS = (".yml", ".yaml", ".json")
COPY_EXAMPLE = "copy the example, `cp -r inventory/homelab inventory/mine`, and put your machines into its hosts.yml"
LIKE = 0.86  # near enough that a name without our prefix is more likely a slip than somebody's own


def concerns_us(variable: str) -> bool:
    """Whether a variable is ours, or might be meant to be."""
    if variable.startswith(("__", "ansible_")):
        return variable in ("ansible_host", "ansible_port", "ansible_user")
    return variable in roles.known() or bool(OURS.match(variable)) or near(variable, LIKE) is not None


@cache
def near(name: str, cutoff: float = 0.6) -> str | None:
    """The name of ours that comes nearest to another one."""
    if cutoff > 0.6 and not OURS_OR_LIKE.match(name):
        return None
    begun = [known for known in roles.known() if len(name) > 12 and known.startswith(name)]
    found = begun if len(begun) == 1 else difflib.get_close_matches(name, roles.known(), 1, cutoff)
    return found[0] if found else None


def did_you_mean(name: str, among: Iterable[str]) -> str:
    """A question that names what comes nearest, or nothing."""
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(among), 1)
    return f"did you mean {found[0]}?" if found else ""


def of_variables(inventory: Inventory, problems: Problems) -> None:
    """Variables that do not exist."""
    for host, values in inventory.hosts.items():
        for name in values:
            if name not in roles.known() and name != "ansible_user":
                like = near(name)
                words = f"there is no such variable{f': did you mean {like}?' if like else ''}"
                problems.add(Problem(name, "a value", words), host)


def of_groups(inventory: Inventory) -> Iterator[Problem]:
    """Our groups, and those that look like them."""
    archives, nodes = inventory.groups.get(ARCHIVE, []), inventory.groups.get(NODES, [])
    if not archives:
        yield Problem(f"group {ARCHIVE}", "none", "put a host into it")
    if len(archives) > 1:
        yield from shared_by_all(inventory, archives)
    if not nodes:
        yield Problem(f"group {NODES}", "none", "put the machines that measure into it")
    if outside := [host for host in inventory.groups.get(DASHBOARD, []) if host not in archives]:
        words = f"the dashboard reads the archive's files: put only the host of group {ARCHIVE} into it"
        yield Problem(f"group {DASHBOARD}", ", ".join(outside[:5]), words)
    if outside := [host for host in inventory.groups.get(DATABASE, []) if host not in archives]:
        words = f"the sink reads the archive's files: put only the host of group {ARCHIVE} into it"
        yield Problem(
            f"group {DATABASE}", ", ".join(outside[:5]), f"{words}; speedtest_database_dsn may lead elsewhere"
        )
    dashboards = inventory.groups.get(DASHBOARD, [])
    if alone := [host for host in inventory.groups.get(FRONT, []) if host not in dashboards]:
        words = f"the front leads to the dashboard on its own host: put it into group {DASHBOARD} too"
        yield Problem(f"group {FRONT}", ", ".join(alone[:5]), words)
    placed = {host for group in GROUPS for host in inventory.groups.get(group, [])}
    for group, hosts in inventory.groups.items():
        if group in GROUPS or group in MADE or group == "all":
            continue
        like = difflib.get_close_matches(group.lower().replace("-", "_"), GROUPS, 1, 0.8)
        if (like or group.startswith("speedtest")) and not (hosts and placed.issuperset(hosts)):
            question = f"did you mean {like[0]}?" if like else f"ours are {', '.join(GROUPS)}"
            yield Problem(f"group {group}", ", ".join(hosts[:3]) or "no host", f"it has no meaning here: {question}")


def of_files(inventory: Inventory) -> Iterator[Problem]:
    """Files of host_vars/ and group_vars/ that no host or group has the name of."""
    groups = {*inventory.groups, *GROUPS, "all", "ungrouped"}
    hosts = {*inventory.hosts, "localhost"}
    for folder in dict.fromkeys(inventory.folders):
        for kind, names, what in (("host_vars", hosts, "host"), ("group_vars", groups, "group")):
            for file in sorted((folder / kind).glob("*")) if (folder / kind).is_dir() else ():
                meant = name_of(file)
                if meant and not {meant, file.name} & names:
                    like = did_you_mean(meant, names)
                    words = f"no {what} has this name{f': {like}' if like else ', so that nobody reads it'}"
                    yield Problem(f"{kind}/{file.name}", f"in {folder}", words)


def name_of(file: Path) -> str:
    """The host or group that a file is for; empty where Ansible does not read it."""
    if file.name.startswith((".", "README")) or file.name.endswith("~"):
        return ""
    if file.suffix in ENDINGS and not file.is_dir():
        return file.stem
    return file.name if file.is_dir() or not file.suffix else ""


@cache
def files_with(variable: str, folders: tuple[Path, ...], sources: tuple[str, ...]) -> list[str]:
    """The inventory's files that set a variable, as far as their text says so; each is read once."""
    line = re.compile(rf"^\s*{variable}\s*:", re.MULTILINE)
    return [
        str(file)
        for file in files_of(folders, sources)
        if line.search(file.read_text(encoding="utf-8", errors="replace"))
    ]


def files_of(folders: tuple[Path, ...], sources: tuple[str, ...]) -> list[Path]:
    """All files of the inventory."""
    listed = [Path(source) for source in sources if "," not in source]
    files = [file for source in listed for file in ([source] if source.is_file() else sorted(source.glob("*")))]
    for folder in dict.fromkeys(folders):
        files += [file for kind in ("group_vars", "host_vars") for file in sorted((folder / kind).rglob("*"))]
    return [file for file in files if file.is_file()]


def of_sources(inventory: Inventory) -> Iterator[Problem]:
    """Sources that are not there, and an inventory in which no host is."""
    missing = [source for source in inventory.sources if "," not in source and not Path(source).exists()]
    for source in missing:
        yield Problem(f"inventory {source}", "no such file", f"{COPY_EXAMPLE}, or name your inventory with -i")
    if not inventory.hosts and not missing:
        listed = ", ".join(inventory.sources) or "nothing"
        words = (
            "there is no host in it: name your inventory with -i; Ansible's warnings above say what it could not read"
        )
        yield Problem("inventory", listed, words)
