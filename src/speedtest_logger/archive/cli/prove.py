"""What proves that nothing was changed, and goes on from what was."""

from __future__ import annotations

import argparse
import json
import sys

from speedtest_logger.archive.cli.options import (
    MONTH,
    Verb,
    add_form,
)
from speedtest_logger.archive.cli.output import progress, show
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.errors import EXIT_OK, EXIT_UNHEALTHY, UsageError


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """See `prove`."""
    parser.add_argument(
        "--explain",
        metavar="FILE",
        help=f"the history of a file, such as {MONTH}",
    )
    add_form(parser)


def prove(args: argparse.Namespace) -> int:
    """What differs from the manifest."""
    from speedtest_logger.archive.care import audit, verify
    from speedtest_logger.archive.ledger import index, manifest

    layout = Layout(args.root)
    if args.explain:
        try:
            month_of(args.explain)
        except ValueError as error:
            raise UsageError(str(error)) from error
        unknown = f"the manifest has never named a file {args.explain}"
        show(args, verify.explain(layout, args.explain), ["at", "verb"], unknown)
        return EXIT_OK
    with progress(verify.sizes(layout), "verify") as advance:
        findings = verify.verify(layout, advance)
    verify.keep(layout, findings)
    with progress(len(index.read(layout).nodes), "audit") as advance:
        for problem in audit.once(layout, advance):
            print(f"speedtest-archive: {problem}", file=sys.stderr)
    number, digest, _ = manifest.head(layout)
    if findings or args.out:
        show(args, [finding.to_row() for finding in findings], ["file", "day", "problem"])
    if findings:
        return EXIT_UNHEALTHY
    for name, state in manifest.state(layout).items():
        if state.accepted:
            print(f"{name} was accepted as it was found: verify --explain {name} says why", file=sys.stderr)
    print(f"all is as the manifest says; its line {number} has SHA-256 {digest}", file=sys.stderr)
    return EXIT_OK


VERIFY = Verb(
    "verify",
    "compare every byte with the manifest",
    "speedtest-archive verify",
    verify_arguments,
    prove,
)


def accept_arguments(parser: argparse.ArgumentParser) -> None:
    """See `accept_file`."""
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason, which the manifest keeps")
    parser.add_argument("file", metavar="FILE", help=f"such as {MONTH}")


def accept_file(args: argparse.Namespace) -> int:
    """Go on from what was found."""
    from speedtest_logger.archive.care import repair

    print(json.dumps(repair.accept(Layout(args.root), args.file, args.why)))
    return EXIT_OK


ACCEPT = Verb(
    "accept",
    "take a file that differs from the manifest, and cannot be repaired, as it is now",
    'speedtest-archive accept --why "the disk failed" location=home/year=2026/month=01/speedtest.parquet',
    accept_arguments,
    accept_file,
)
