"""What became of findings since they were last looked at: begun, ended, or not so after all."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any

from speedtest_logger.alerts.findings import FLEET, Finding, Key, of_json

NOT_JUDGED = ("clock", "ingest_stopped", "disk", "backup", "verify")  # by slots
LATE = 3600  # s: what was over for so long when it came to light is kept, and nobody is woken for it


@dataclass
class Watched:
    """A finding, and what was told of it. `since_told`: when (Unix time, s) it was last told, None: never.

    `withdrawn`: later records showed that it was not so.
    """

    finding: Finding
    id: str
    told_begin: bool = False
    told_end: bool = False
    since_told: float | None = None
    withdrawn: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `watched_of` reads it, with its words besides: who shows it need not know the rules."""
        return {**vars(self), "finding": self.finding.to_json(), "words": self.finding.words()}


FIELDS = {field.name for field in fields(Watched)}


def watched_of(content: dict[str, Any]) -> Watched:
    """As it was kept. Raises TypeError, KeyError for what is none."""
    own = {name: value for name, value in content.items() if name in FIELDS}
    return Watched(**{**own, "finding": of_json(content["finding"])})


@dataclass
class Book:
    """All findings that are known, oldest first."""

    entries: list[Watched] = field(default_factory=list)

    def open(self) -> list[Watched]:
        """Those that last."""
        return [entry for entry in self.entries if entry.finding.ended is None]

    def lasting(self) -> dict[Key, Watched]:
        """The same by what they are said of."""
        return {entry.finding.key: entry for entry in self.open()}

    def to_json(self) -> list[dict[str, Any]]:
        """Each entry as `watched_of` reads it; those that last with what they follow from, by its id."""
        held_back = self.held_back()
        return [{**entry.to_json(), "follows": held_back.get(entry.id)} for entry in self.entries]

    def held_back(self) -> dict[str, str]:
        """Of those that last the ones that follow from another one that does: their ids, and the other's."""
        by_location: dict[str, list[Watched]] = {}
        for entry in self.open():
            by_location.setdefault(entry.finding.location, []).append(entry)
        found = {}
        for own in by_location.values():
            others = [*by_location.get(FLEET, []), *own]
            for entry in own:
                if other := next((other for other in others if other.finding.holds_back(entry.finding)), None):
                    found[entry.id] = other.id
        return found

    def take(self, judged: Mapping[str, tuple[Iterable[Finding], float]], now: float) -> None:
        """Locations' findings as they are judged now, of each all that lasted at a time (Unix time, s) or began later.

        The same finding seen again keeps its name and what was told of it. One that is not seen any more never was:
        it ends now. One that lasts after all, though it was told that it is over, goes on under another name.
        """
        known: dict[str, list[Watched]] = {location: [] for location in judged}
        for entry in self.entries:
            if entry.finding.location in known and entry.finding.rule not in NOT_JUDGED:
                known[entry.finding.location].append(entry)
        for location, (found, since) in judged.items():
            self._take(known[location], found, since, now)

    def _take(self, known: list[Watched], found: Iterable[Finding], since: float, now: float) -> None:
        names = {entry.id for entry in known}
        left = [entry for entry in known if entry.finding.ended is None or entry.finding.ended >= since]
        for finding in sorted(found, key=lambda each: each.began):
            same = next((entry for entry in left if entry.finding.meets(finding) and not entry.withdrawn), None)
            if same is None or (finding.ended is None and same.told_end):
                self.entries.append(Watched(finding, _free_name(finding, names)))
                continue
            left.remove(same)
            same.finding = finding
        for entry in left:
            entry.withdrawn = True
            entry.finding.ended = int(now) if entry.finding.ended is None else entry.finding.ended

    def forget(self, before: float, most: int) -> None:
        """Leave out what ended before a time (Unix time, s), and the oldest beyond so many."""
        kept = [entry for entry in self.entries if entry.finding.ended is None or entry.finding.ended >= before]
        over = [entry for entry in kept if entry.finding.ended is not None]
        gone = set(map(id, over[: max(0, len(kept) - most)]))
        self.entries = [entry for entry in kept if id(entry) not in gone]


def _free_name(finding: Finding, taken: Container[str]) -> str:
    """A finding's name, or a further one where it was told under that before that it is over."""
    return next(name for number in count() if (name := finding.name(number)) not in taken)


def due(book: Book, now: float) -> tuple[list[Watched], list[Watched]]:
    """What is to be told: what began and has not been told, and what was told and has ended.

    What follows from something else that lasts is not told while it does. What was over before anybody could be told is
    told as a whole, where that was not long ago.
    """
    held_back = book.held_back()
    begun, ended = [], []
    for entry in book.entries:
        finding = entry.finding
        if finding.ended is None:
            if not entry.told_begin and entry.id not in held_back:
                begun.append(entry)
        elif entry.told_begin and not entry.told_end:
            ended.append(entry)
        elif not entry.told_begin and not entry.told_end and not entry.withdrawn:
            if now - finding.ended <= LATE and not _followed(finding, book):
                begun.append(entry)
            else:
                entry.told_begin = entry.told_end = True
    return begun, ended


def _followed(finding: Finding, book: Book) -> bool:
    """Whether, while it lasted, it followed from something else."""
    return any(
        entry.finding.brings(finding)
        for entry in book.entries
        if entry.finding.location in (finding.location, FLEET)
        and entry.finding.began <= finding.last
        and (entry.finding.ended is None or entry.finding.ended >= finding.began)
    )
