"""What a verb shows: rows in the form that was asked for, and how far it has come."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    done, began = 0, time.monotonic()

    def advance(by: int) -> None:
        nonlocal done
        done += by
        if sys.stderr.isatty() and total:
            share = min(1.0, done / total)
            seconds = time.monotonic() - began
            bar = "#" * int(30 * share)
            print(f"\r{what} [{bar:<30}] {share:4.0%} {seconds:5.0f} s", end="", file=sys.stderr, flush=True)

    yield advance
    if done and sys.stderr.isatty() and total:
        print(file=sys.stderr)


def show(args: argparse.Namespace, rows: list[dict[str, Any]], empty: Sequence[str], nothing: str = "") -> None:
    """Write rows in the form that was asked for; where there are none `empty` names the columns, and `nothing` says it.

    Who looks at a table reads that instead of one without rows.
    """
    if not rows and nothing:
        print(nothing, file=sys.stderr)
        if args.format == "table" and not args.outputs:
            return
    import pyarrow as pa

    from speedtest_logger.archive.read import render

    table = pa.Table.from_pylist(rows) if rows else pa.table({name: pa.array([], pa.string()) for name in empty})
    render.write(table, args.format, where(args))


def where(args: argparse.Namespace) -> BinaryIO | None:
    """Where the answer goes: what was opened for it, or standard output."""
    return args.outputs[0] if args.outputs else None
