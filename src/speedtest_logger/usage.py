"""A command line's help, laid out as argparse does it, without what argparse needs for that at every start."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping

from speedtest_logger.errors import EXIT_NO_ACCESS, EXIT_OK, EXIT_STORAGE, NoAccessError, SpeedtestError


class Help(argparse.RawDescriptionHelpFormatter):
    """argparse's own makes one for each argument, and imports shutil and its compressors to know how wide it is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


def add_verbs(top: argparse.ArgumentParser, verbs: Mapping[str, tuple[str, str]]) -> dict[str, argparse.ArgumentParser]:
    """Give a command line its verbs, each with what it does and an example; returns their parsers by name."""
    added = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    return {
        name: added.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=top.formatter_class,
            epilog=f"example:\n  {example}\n\n{top.epilog}",
        )
        for name, (text, example) in verbs.items()
    }


def exit_code_of(program: str, act: Callable[[], int]) -> int:
    """Do what a command line was asked for; what goes wrong is said in a line. Returns the exit code."""
    try:
        return act()
    except SpeedtestError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_OK
    except PermissionError as error:
        print(f"{program}: {NoAccessError(error.filename)}", file=sys.stderr)
        return EXIT_NO_ACCESS
    except OSError as error:
        print(f"{program}: {error.filename or 'the disk'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE


def columns() -> int:
    """How wide help is shown, as shutil.get_terminal_size has it: $COLUMNS, else the terminal, else 80."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]  # None has no file
    except (AttributeError, ValueError, OSError):
        return 80
