"""Running the programs that make a lab, and saying what went wrong when one of them fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class LabError(Exception):
    """The lab cannot go on; the text says what is missing or what to do."""


class MirrorError(LabError):
    """A mirror does not answer, so that nothing was tried; another time it may."""

    CODE = 75  # sysexits(3): EX_TEMPFAIL


def run(
    *argv: str,
    check: bool = True,
    stdin: str | None = None,
    timeout: float = 900,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return its standard output. Raises LabError with the program's message.

    Without `stdin` the program reads nothing: ssh makes an inherited standard input non-blocking for whoever shares
    it, and Ansible refuses to start on such a one.
    """
    done = subprocess.run(
        argv,
        input=stdin or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        errors="replace",
        cwd=cwd,
        env=env,
    )
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"'{' '.join(argv)}' exited {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a program exits 0."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60).returncode == 0


def say(text: str) -> None:
    """Talk goes to standard error; standard output is for data."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce long work and say how long it took."""
    began = time.monotonic()
    say(f"lab: {text} ...")
    yield
    say(f"lab: {text}: done in {time.monotonic() - began:.1f} s")
