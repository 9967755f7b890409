"""What keeps an archive: pruning, months of the whole fleet, backups."""

from __future__ import annotations

import argparse
import json
import sys
import time

from speedtest_logger import accounts
from speedtest_logger.archive.care import steps
from speedtest_logger.archive.cli.options import (
    MONTH,
    Verb,
    add_form,
    duration,
    no_arguments,
    size,
)
from speedtest_logger.archive.cli.output import progress, show
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, UsageError


def prune_arguments(parser: argparse.ArgumentParser) -> None:
    """See `remove_old`."""
    parser.add_argument("--older-than", type=duration, help="months that ended longer ago, such as 1095d")
    parser.add_argument("--max-size", type=size, help="the oldest months beyond it, such as 500MB or 20GB")
    parser.add_argument("--raw-older-than", type=duration, help="raw output of days that ended longer ago")
    parser.add_argument("--logs-older-than", type=duration, help="lines of logs of days that ended longer ago")
    parser.add_argument("--probes-older-than", type=duration, help="results of probes of days that ended longer ago")
    parser.add_argument("--yes", action="store_true", help="do it")
    add_form(parser)


def remove_old(args: argparse.Namespace) -> int:
    """Remove months, or say which."""
    from speedtest_logger.archive.care import prune

    by_day = {name: getattr(args, name) for name in prune.BY_DAY}
    if {args.older_than, args.max_size, *by_day.values()} == {None}:
        raise UsageError(
            "prune needs --older-than, --max-size, --raw-older-than, --logs-older-than or --probes-older-than"
        )
    layout, now = Layout(args.root), time.time()
    if args.yes:
        going = prune.prune(layout, now, args.older_than, args.max_size, **by_day)
    else:
        going = prune.plan(layout, now, args.older_than, args.max_size)
        going += prune.plan_days(layout, now, **by_day)
    show(args, [old.to_row() for old in going], ["file", "size", "rows", "reason"])
    total = sum(old.size for old in going) / 1e6
    said = "removed" if args.yes else "would be removed; add --yes to remove them"
    print(f"{len(going)} files, {total:.1f} MB {said}", file=sys.stderr)
    return EXIT_OK


PRUNE = Verb(
    "prune",
    "remove old months; without --yes only list them",
    "speedtest-archive prune --older-than 1095d",
    prune_arguments,
    remove_old,
)


def gather_months(args: argparse.Namespace) -> int:
    """What the upkeep's timer runs."""
    from speedtest_logger.archive.arrive import limits, quarantine
    from speedtest_logger.archive.read import gathered

    layout, now = Layout(args.root), time.time()
    quarantine.clear(layout, limits.load(layout)[0], now)
    with progress(sum(map(len, gathered.due(layout, now).values())), "gather") as advance:
        new = gathered.gather(layout, now, advance)
    print(f"{len(new)} months gathered", file=sys.stderr)
    return EXIT_OK


GATHER = Verb(
    "gather",
    "keep each finished month of a large fleet in one file as well, for faster questions",
    "speedtest-archive gather",
    no_arguments,
    gather_months,
)


def backup_arguments(parser: argparse.ArgumentParser) -> None:
    """See `save_archive`."""
    step = parser.add_mutually_exclusive_group()
    step.add_argument(
        "--stage", action="store_true", help="only copy one moment of it into work/backup (a unit's step)"
    )
    step.add_argument(
        "--save", action="store_true", help="only save what is in work/backup with restic (a unit's step)"
    )
    step.add_argument("--unstage", action="store_true", help="empty work/backup again (a unit's step)")
    for name, count in (("daily", 7), ("weekly", 5), ("monthly", 24)):
        parser.add_argument(f"--keep-{name}", type=int, default=count, metavar="N", help="default %(default)s")


def save_archive(args: argparse.Namespace) -> int:
    """What the backup's timer runs."""
    from speedtest_logger.archive.care import backup, repository

    layout, keep = Layout(args.root), backup.Keep(args.keep_daily, args.keep_weekly, args.keep_monthly)
    owner = accounts.owner_of(layout.archive)
    if args.stage:
        print(json.dumps({"staged": steps.run(owner, lambda: backup.stage(layout))}))
    elif args.unstage:
        steps.run(owner, lambda: backup.unstage(layout))
    elif args.save:
        saver = backup.saver_of(layout)
        print(json.dumps(steps.run(saver, lambda: backup.save(layout, keep), as_root=repository.take_credentials)))
    else:
        print(json.dumps(backup.backup(layout, keep)))
    return EXIT_OK


BACKUP = Verb(
    "backup",
    "back up one moment of the archive with restic",
    "speedtest-archive backup --keep-monthly 36",
    backup_arguments,
    save_archive,
)


def restore_arguments(parser: argparse.ArgumentParser) -> None:
    """See `bring_back`."""
    parser.add_argument("--snapshot", default="latest", help="restic's id of it, default %(default)s")
    parser.add_argument("--file", metavar="FILE", help=f"this month only, such as {MONTH}")


def bring_back(args: argparse.Namespace) -> int:
    """What playbooks/restore.yml runs; or one month's file only."""
    from speedtest_logger.archive.care import restore

    layout = Layout(args.root)
    if args.file:
        print(json.dumps(restore.restore_month(layout, args.file, args.snapshot)))
    else:
        print(json.dumps(restore.restore(layout, args.snapshot)))
    return EXIT_OK


RESTORE = Verb(
    "restore",
    "restore a backup into an empty archive and verify it, or restore one file",
    "speedtest-archive restore",
    restore_arguments,
    bring_back,
)
