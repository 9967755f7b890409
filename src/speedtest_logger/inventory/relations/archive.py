"""Backups, publishing and bounds of an archive host."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import BACKUP, LIMIT, PUBLISH, problem

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


def limits(view: View) -> Iterator[Problem]:
    """A bound lets through what another one allows."""
    for upper, lower in AT_LEAST:
        if {LIMIT + upper, LIMIT + lower} & view.bad:
            continue
        if view.number(LIMIT + upper) < view.number(LIMIT + lower):
            yield problem(view, LIMIT + upper, f"{LIMIT}{lower} is {view[LIMIT + lower]}: do not go below it")
