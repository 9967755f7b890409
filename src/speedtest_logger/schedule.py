"""Slots: when a node measures. The same formulas drive the timer, the container's loop and the archive's coverage.

A schedule divides the UTC day: slots are the moments whose Unix time is offset modulo interval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

DAY = 86_400
UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
SHORTEST = 60
GUARD_SECONDS = 2


class DoesNotFitError(ValueError):
    """The nodes of an uplink need more time than their interval has."""


def longest_fitting(claims: list[Claim]) -> int:
    """The longest time (s) that each claim's slots may take so that all of them fit; 0 where none does."""
    for length in range(min(claim.length for claim in claims), 0, -1):
        try:
            assign([replace(claim, length=length) for claim in claims], {})
        except DoesNotFitError:
            continue
        return length
    return 0


def parse_duration(text: str) -> int:
    """Seconds of a systemd-style time such as 90s, 15min, 1h, '1h 30min' or 1w. Raises ValueError."""
    parts = re.findall(r"(\d+)\s*([a-z]+)", text)
    if not parts or re.sub(r"(\d+)\s*([a-z]+)\s*", "", text.strip()) or any(unit not in UNITS for _, unit in parts):
        raise ValueError(f"'{text}' is not a time: write it like 90s, 15min, 1h 30min, 7d or 1w")
    return sum(int(count) * UNITS[unit] for count, unit in parts)


def check_interval(seconds: int) -> None:
    """Raises ValueError where an interval does not divide a day or is under a minute."""
    if seconds < SHORTEST or DAY % seconds:
        nearest = min((d for d in range(SHORTEST, DAY + 1) if DAY % d == 0), key=lambda d: abs(d - seconds))
        raise ValueError(
            f"{seconds} s does not divide a day into slots of at least {SHORTEST} s: nearest is {nearest} s"
        )


@dataclass(frozen=True)
class Schedule:
    """Slots every `interval` seconds, `offset` seconds after the start of each interval of the UTC day."""

    interval: int
    offset: int

    def slot_at(self, moment: float) -> int:
        """The last slot at or before a moment (Unix time, s)."""
        return math.floor((moment - self.offset) / self.interval) * self.interval + self.offset

    def next_after(self, moment: float) -> int:
        """The first slot after a moment (Unix time, s)."""
        return self.slot_at(moment) + self.interval

    def between(self, start: float, end: float) -> range:
        """All slots with start <= slot < end (Unix time, s)."""
        first = self.slot_at(start)
        return range(first if first >= start else first + self.interval, math.ceil(end), self.interval)

    def on_calendar(self) -> list[str]:
        """Systemd's OnCalendar expressions for these slots, as few as the day's pattern needs (systemd.time(7))."""
        return [
            f"*-*-* {_numbers(hours, 24)}:{_numbers(minutes, 60)}:{second:02d} UTC"
            for second, hours, minutes in self._patterns()
        ]

    def cron(self) -> str:
        """The crontab(5) expression for these slots, in UTC. Raises ValueError where cron cannot say them."""
        if (self.offset % self.interval) % 60 or self.interval % 60:
            raise ValueError(
                f"slots every {self.interval} s from second {self.offset} on: cron begins with full minutes, so both "
                "must be multiples of 60 s"
            )
        patterns = self._patterns()
        if len(patterns) > 1:
            raise ValueError(
                f"slots every {self.interval} s: cron cannot say that in one line; set an interval that divides an "
                "hour, such as 20min, or whole hours that divide a day, such as 6h"
            )
        [(_, hours, minutes)] = patterns
        return f"{_steps(minutes, 60)} {_steps(hours, 24)} * * *"

    def _patterns(self) -> list[tuple[int, tuple[int, ...], list[int]]]:
        """The day's slots as few triples: a second, hours, and the minutes of each of these hours."""
        hours_at: dict[tuple[int, int], list[int]] = {}
        for moment in range(self.offset % self.interval, DAY, self.interval):
            hours_at.setdefault((moment % 60, moment // 60 % 60), []).append(moment // 3600)
        minutes_at: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for (second, minute), hours in hours_at.items():
            minutes_at.setdefault((second, tuple(hours)), []).append(minute)
        return [(second, hours, sorted(minutes)) for (second, hours), minutes in sorted(minutes_at.items())]


def _numbers(numbers: Iterable[int], count: int) -> str:
    listed = list(numbers)
    return "*" if len(listed) == count else ",".join(f"{number:02d}" for number in listed)


def _steps(numbers: Sequence[int], count: int) -> str:
    """A field of crontab(5) for evenly spaced numbers that fill a round of `count`."""
    if len(numbers) == count:
        return "*"
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{numbers[0]}-{count - 1}/{numbers[1] - numbers[0]}"


@dataclass(frozen=True)
class Claim:
    """A node's wish for slots: every `interval` seconds, each taking `length` seconds of its uplink.

    `step`: its offset must be a multiple of that (s), as where cron starts it, which knows minutes only.
    """

    node: str
    uplink: str
    interval: int
    length: int
    step: int = 1


def stable_hash(text: str) -> int:
    """A number that is the same on every machine and in every run."""
    import hashlib  # OpenSSL with it: not for every start of a program

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def hour_margin(interval: int) -> int:
    """How far after the full hour (or the interval's start) the first slot may be: a tenth, a minute at most (s)."""
    return min(60, math.gcd(interval, 3600) // 10)


def overlap(first: tuple[Claim, int], second: tuple[Claim, int]) -> bool:
    """Whether two nodes' (claim, offset) ever measure at the same time."""
    (one, one_offset), (two, two_offset) = first, second
    period = math.gcd(one.interval, two.interval)
    ahead = (two_offset - one_offset) % period
    return ahead < one.length or period - ahead < two.length


def assign(claims: list[Claim], deployed: dict[str, Schedule]) -> dict[str, int]:
    """The offset (s) of every node.

    A node that is deployed at its interval keeps its offset, so nothing moves that need not; a new one takes the first
    place, from a stable hash of its name on, that is free of all others, deployed or new. What is deployed stays
    reserved even where its node is about to move: a run that does not reach every node can produce no overlap.
    Raises DoesNotFitError.
    """
    known = {claim.node: claim for claim in claims}
    taken: dict[str, list[tuple[Claim, int]]] = {}
    offsets: dict[str, int] = {}
    for node, schedule in deployed.items():
        if node not in known:
            continue
        claim = known[node]
        old = Claim(node, claim.uplink, schedule.interval, claim.length)
        places = taken.setdefault(claim.uplink, [])
        fits = schedule.interval == claim.interval and schedule.offset % claim.step == 0
        if fits and not any(overlap((claim, schedule.offset), other) for other in places):
            offsets[node] = schedule.offset
        places.append((old, schedule.offset))
    for claim in sorted(claims, key=lambda claim: -claim.step):  # who can go to few places is served first
        if claim.node not in offsets:
            places = taken.setdefault(claim.uplink, [])
            offsets[claim.node] = _free_place(claim, claims, places)
            places.append((claim, offsets[claim.node]))
    return offsets


def _free_place(claim: Claim, claims: list[Claim], places: list[tuple[Claim, int]]) -> int:
    others = [place for place in places if place[0].node != claim.node]
    for offset in _candidates(claim, [other for other in claims if other.uplink == claim.uplink]):
        if offset % claim.step == 0 and not any(overlap((claim, offset), other) for other in others):
            return offset
    sharing = sorted(other.node for other in claims if other.uplink == claim.uplink)
    raise DoesNotFitError(
        f"uplink '{claim.uplink}': {len(sharing)} nodes ({', '.join(sharing)}) need {claim.length} s each and do not "
        f"fit into {claim.interval} s{' from a full minute on' if claim.step > 1 else ''}"
    )


def _candidates(claim: Claim, sharing: list[Claim]) -> Iterator[int]:
    """Offsets to try: a packed grid from the node's hash on, then every second of the interval."""
    period = math.gcd(*(other.interval for other in sharing))
    length = max(other.length for other in sharing)
    length += -length % claim.step
    margin = hour_margin(period)
    cells, slack = divmod(period - margin, length)
    if cells:
        origin = margin + (stable_hash(claim.uplink) % (slack + 1))
        origin += -origin % claim.step
        count = cells * (claim.interval // period)
        for step in range(count):
            block, cell = divmod((stable_hash(claim.node) + step) % count, cells)
            yield block * period + origin + cell * length
    yield from range(hour_margin(claim.interval), claim.interval)


def next_free(now: float, length: int, own: Schedule, others: list[tuple[Schedule, int]]) -> float:
    """The first moment (Unix time, s) from `now` on that leaves `length` seconds free of the others' slots.

    `others` are those on the same uplink, each with the seconds that its slots take. Where they leave no such gap
    within the node's own interval, its own next slot is the moment: nobody else has that.
    """
    ends = [
        float(slot + takes)
        for other, takes in others
        for slot in other.between(now - takes, now + own.interval)
        if slot + takes > now
    ]
    for moment in sorted([now, *ends]):
        if all(
            other.slot_at(moment) + takes <= moment and other.next_after(moment) >= moment + length
            for other, takes in others
        ):
            return moment
    return float(own.next_after(now))
