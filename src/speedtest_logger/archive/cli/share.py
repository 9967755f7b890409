"""What one of several hosts that share an archive does each minute."""

from __future__ import annotations

import argparse
import json
import socket

from speedtest_logger.archive.cli.carry import packages_needed
from speedtest_logger.archive.cli.options import Verb
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, UsageError
from speedtest_logger.record import is_id


def share_arguments(parser: argparse.ArgumentParser) -> None:
    """See `share`."""
    parser.add_argument("address", metavar="ADDRESS", help="s3://BUCKET/FOLDER, where the table is")
    parser.add_argument("--host", metavar="NAME", default="", help="this host's name; default: its host name")
    parser.add_argument("--buckets", type=int, default=16, metavar="N", help="of a new table, default %(default)s")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--gate", action="store_true", help="put deliveries into the store (what its service does)")
    what.add_argument("--leave", action="store_true", help="be the only one: take in what is left, give the lease up")


def share(args: argparse.Namespace) -> int:
    """Lead or follow once; or be the service that receive hands deliveries to."""
    with packages_needed():
        from speedtest_logger.archive.shared import gate, turn
        from speedtest_logger.sinks.objects import Objects
        from speedtest_logger.sinks.place import Place
    place = Place.of(args.address)
    if not place.options:
        raise UsageError(f"{args.address}: hosts share an archive in an object store, s3://BUCKET/FOLDER")
    if args.gate:
        gate.serve(Objects(place, retry_seconds=10))
        return EXIT_OK
    name = args.host or socket.gethostname().partition(".")[0].lower()
    if not is_id(name):
        raise UsageError(f"--host {name!r:.80} is no name: letters, digits and hyphens are")
    host = turn.Host(Layout(args.root), place, name, args.buckets)
    outcome = turn.attempt(host.layout, host.leave if args.leave else host.turn)
    print(json.dumps({**vars(outcome), "followed": vars(outcome.followed)}))
    return EXIT_OK


SHARE = Verb(
    "share",
    "be one of several archive hosts: take the shared inbox in, or follow the host that does",
    "speedtest-archive share s3://measurements/records",
    share_arguments,
    share,
)
