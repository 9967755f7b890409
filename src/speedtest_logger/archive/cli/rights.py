"""With whose rights a verb of speedtest-archive runs, and whose are the files that it writes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speedtest_logger import accounts, env_file
from speedtest_logger.accounts import Owner
from speedtest_logger.archive.care import steps
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import SpeedtestError, StorageError, UsageError
from speedtest_logger.files import is_stream, kind_of, new_output

if TYPE_CHECKING:
    from speedtest_logger.distributed.keys import Keys

Verb = Callable[[argparse.Namespace], int]
STORE_FILES = (Path("/etc/speedtest-archive/store.env"), Path("/etc/speedtest-cluster/store.env"))
ENGINE_VARIABLE = "SPEEDTEST_ENGINE"
OF_STORE = ("publish", "fetch", "share")
OF_SEVERAL = ("backup", "restore")  # accounts: each does its own steps
ONLY_READ = ("query", "nodes", "latest", "coverage", "outages", "report", "export", "fleet", "logs", "probes", "verify")


def act(args: argparse.Namespace, verb: Verb) -> int:
    """Run a verb. Root's goes on as the archive's owner, after what root named was opened with root's rights."""
    if args.verb == "init":
        if there := [each for each in (args.root / "archive", args.root) if each.exists()]:
            accounts.become(accounts.owner_of(there[0]))
        return verb(args)
    store = getattr(args, "store", None)
    owner = who_asks(args.root) if store else accounts.owner_in(args.root)
    if args.verb in OF_STORE or store:
        take_store()
    args.cluster_keys = cluster_keys(args) if store else None
    args.outputs = []
    if args.verb in OF_SEVERAL:
        return verb(args)
    if args.verb == "import":
        with accounts.acting_as(owner):  # and again as who named them where the files are opened
            return verb(args)
    if args.verb == "export" and args.format == "speedsnake" and accounts.is_another(owner):
        return export_folder(args, verb, owner)
    with ExitStack() as stack:
        args.outputs = [opened(stack, place) for place in outputs_of(args)]
        if not args.outputs:
            of = publisher(args.root) if args.verb == "publish" else owner
            accounts.become(of, to_read=args.verb in ONLY_READ)
            return verb(args)
        code: int = steps.run(owner, lambda: flushed(verb(args), args.outputs), to_read=args.verb in ONLY_READ)
    return code


def who_asks(root: Path) -> Owner:
    """Who asks a store: the archive's owner, and nobody where there is no archive."""
    return accounts.owner_in(root) if (root / "archive").is_dir() else Owner(accounts.NOBODY, accounts.NOBODY)


def cluster_keys(args: argparse.Namespace) -> Keys | None:
    """The key of this host for the cluster, which only root may read; None where none is asked."""
    from speedtest_logger.distributed import keys

    wanted = args.engine or os.environ.get(ENGINE_VARIABLE) or ""
    return keys.read() if wanted.startswith("dask://") else None


def publisher(root: Path) -> Owner:
    """Who publishes: the owner of the folder that says how it goes; without it the archive's."""
    layout = Layout(root)
    return accounts.owner_of(layout.store if kind_of(layout.store) else layout.archive)


def take_store() -> None:
    """What root may read of the inventory's object store, where the environment does not say otherwise."""
    for file in STORE_FILES:
        with suppress(OSError):  # systemd hands it over, or there is none
            for name, value in env_file.read(file).items():
                os.environ.setdefault(name, value)


def opened(stack: ExitStack, place: Path) -> BinaryIO:
    """An output; a new file belongs to who called with sudo, so that it can be fetched."""
    output = stack.enter_context(new_output(place))
    if not is_stream(place):
        accounts.give_to_caller(output.fileno(), place.parent)
    return output


def outputs_of(args: argparse.Namespace) -> list[Path]:
    """The files that a verb is to write."""
    if getattr(args, "out", None) is None or getattr(args, "format", None) == "speedsnake":
        return []
    if args.verb != "report" or is_stream(args.out):
        return [args.out]
    rows = args.out.with_suffix(".csv")
    if rows == args.out:
        raise UsageError(f"{rows} is the file for the rows: name the page, such as {rows.with_suffix('.html')}")
    return [args.out, rows]


def flushed(code: int, outputs: list[BinaryIO]) -> int:
    """What a step has written reaches the file: the other process has no part in its buffer."""
    for output in outputs:
        output.flush()
    return code


def export_folder(args: argparse.Namespace, verb: Verb, owner: Owner) -> int:
    """A folder of root's from what the archive's owner reads: as a stream from the one to the other."""
    from speedtest_logger.archive.care.unpack import unpack

    if kind_of(args.out) not in (None, "a directory") or (args.out.exists() and any(args.out.iterdir())):
        raise UsageError(f"{args.out} is not an empty folder: name a new one, or rows would be stored twice")
    reading, writing = os.pipe()

    def tell() -> int:
        os.close(reading)
        with os.fdopen(writing, "wb") as stream:
            args.outputs = [stream]
            return verb(args)

    step = steps.start(owner, tell, to_read=True)
    os.close(writing)
    args.out.mkdir(parents=True, exist_ok=True)
    with os.fdopen(reading, "rb") as stream:
        torn: SpeedtestError | None = None
        try:
            unpack(stream, args.out, ("location=",))
        except StorageError as error:
            torn = error
    code: int = step.result()
    if torn:
        raise torn
    return code
