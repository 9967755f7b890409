"""What probes say of a finding, at the time of a message: text for people, and no part of what is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from speedtest_logger.alerts.findings import Finding
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import SpeedtestError

if TYPE_CHECKING:
    from speedtest_logger.archive.read.diagnosis import Of

OF: dict[str, Of] = {"line_down": "answers", "loss": "loss", "latency": "latency"}
MOST = 20  # findings of one evaluation that are looked into: an archive that is cut off has all lines down
Words = Callable[[Finding], str]


def no_words(_: Finding) -> str:
    """Of findings that nobody looks into."""
    return ""


def words_of(layout: Layout, now: float, most: int = MOST) -> Words:
    """What probes say of a finding; nothing where there is no result, and nothing beyond so many findings."""
    known: dict[str, str] = {}

    def words(finding: Finding) -> str:
        if finding.id not in known:
            known[finding.id] = sentence(layout, finding, now) if len(known) < most else ""
        return known[finding.id]

    return words


def sentence(layout: Layout, finding: Finding, now: float) -> str:
    """The diagnosis of one finding in words; nothing where there is none."""
    if finding.rule not in OF:
        return ""
    # brings DuckDB, and most evaluations of a minute tell nothing
    from speedtest_logger.archive.read import diagnosis

    end = now if finding.ended is None else finding.last
    place = diagnosis.Place(finding.location, finding.node)
    try:
        return diagnosis.diagnosis(layout, place, finding.began, max(finding.began, end), OF[finding.rule]).sentence
    except (SpeedtestError, OSError, pa.ArrowException):  # a message is told without it
        return ""
