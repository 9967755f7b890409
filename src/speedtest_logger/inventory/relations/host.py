"""What the roles of a host share: accounts, directories, Docker, releases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from speedtest_logger import __version__
from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import BACKUP, PUBLISH, problem

ROLES = (
    "speedtest_logger",
    "speedtest_archive",
    "speedtest_dashboard",
    "speedtest_database",
    "speedtest_cluster",
    "speedtest_store",
    "speedtest_target",
)
CONTAINED = ("speedtest_logger", "speedtest_dashboard")  # roles that can run in a container
ACCOUNTS = {role: f"{role}_user" for role in ROLES}
DIRECTORIES = {
    "speedtest_logger": ("install_dir", "config_dir", "state_dir", "log_dir"),
    "speedtest_archive": ("install_dir", "home_dir", "dir"),
    "speedtest_dashboard": ("install_dir", "dir"),
    "speedtest_database": ("install_dir", "dir"),
    "speedtest_cluster": ("install_dir",),
    "speedtest_store": ("install_dir", "dir"),
    "speedtest_target": ("dir", "config_dir"),
}
# What the roles make under names of their own.
OWN_ACCOUNTS = {
    "speedtest-backup": "backups have",
    "speedtest-front": "the front has",
    "speedtest-postgresql": "the database's server has",
    "speedtest-publish": "publishing has",
    "prometheus": "Debian's Prometheus has",
}
OWN_DIRECTORIES = {
    "speedtest_archive": ("/etc/speedtest-archive", "/var/cache/speedtest-backup"),
    "speedtest_dashboard": ("/etc/speedtest-dashboard",),
    "speedtest_database": ("/etc/speedtest-database",),
    "speedtest_front": ("/etc/speedtest-front", "/var/lib/speedtest-front"),
    "speedtest_cluster": ("/etc/speedtest-cluster", "/var/cache/speedtest-cluster"),
    "speedtest_store": ("/etc/speedtest-store",),
    "speedtest_monitoring": ("/etc/speedtest-monitoring", "/var/lib/speedtest-monitoring"),
}


def accounts(view: View) -> Iterator[Problem]:
    """Each role has an account of its own, which is not the one that Ansible logs into."""
    names = [variable for role, variable in ACCOUNTS.items() if role in view.roles and variable not in view.bad]
    for one, other in combinations(names, 2):
        if view[one] == view[other]:
            yield problem(view, other, f"{one} is the same: give each role an account of its own")
    for variable in names:
        if whose := OWN_ACCOUNTS.get(view.text(variable)):
            yield problem(view, variable, f"{whose} an account of this name: give each an account of its own")
        if view[variable] == view.values.get("ansible_user"):
            yield problem(view, variable, "ansible_user is the same: a service needs an account of its own")


def directories(view: View) -> Iterator[Problem]:
    """No directory of ours is another one, or lies in it."""
    places = [
        (f"{role}_{name}", view.text(f"{role}_{name}"))
        for role, names in DIRECTORIES.items()
        for name in names
        if role in view.roles and f"{role}_{name}" not in view.bad
    ]
    places += [
        (variable, view.text(variable))
        for variable in (f"{BACKUP}repository", f"{PUBLISH}address", f"{PUBLISH}tree")
        if "speedtest_archive" in view.roles and variable not in view.bad and view.text(variable).startswith("/")
    ]
    places += [("the role", path) for role, paths in OWN_DIRECTORIES.items() if role in view.roles for path in paths]
    for (one, path), (other, its) in combinations(places, 2):
        if f"{path}/".startswith(f"{its}/") or f"{its}/".startswith(f"{path}/"):
            variable, by = (one, f"{other} has {its}") if other == "the role" else (other, f"{one} is {path}")
            if variable != "the role":
                yield problem(view, variable, f"{by}: give each a directory of its own, none inside another")


def docker_key(view: View) -> Iterator[Problem]:
    """Docker's own packages need the key that they are signed with."""
    runtimes = [view[f"{role}_runtime"] for role in CONTAINED if role in view.roles]
    wanted = "compose" in runtimes and view["docker_host_source"] == "repository"
    if wanted and not view["docker_host_repository_key"]:
        words = (
            "docker_host_source is repository: set the key that its packages are signed with, nothing is trusted unseen"
        )
        yield problem(view, "docker_host_repository_key", words)


def release(view: View, variable: str, directory: str, checkout: Path) -> Iterator[Problem]:
    """A version is this checkout's, or its artifact is there."""
    if variable in view.bad or directory in view.bad or view[variable] == __version__:
        return
    place = Path(view.text(directory)) if directory in view.values else checkout / "dist"
    artifact = place / f"speedtest-logger-{view[variable]}.tar.gz"
    if not artifact.is_file():
        words = (
            f"this checkout is {__version__} and there is no {artifact}: set {__version__}, or put the artifact there"
        )
        yield problem(view, variable, words)
