"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Callable

from packages import build, proof, release
from packages.node import ROOT

DIST = ROOT / "dist"


def packages() -> None:
    """Build them, and say where they lie."""
    for made in build.everything(DIST):
        print(f"{made.relative_to(ROOT)}  {made.stat().st_size / 1000:.0f} kB")


def proved() -> None:
    """Build them, and type the page about them on bare machines."""
    build.everything(DIST)
    proof.run(DIST)


VERBS: dict[str, Callable[[], None]] = {
    "build": packages,
    "proof": proved,
    "check": release.check,
    "release": lambda: release.run(DIST),
}


def main(words: list[str]) -> int:
    """Do what is asked, and turn what is wrong into one line and an exit code."""
    if len(words) != 1 or words[0] not in VERBS:
        print(f"usage: python3 -m packages {'|'.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        VERBS[words[0]]()
    except (RuntimeError, OSError) as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 1
    return 0
