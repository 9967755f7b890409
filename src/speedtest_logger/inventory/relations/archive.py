"""Backups, publishing and bounds of an archive host."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger import domains
from speedtest_logger.inventory.found import Inventory, Problem, View
from speedtest_logger.inventory.relations.common import BACKUP, LIMIT, PUBLISH, problem

SHARED, HOST_KEY = "speedtest_archive_shared", "fleet_archive_host_key"
# Of each pair the first must not be below the second.
AT_LEAST = (
    ("rows_burst", "rows"),
    ("rows_burst", "rows_per_hour"),
    ("bytes_burst_mb", "payload_mb"),
    ("bytes_burst_mb", "bytes_per_hour_mb"),
    ("raw_burst_mb", "raw_per_hour_mb"),
    ("inbox_mb", "payload_mb"),
    ("raw_inbox_mb", "payload_mb"),
    ("raw_mb", "raw_day_mb"),
    ("log_inbox_mb", "log_day_mb"),
    ("probe_inbox_mb", "probe_day_mb"),
    ("low_disk_mb", "free_mb"),
)


def backups(view: View) -> Iterator[Problem]:
    """A backup has a password, and something is kept of it."""
    if not view[f"{BACKUP}repository"]:
        return
    if not view[f"{BACKUP}password"]:
        words = f"backups to {view.text(f'{BACKUP}repository')} need one: keep it in a vault, and a copy elsewhere"
        yield problem(view, f"{BACKUP}password", words)
    if not any(view[f"{BACKUP}keep_{age}"] for age in ("daily", "weekly", "monthly")):
        yield problem(
            view, f"{BACKUP}keep_daily", "weekly and monthly are 0 too, so that no backup would stay: keep one"
        )


def publishing(view: View) -> Iterator[Problem]:
    """Who publishes to a bucket has a key of it."""
    address = view.text(f"{PUBLISH}address")
    if not address.startswith("s3://"):
        return
    for name, what in (("access_key", "the id of a key"), ("secret_key", "the key")):
        if not view[f"{PUBLISH}{name}"]:
            words = f"publishing to {address} needs {what} that may write there: set it, from a vault"
            yield problem(view, f"{PUBLISH}{name}", words)


def planting(view: View) -> Iterator[Problem]:
    """A tree lies beside a table that one host publishes."""
    address, tree = view.text(f"{PUBLISH}address"), view.text(f"{PUBLISH}tree")
    if not tree:
        if view[f"{PUBLISH}tree_results"]:
            yield problem(view, f"{PUBLISH}tree_results", f"{PUBLISH}tree is empty: name the place, or set false")
        return
    if not address:
        yield problem(view, f"{PUBLISH}tree", f"it is kept beside a table: set {PUBLISH}address, or leave it empty")
    elif tree.startswith("s3://") and not address.startswith("s3://"):
        yield problem(view, f"{PUBLISH}tree", f"{PUBLISH}address is a directory, which has no key: name one here too")
    elif words := domains.in_each_others_way(address, tree):
        yield problem(view, f"{PUBLISH}tree", words)
    if view["speedtest_archive_shared"]:
        words = "hosts that share an archive keep no tree, for each has changes of its own: leave it empty"
        yield problem(view, f"{PUBLISH}tree", words)


def sharing(view: View) -> Iterator[Problem]:
    """Hosts share an archive in a bucket."""
    address = view.text(f"{PUBLISH}address")
    if view["speedtest_archive_shared"] and not address.startswith("s3://"):
        words = f"hosts share an archive in an object store: set {PUBLISH}address to s3://BUCKET/FOLDER, or false here"
        yield problem(view, "speedtest_archive_shared", words)


def shared_by_all(inventory: Inventory, hosts: list[str]) -> Iterator[Problem]:
    """Several archive hosts have one store, and each the host key that nodes pin."""
    if not any(inventory.hosts[host].get(SHARED) for host in hosts):
        words = f"put exactly one host into it, or set {SHARED}: true for all of them"
        yield Problem("group speedtest_archive", ", ".join(hosts[:5]), words)
        return
    places = set()
    for host in hosts:
        values = inventory.hosts[host]
        places.add(str(values.get(f"{PUBLISH}address", "")))
        for name, right, words in (
            (SHARED, values.get(SHARED) is True, "true: hosts of this group share one archive"),
            (HOST_KEY, bool(values.get(HOST_KEY)), "what /etc/ssh/ssh_host_ed25519_key.pub has there: nodes pin it"),
        ):
            if not right:
                yield Problem(name, f"{values.get(name, 'nothing')} of {host}", f"set {words}")
    if len(places) > 1:
        words = "hosts of this group share one archive: set the same for all of them"
        yield Problem(f"{PUBLISH}address", ", ".join(sorted(places)), words)


def limits(view: View) -> Iterator[Problem]:
    """A bound lets through what another one allows."""
    for upper, lower in AT_LEAST:
        if {LIMIT + upper, LIMIT + lower} & view.bad:
            continue
        if view.number(LIMIT + upper) < view.number(LIMIT + lower):
            yield problem(view, LIMIT + upper, f"{LIMIT}{lower} is {view[LIMIT + lower]}: do not go below it")
