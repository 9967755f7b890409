"""Why a finding was made: the slots around it, each with what was seen and what it counted for."""

from __future__ import annotations

from typing import Any

from speedtest_logger.alerts import reading
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.judge import Test
from speedtest_logger.alerts.reading import Known
from speedtest_logger.alerts.rules import RULES, VALUES
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.record import utc_text

OUTCOMES = ("measured", "line failed", "failed", "skipped", "missed", "left the inventory")
AROUND = 3 * 3600  # s before and after
MOST_SLOTS = 400
DAY = 86_400


def slots(layout: Layout, known: Known, finding: Finding, now: float, late: float) -> list[dict[str, Any]]:
    """The slots of a finding's nodes from 3 h before it to 3 h after it, as flat rows. Raises DamagedFileError."""
    start = finding.began - AROUND
    end = min(now, (now if finding.ended is None else finding.ended) + AROUND)
    needed = start - 33 * DAY if finding.rule == "below_usual" else start
    found = reading.rows(layout, known.location, needed, end + DAY)
    tests = [test for test in reading.tests(known, found, needed, end, late) if test.at >= start]
    return [_row(test, finding) for test in tests[:MOST_SLOTS]]


def _row(test: Test, finding: Finding) -> dict[str, Any]:
    value = test.values[VALUES.index(finding.rule)] if finding.rule in VALUES else None
    marks = [
        name
        for name, at in (("begins", finding.began), ("fires", finding.fired), ("ends", finding.ended))
        if at == test.at and finding.node in (None, test.node)
    ]
    return {
        "slot": utc_text(test.at)[:19] + "Z",
        "node": test.node,
        "outcome": OUTCOMES[test.outcome],
        "reason": test.reason or "",
        **({"value": "" if value is None else f"{value:.1f}"} if finding.rule in VALUES else {}),
        "finding": ", ".join(marks),
    }


def words(finding: Finding, limits: dict[str, float] | None, probes: str = "") -> str:
    """The rule, its limits as they are now, what it says of this finding, and what probes say of it."""
    rule = RULES[finding.rule]
    said = f"probes: {probes}\n" if probes else ""
    shown = ", ".join(f"{name} {value:g} {rule.parameters[name].unit}" for name, value in (limits or {}).items())
    return (
        f"{finding.subject}: {rule.title}: {finding.sentence()}\n{said}\n"
        f"fires: {rule.fires}\nends:  {rule.ends}\nlimits now: {shown or 'none' if limits is not None else 'it is off'}"
    )
