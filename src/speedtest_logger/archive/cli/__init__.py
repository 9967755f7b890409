"""speedtest-archive's command line. Its verbs stand in files by what people want: ask, bring, keep, prove."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from speedtest_logger import __version__, light
from speedtest_logger.archive.cli import ask, bring, carry, keep, logs, probes, prove, rights, share
from speedtest_logger.archive.format.layout import default_root
from speedtest_logger.usage import add_verbs, exit_code_of

EXIT_CODES = """exit codes:
  0  done
  1  coverage --strict: slots were missed; verify: something differs; import: rows were refused
  2  the command line or the SQL is wrong
  5  the archive cannot be read or written
  7  a file may not be opened by this account: use sudo
"""
ALL = (
    bring.INIT,
    bring.INGEST,
    ask.QUERY,
    ask.NODES,
    ask.LATEST,
    ask.COVERAGE,
    ask.OUTAGES,
    ask.REPORT,
    logs.LOGS,
    logs.COLLECT,
    probes.PROBES,
    prove.VERIFY,
    prove.ACCEPT,
    bring.IMPORT,
    ask.EXPORT,
    keep.PRUNE,
    keep.GATHER,
    keep.BACKUP,
    keep.RESTORE,
    carry.PUBLISH,
    carry.FETCH,
    share.SHARE,
    ask.FLEET,
)
LIGHT = (bring.INGEST.name, ask.FLEET.name, logs.COLLECT.name)  # what is run often, and has no use for pandas
VERBS = {verb.name: (verb.text, verb.example) for verb in ALL}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="speedtest-archive", description="The fleet's measurements.", epilog=EXIT_CODES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"speedtest-archive {__version__}")
    top.add_argument("--root", type=Path, default=default_root(), help="default %(default)s")
    made = add_verbs(top, VERBS)
    for verb in ALL:
        verb.arguments(made[verb.name])
        made[verb.name].set_defaults(run=verb.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)

    def act() -> int:
        os.umask(0o027)
        if argv is None and args.verb in LIGHT:  # a process of its own
            light.start()
        return rights.act(args, args.run)

    return exit_code_of("speedtest-archive", act)
