"""What probes found of a line in a period, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import diagnosis, probes
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.probes import OF_SERIES, OF_SPANS, Curve, Span, Summary, Wanted

MOST_FAILURES = 100  # that are looked into


@dataclass(frozen=True)
class Failure:
    """A time in which a target did not answer, and what all probes of its node then say."""

    span: Span
    diagnosis: str


@dataclass(frozen=True)
class Probed:
    """A line's targets in a period: each in short and as a curve, and the newest failures, newest first.

    `ever`: some node of the fleet has reported at all. `left_out` counts older failures.
    """

    ever: bool
    summaries: list[Summary]
    curves: list[Curve]
    failures: list[Failure]
    left_out: int

    def to_chart(self) -> list[dict[str, Any]]:
        """The curves as the browser draws them."""
        return [
            {
                **vars(curve),
                "failed": [[f.span.start, f.span.until] for f in self.failures if _is_of(f.span, curve)],
            }
            for curve in self.curves
        ]


def _is_of(span: Span, curve: Curve) -> bool:
    return (span.node, span.probe, span.target) == (curve.node, curve.probe, curve.target)


def probed(layout: Layout, within: tuple[float, float], location: str, zone: Zone) -> Probed:
    """What a line's probes found. Raises OSError."""
    if not any(layout.probes.glob("year=*")):
        return Probed(False, [], [], [], 0)
    start, end = within
    found = probes.results(layout, Wanted(start, end, location=location), (*OF_SERIES, *OF_SPANS)).rows
    failed = probes.spans(found)
    newest = failed[-MOST_FAILURES:][::-1]
    return Probed(
        True,
        probes.summaries(found, failed),
        probes.curves(found, probes.grain_of(end - start), zone),
        [Failure(span, said.sentence) for span, said in zip(newest, diagnosis.of_spans(found, newest), strict=True)],
        len(failed) - len(newest),
    )
