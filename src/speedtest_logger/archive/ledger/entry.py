"""What a line of the manifest says of one file: what it holds now, and what change brought it there.

On disk an entry is {"sha256", "bytes", "rows", "days"} with marks of its change, or null where the file is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from speedtest_logger.archive.format.facts import Facts


@dataclass(frozen=True)
class Made:
    """Nothing was there before."""


@dataclass(frozen=True)
class Rewritten:
    """Another file took its place; `was` is the SHA-256 of the one before."""

    was: str


@dataclass(frozen=True)
class Pruned:
    """The file went by right."""


@dataclass(frozen=True)
class Accepted:
    """A person had the chain go on from the file as it was found, or from there being none."""


@dataclass(frozen=True)
class Restored:
    """It came back from a backup; `was` is the SHA-256 of what lay there, None where nothing did."""

    was: str | None


Change = Made | Rewritten | Pruned | Accepted | Restored


@dataclass(frozen=True)
class Entry:
    """A file after one change, or after those of a day; `facts` is None where it is gone.

    `altered` is None, or the file was not always as the line before had left it: then it has days, each with the time
    (ISO 8601, UTC) at which it was written again on what nothing proved.
    """

    facts: Facts | None
    changes: tuple[Change, ...]
    altered: dict[str, str] | None = None

    @property
    def is_new(self) -> bool:
        """Whether nothing was there before its last change that says so."""
        return self._marks().get("new") is True

    @property
    def was(self) -> str | None:
        """The SHA-256 before its first change that names one."""
        was: str | None = self._marks().get("was")
        return was

    @property
    def follows_anything(self) -> bool:
        """Whether it stands on nothing that earlier lines say: what was before went by right, or was accepted."""
        return any(isinstance(change, (Pruned, Accepted)) for change in self.changes)

    @property
    def accepted(self) -> bool:
        """Whether a person has accepted it."""
        return any(isinstance(change, Accepted) for change in self.changes)

    def _marks(self) -> dict[str, Any]:
        marks: dict[str, Any] = {}
        for change in self.changes:
            if isinstance(change, Rewritten):
                marks.setdefault("was", change.was)
            elif isinstance(change, Restored) and change.was is not None:
                marks["new"] = False
                marks.setdefault("was", change.was)
            elif not isinstance(change, Pruned):
                marks["new"] = True
                if isinstance(change, Accepted):
                    marks["accepted"] = True
            if self.changes[0] == Pruned() and change != Pruned():
                marks["pruned"] = True
        return marks

    def to_json(self) -> dict[str, Any] | None:
        """As it lies on disk."""
        if self.facts is None:
            return None
        facts = self.facts
        altered = {} if self.altered is None else {"altered": self.altered}
        held = {"sha256": facts.sha256, "bytes": facts.size, "rows": facts.rows, "days": facts.days}
        return {**held, **self._marks(), **altered}

    @classmethod
    def of_json(cls, content: dict[str, Any] | None) -> Entry:
        """What lies on disk. Raises KeyError, TypeError or ValueError for what is no entry."""
        if content is None:
            return cls(None, (Pruned(),))
        changes: list[Change] = [Pruned()] if content.get("pruned") else []
        if content.get("accepted"):
            changes.append(Accepted())
        elif content.get("new"):
            changes.append(Made())
        if (was := content.get("was")) is not None:
            changes.append(Restored(was) if content.get("new") is False else Rewritten(was))
        days = {day: (rows, digest) for day, (rows, digest) in content["days"].items()}
        facts = Facts(content["sha256"], content["bytes"], content["rows"], days)
        return cls(facts, tuple(changes), content.get("altered"))

    def after(self, before: Entry | None, at: str) -> Entry:
        """What this entry and the one before it amount to; `at` is when this one was written."""
        if self.facts is None or before is None or self.accepted:
            return self
        if before.facts is None:  # what was before is forgotten by right
            return self if self.changes[:1] == (Pruned(),) else replace(self, changes=(Pruned(), *self.changes))
        if self.follows_anything:
            return self
        days = {**before.facts.days, **self.facts.days}
        altered = {**(before.altered or {}), **(self.altered or {})}
        as_it_was_left = not self.is_new and self.was in (None, before.facts.sha256)
        if not as_it_was_left:
            known = before.facts.days
            altered |= {day: at for day, now in self.facts.days.items() if known.get(day, now) != now}
        said = not as_it_was_left or before.altered is not None or self.altered is not None
        return Entry(replace(self.facts, days=days), _joined(before, self), altered if said else None)


def _joined(before: Entry, after: Entry) -> tuple[Change, ...]:
    """The changes of both, less those that mark nothing that is not marked yet."""
    both = before.changes
    for change in after.changes:
        if not (isinstance(change, Rewritten) and before.was is not None) and change not in both[-1:]:
            both = (*both, change)
    return both
