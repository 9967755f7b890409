"""Files at which an ingest died or failed, so that one delivery cannot stop all others.

state/taking names what a run is reading; it is removed at the end. Where it is there when a run begins, the run before
died, and what it names may be why: a failure for each file. Such files are tried after all others: a few together the
first time, then each alone, so that after FAILURES failures a file was alone at its last and is the cause.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.arrive.chunks import cause
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import DamagedFileError, StorageError
from speedtest_logger.files import open_to_append, read_bounded

FAILURES = 3
MOST_BYTES = 64_000_000  # of names that a run may have left
TOGETHER = 64  # files of a node that are tried together after their first failure
DIED = "ingest died while it read this"


class Attempts:
    """What failed how often and why. Its files need not survive a crash of the machine: nothing is fsynced."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.root = layout, layout.root
        self._journal = layout.state / "taking"
        self._file = layout.state / "suspects.json"
        self.failures: dict[str, tuple[int, str]] = {}
        self._load()
        died: list[str] = []
        with suppress(OSError):
            died = read_bounded(self._journal, MOST_BYTES).decode(errors="replace").splitlines()
        if died:
            self.done()
            self.failed([self.root / name for name in died if (self.root / name).exists()], DIED)

    def _load(self) -> None:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(read_bounded(self._file, MOST_BYTES))
            kept = {name: (int(count), str(why)) for name, (count, why) in content.items()}
            self.failures = {name: entry for name, entry in kept.items() if (self.root / name).exists()}

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def suspects(self) -> set[Path]:
        """The files that have failed before."""
        return {self.root / name for name in self.failures}

    def at(self, files: Iterable[Path]) -> None:
        """These are read from now on, beside those before."""
        with open_to_append(self._journal) as stream:
            stream.write("".join(f"{self._name(file)}\n" for file in files).encode())

    def done(self) -> None:
        """Nothing is being read."""
        self._journal.unlink(missing_ok=True)

    def failed(self, files: Iterable[Path], why: str) -> None:
        """A failure of each."""
        for file in files:
            count, _ = self.failures.get(self._name(file), (0, ""))
            self.failures[self._name(file)] = (count + 1, why)
        self._save()

    def forget(self, files: Iterable[Path]) -> None:
        """They were read, or lie in quarantine."""
        for file in files:
            self.failures.pop(self._name(file), None)
        self._save()

    def _save(self) -> None:
        if self.failures:
            self._file.write_text(json.dumps(self.failures), encoding="utf-8")
        else:
            self._file.unlink(missing_ok=True)

    def retry(self, folder: Path, take: Callable[[list[Path]], object], most_bytes: int) -> list[str]:
        """Try the files below a folder again that failed, and put those into quarantine that are the cause.

        Returns in words what failed too often and finds no more room there. Raises what is no file's fault.
        """
        stuck = []
        for files, failures, why in self._again(folder):
            self.done()
            if failures >= FAILURES:
                reason = f"ingest failed {failures} times: {why}"
                if aside.set_aside(self.layout, files[0], reason, most_bytes):
                    self.forget(files)
                else:
                    stuck.append(f"{files[0]}: {reason}; and the quarantine of its node is full")
                continue
            self.at(files)
            try:
                take(files)
            except DamagedFileError as error:
                stuck.append(str(error))
            except (StorageError, OSError):
                raise
            except Exception as error:  # whatever it is: that is the question here
                self.failed(files, cause(error))
            else:
                self.forget(files)
        self.done()
        return stuck

    def _again(self, folder: Path) -> Iterator[tuple[list[Path], int, str]]:
        """Files below a folder to try again, those that failed least first: with their failures and a cause."""
        for failures in range(1, FAILURES + 1):
            names = sorted(name for name, (count, _) in self.failures.items() if min(count, FAILURES) == failures)
            files = [file for name in names if (file := self.root / name).is_relative_to(folder)]
            for _, of_node in groupby(files, key=lambda file: file.parent):
                theirs, most = list(of_node), TOGETHER if failures == 1 else 1
                for first in range(0, len(theirs), most):
                    group = theirs[first : first + most]
                    yield group, failures, self.failures[self._name(group[0])][1]
