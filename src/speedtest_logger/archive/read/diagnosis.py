"""What probes say of a time in which a line did badly: whose fault it was, and from when to when, to the minute.

Where the gateway answers and the internet does not, it is the line or the provider; where the gateway does not answer,
the node's own network; where all answered, the engine or its server. It is said at the time of asking, from the results
that are there by then: nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import milliseconds
from speedtest_logger.archive.read import probes
from speedtest_logger.archive.read.by_day import moment
from speedtest_logger.archive.read.probes import OF_SERIES, OF_SPANS, ON_FAILURE, Integers, Span, Wanted
from speedtest_logger.record import utc_text

Cause = Literal["own_network", "line", "engine", "unknown"]
Of = Literal["answers", "loss", "latency"]
GATEWAY = ("ping", "gateway")
AROUND = 3_600  # s before and after in which a failure may have begun and ended
SLACK = 90  # s: a test begins before it fails, and probes keep away from tests
USUAL = 86_400  # s before: what delays are compared with
LOSS = 1.0  # percent and more are a loss
SLOWER, MORE_MS = 1.5, 5.0  # times the usual delay and so many ms more are slow
WORDS: dict[Cause, str] = {
    "own_network": "the node's own network",
    "line": "the line or the provider",
    "engine": "the engine or its server",
    "unknown": "whose fault it is cannot be said",
}
ORDER: tuple[Cause, ...] = ("line", "own_network", "engine", "unknown")  # that several nodes see: what counts first


@dataclass(frozen=True)
class Diagnosis:
    """Whose fault it was, in a sentence, with the edges of the failure (Unix times, s; no `until`: it lasts).

    Of `unknown` without a sentence there are no results.
    """

    cause: Cause
    sentence: str
    start: float | None = None
    until: float | None = None


NOTHING = Diagnosis("unknown", "")
Intervals = list[tuple[float, float]]
Target = tuple[str, ...]  # probe and target


@dataclass(frozen=True)
class Place:
    """A line, or one node of it."""

    location: str
    node: str | None = None

    def wanted(self, start: float, end: float) -> Wanted:
        """Its results of a period."""
        nodes = None if self.node is None else frozenset((self.node,))
        return Wanted(start, end, nodes, self.location)


def diagnosis(layout: Layout, place: Place, start: float, end: float, of: Of = "answers") -> Diagnosis:
    """What probes say of a period (Unix times, s) in which tests failed, or had losses or delays."""
    before = USUAL if of == "latency" else AROUND
    wanted = place.wanted(start - before, end + AROUND)
    return of_rows(probes.results(layout, wanted, (*OF_SERIES, *OF_SPANS)).rows, start, end, of)


def of_rows(rows: pa.Table, start: float, end: float, of: Of = "answers") -> Diagnosis:
    """The same from the results of a line around that time."""
    rows = rows.filter(pc.not_equal(rows["probe"], ON_FAILURE))
    look = {"answers": _of_answers, "loss": _of_loss, "latency": _of_latency}[of]
    nodes = sorted(pc.unique(rows["node"]).to_pylist())
    found = [look(rows.filter(pc.equal(rows["node"], node)), start, end) for node in nodes]
    return min(found, key=lambda each: (ORDER.index(each.cause), not each.sentence), default=NOTHING)


def of_spans(rows: pa.Table, spans: Sequence[Span]) -> list[Diagnosis]:
    """What results of a line say of each span in which a target of a node did not answer."""
    rows = rows.filter(pc.not_equal(rows["probe"], ON_FAILURE))
    nodes = {span.node for span in spans}
    answers = {node: _Answers.of(rows.filter(pc.equal(rows["node"], node))) for node in nodes}
    return [answers[span.node].during(span.start, span.until) for span in spans]


def during(rows: pa.Table, start: float, end: float) -> pa.Table:
    """The results that speak of a period."""
    return rows.filter(
        pc.and_(pc.greater_equal(rows["finished_at"], moment(start)), pc.less_equal(rows["started_at"], moment(end)))
    )


def _is_gateway(rows: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.equal(rows["probe"], GATEWAY[0]), pc.equal(rows["target"], GATEWAY[1]))


@dataclass(frozen=True)
class _Answers:
    """Who answered a node when, looked up once for any number of periods.

    `begun`, `finished` (Unix times, ms) and `of_target` (a place in `targets`) are those of each result.
    """

    begun: Integers
    finished: Integers
    of_target: Integers
    targets: list[Target]
    failed: dict[Target, Intervals]

    @classmethod
    def of(cls, rows: pa.Table) -> _Answers:
        """The results of one node."""
        names = pc.binary_join_element_wise(rows["probe"], rows["target"], "\x00").combine_chunks().dictionary_encode()
        targets = [tuple(text.split("\x00")) for text in names.dictionary.to_pylist()]
        failed: dict[Target, Intervals] = {target: [] for target in targets}
        for span in probes.spans(rows):
            failed[span.probe, span.target].append((span.start, span.until))
        begun, finished = (milliseconds(rows[name]) for name in ("started_at", "finished_at"))
        return cls(begun, finished, names.indices.to_numpy(), targets, failed)

    def during(self, start: float, end: float) -> Diagnosis:
        """What they say of a period (Unix times, s)."""
        start, end = start - SLACK, end + SLACK
        there = np.unique(self.of_target[(self.finished >= start * 1000) & (self.begun <= end * 1000)])
        if not len(there):
            return NOTHING
        failed = {
            self.targets[place]: [
                (first, last) for first, last in self.failed[self.targets[place]] if first <= end and last >= start
            ]
            for place in there
        }
        gateway = failed.pop(GATEWAY, None)
        down = _all_of(failed.values()) if failed else gateway or []
        if not down:
            seen = "gateway and internet" if gateway is not None and failed else "all that was probed"
            return Diagnosis("engine", f"{seen} answered all the time: {WORDS['engine']}")
        return _of_failure(down, gateway, self.finished.max() / 1000)


def _of_failure(down: Intervals, gateway: Intervals | None, last: float) -> Diagnosis:
    """Whose fault it was that nothing but the gateway, or not even that, answered; `last`: until when it is known."""
    start, until = down[0][0], None if down[-1][1] >= last - 1 else down[-1][1]
    when = _when(start, until)
    if gateway is None:
        said = f"nothing that was probed answered {when}; the gateway was not probed"
        return Diagnosis("unknown", said, start, until)
    if _length(_both(down, gateway)) * 2 >= _length(down):
        said = f"the gateway did not answer {when}: {WORDS['own_network']}"
        return Diagnosis("own_network", said, start, until)
    said = f"the gateway answered and the internet did not {when}: {WORDS['line']}"
    return Diagnosis("line", said, start, until)


def _of_answers(rows: pa.Table, start: float, end: float) -> Diagnosis:
    return _Answers.of(rows).during(start, end)


def _when(start: float, until: float | None) -> str:
    first = utc_text(start)
    if until is None:
        return f"since {first[:10]} {first[11:19]} UTC"
    last = utc_text(until)
    day = "" if last[:10] == first[:10] else f"{last[:10]} "
    return f"from {first[:10]} {first[11:19]} to {day}{last[11:19]} UTC"


def _all_of(several: Iterable[Intervals]) -> Intervals:
    """When all of them are so at once."""
    first, *others = several
    for other in others:
        first = _both(first, other)
    return first


def _both(one: Intervals, other: Intervals) -> Intervals:
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return sorted((start, end) for start, end in pairs if start <= end)


def _length(intervals: Intervals) -> float:
    return sum(max(1.0, end - start) for start, end in intervals)


def _halves(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The gateway's results, and the others."""
    gateway = _is_gateway(rows)
    return rows.filter(gateway), rows.filter(pc.invert(gateway))


def _of_loss(rows: pa.Table, start: float, end: float) -> Diagnosis:
    shares = []
    for half in _halves(during(rows, start - SLACK, end + SLACK)):
        sent, lost = (pc.sum(half[name]).as_py() or 0 for name in ("sent", "lost"))
        shares.append(100 * lost / sent if sent else None)
    gateway, internet = shares
    if internet is None:
        return NOTHING
    if gateway is None:
        return Diagnosis("unknown", f"probes lost {internet:.1f} %; the gateway was not probed")
    said = f"the gateway lost {gateway:.1f} % and the internet {internet:.1f} % of what was sent"
    cause: Cause = "engine" if internet < LOSS else "own_network" if gateway * 2 >= internet else "line"
    return Diagnosis(cause, f"{said}: {WORDS[cause]}")


def _of_latency(rows: pa.Table, start: float, end: float) -> Diagnosis:
    pairs = []
    for half in _halves(rows):
        before = half.filter(pc.less(half["finished_at"], moment(start)))
        pairs.append([_median(part) for part in (before, during(half, start - SLACK, end + SLACK))])
    (usual_gateway, gateway), (usual, internet) = pairs
    if internet is None or usual is None:
        return NOTHING
    said = f"probes took {internet:.0f} ms, {usual:.0f} ms the day before"
    if internet <= usual * SLOWER + MORE_MS:
        return Diagnosis("engine", f"{said}: {WORDS['engine']}")
    if gateway is None or usual_gateway is None:
        return Diagnosis("unknown", f"{said}; the gateway was not probed")
    cause: Cause = "own_network" if (gateway - usual_gateway) * 2 >= internet - usual else "line"
    return Diagnosis(cause, f"{said}, the gateway {gateway:.0f} ms: {WORDS[cause]}")


def _median(rows: pa.Table) -> float | None:
    values = rows["median_ms"].drop_null().to_numpy()
    return float(np.median(values)) if len(values) else None
