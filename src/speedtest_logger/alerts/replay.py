"""What the rules would have found in a period that is over: the same judge, on the archive as it is now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speedtest_logger.alerts import reading
from speedtest_logger.alerts.findings import Finding, duration
from speedtest_logger.alerts.judge import Line, Test
from speedtest_logger.alerts.progress import HORIZON
from speedtest_logger.alerts.reading import Known
from speedtest_logger.archive.format.layout import Layout

DAY = 86_400
MONTH = 30.44 * DAY


@dataclass(frozen=True)
class Replayed:
    """A line's findings of the period, and which of them are not told: they follow from others."""

    location: str
    findings: list[Finding]
    silent: set[str]
    tests: int


def replay(layout: Layout, known: Known, start: float, end: float, late: float) -> Replayed:
    """Judge a line from a time to another (Unix times, s), with what came before so that it is known how it stood.

    Raises DamagedFileError.
    """
    before = start - HORIZON
    found = reading.rows(layout, known.location, before, end + DAY)
    return of_tests(known, reading.tests(known, found, before, end, late), start)


def of_tests(known: Known, tests: list[Test], start: float) -> Replayed:
    """What a line's tests make it find that lasted at a time (Unix time, s) or began after it."""
    line = Line(known.location, known.limits).take(tests)
    made = [finding for finding in line.found if finding.ended is None or finding.ended >= start]
    return Replayed(known.location, made, {f.id for f in made if _follows(f, made)}, len(tests))


def _follows(finding: Finding, made: Iterable[Finding]) -> bool:
    """Whether it lasted only while something lasted that it follows from."""
    for other in made:
        until, mine = (float("inf") if f.ended is None else f.ended for f in (other, finding))
        is_within = other.began <= finding.fired and mine <= until + 1
        if other is not finding and is_within and other.brings(finding):
            return True
    return False


def summary(found: list[Replayed], seconds: float) -> str:
    """How often somebody would have been told, by rule, and for a line and month."""
    told = [f for each in found for f in each.findings if f.id not in each.silent]
    by_rule: dict[str, int] = {}
    for finding in told:
        by_rule[finding.rule] = by_rule.get(finding.rule, 0) + 1
    months = max(seconds / MONTH, 1e-9) * max(1, len(found))
    listed = ", ".join(f"{rule} {count}" for rule, count in sorted(by_rule.items(), key=lambda item: -item[1]))
    tests = sum(each.tests for each in found)
    return (
        f"{len(told)} findings of {len(found)} lines in {duration(seconds)} ({tests:,} slots): {listed or 'none'}; "
        f"{len(told) / months:.2f} a line and month"
    )
