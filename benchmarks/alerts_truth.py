"""What the rules find of a year's planted faults, and how often they cry wolf, beside a plain threshold.

The threshold is what scripts and dashboards have: a message when one test is below 70 % of the plan or fails, and the
next good one ends it. A message that meets no planted fault is false, and so is each further one of the same fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

if __package__:
    from benchmarks.alerts_planted import DAY, FAILED, HOUR, OK, SEED, START, Fault, Line, lines
else:
    from alerts_planted import DAY, FAILED, HOUR, OK, SEED, START, Fault, Line, lines

from speedtest_logger.alerts import reading, replay
from speedtest_logger.alerts.replay import MONTH
from speedtest_logger.record import utc_text

DAYS = 365
FALSE_LIMIT = 1.0  # messages a line and month
PERCENT = 70  # the plain threshold's
SLACK = HOUR  # by which a message may be later than what it tells of
KIND = {  # what a plain threshold would call it
    "below_plan": "slow",
    "below_usual": "slow",
    "line_down": "failed",
    "failing_engine": "failed",
    "unstable": "failed",
}

Message = tuple[str, str | None, float, float]  # rule, node, from, until


@dataclass
class Score:
    """By rule: faults planted above their limit, found, and messages that are false; and those of each line."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    of_line: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[str, Fault]] = field(default_factory=list)
    wrong: list[tuple[str, Message]] = field(default_factory=list)

    def add(self, line: Line, messages: Iterable[Message]) -> None:
        """Count a line's."""
        seen: set[Fault] = set()
        for message in messages:
            told = [fault for fault in line.faults if _tells_of(message, fault)]
            new = [fault for fault in told if fault not in seen or message[0] in fault.also]
            seen.update(new)
            if not new:
                self.false[message[0]] += 1
                self.of_line[line.name] += 1
                self.wrong.append((line.name, message))
        for fault in line.faults:
            if fault.above:
                self.planted[fault.rule] += 1
                self.found[fault.rule] += fault in seen
                if fault not in seen:
                    self.missed.append((line.name, fault))

    def rate(self, months: float) -> float:
        """False messages a line and month."""
        return sum(self.false.values()) / months


def _tells_of(message: Message, fault: Fault) -> bool:
    rule, node, begun, ended = message
    return (
        fault.above
        and (rule in (fault.rule, *fault.also) or rule == KIND.get(fault.rule))
        and (node == fault.node or rule in KIND.values())
        and begun < fault.end + SLACK
        and ended > fault.start
    )


def by_rules(line: Line) -> list[Message]:
    """What is told of a line, by its rules: from records as the archive has them."""
    known = line.known()
    tests = reading.tests(known, line.records(), START, line.end, line.end)
    judged = replay.of_tests(known, tests, START)
    return [
        (f.rule, f.node, f.began, line.end if f.ended is None else f.ended)
        for f in sorted(judged.findings, key=lambda each: each.fired)
        if f.id not in judged.silent
    ]


def by_threshold(line: Line) -> Iterator[Message]:
    """What a plain threshold tells of a line's nodes."""
    for node, slots in line.nodes.items():
        heard = np.flatnonzero((slots.outcome == OK) | (slots.outcome == FAILED))
        failed = slots.outcome[heard] == FAILED
        for kind, wrong in (("failed", failed), ("slow", ~failed & (slots.speed[heard] < PERCENT))):
            edges = np.flatnonzero(np.diff(np.concatenate(([False], wrong, [False])).astype("i1")))
            for begin, after in edges.reshape(-1, 2).tolist():
                yield kind, node, float(slots.at[heard[begin]]), float(slots.at[heard[min(after, len(heard) - 1)]])


def scores(days: int, seed: int = SEED) -> tuple[Score, Score, int]:
    """Of the rules and of the plain threshold, and how many lines there are."""
    ours, theirs, count = Score(), Score(), 0
    for line in lines(days, seed):
        count += 1
        ours.add(line, by_rules(line))
        if not line.rules:
            theirs.add(line, by_threshold(line))
    return ours, theirs, count


def truth(goals: Any, seed: int = SEED) -> None:
    """Print what is found, rule by rule, and how often both cry wolf."""
    ours, theirs, count = scores(DAYS, seed)
    months, known = count * DAYS * DAY / MONTH, count - 1  # the optional rules' line has no threshold to compare with
    print(f"\n{count} lines, {DAYS} days, seed {seed}: {sum(ours.planted.values())} faults above their limits")
    print(f"{'rule':<16}{'planted':>8}{'found':>8}{'false':>8}")
    for rule in sorted({*ours.planted, *ours.false}):
        print(f"{rule:<16}{ours.planted[rule]:>8}{ours.found[rule]:>8}{ours.false[rule]:>8}")
    found, planted = sum(theirs.found.values()), sum(theirs.planted.values())
    mine, plain = ours.rate(months), theirs.rate(months * known / count)
    worst, most = max(ours.of_line.items(), key=lambda item: item[1], default=("none", 0))
    print(f"a plain threshold: {found} of {planted} found, {plain:.0f} false messages a line and month")
    print(f"the rules: {mine / plain:.5f} times as many; most of {worst}: {most / (DAYS * DAY / MONTH):.1f} a month")
    for name, fault in ours.missed:
        print(f"missed: {fault.rule} of {fault.node or name} from {utc_text(fault.start)} to {utc_text(fault.end)}")
    goals.say("planted faults that were missed", len(ours.missed), 0, "faults")
    goals.say("false messages a line and month", mine, FALSE_LIMIT, "messages")
