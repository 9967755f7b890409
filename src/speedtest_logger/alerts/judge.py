"""judge: a line's tests, in the order of their slots, to findings.

Nothing but these decides: no clock, no order of arrival. Who has all tests of a year, and who had them one by one,
finds the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from speedtest_logger.alerts.findings import Finding, of_json
from speedtest_logger.alerts.rules import LOW_IS_BAD, POINTS, SHARE, VALUES, Limited
from speedtest_logger.record import utc_text

MEASURED, LINE_FAILED, FAILED, SKIPPED, MISSED, GONE = range(6)
OF_THE_LINE = ("no_route", "dns_failed", "server_unreachable")
DAY = 86_400
UNSTABLE = ("line_down", *VALUES)  # what is counted as changes


class Test(NamedTuple):
    """What became of a slot (Unix time, s) of a node; `values` as VALUES: % of plan, % of the usual, ms, %, ms.

    A value is None where it was not measured or says nothing: the line was busy, or another engine answered. `used`:
    the bytes of the test, as a percentage of its node's budget of a month. GONE: nothing is expected of the node any
    more.
    """

    at: int
    node: str
    outcome: int
    reason: str | None = None
    values: tuple[float | None, ...] = (None,) * len(VALUES)
    used: float = 0


@dataclass
class Run:
    """How a node's tests stand against a limit: in a row beyond it, and well within it.

    `against`: how many tests of each other node of the line were well within it, none beyond, since this one's are.
    """

    bad: int = 0
    well: int = 0
    is_bad: bool = False
    since: int = 0
    against: dict[str, int] = field(default_factory=dict)
    last: int = 0
    worst: float = 0
    count: int = 0


@dataclass
class Node:
    """What is remembered of a node: its slots in a row without a measurement, of each kind, and since when."""

    last: int = 0  # its last slot
    measured: int = 0  # its last slot that measured
    down: int = 0  # since anybody of the line measured
    neutral: int = 0
    missed: int = 0
    missed_since: int = 0
    failed: int = 0
    failed_since: int = 0
    day: int = 0
    slots: int = 0
    lost: int = 0
    month: str = ""
    used: float = 0
    runs: dict[str, Run] = field(default_factory=dict)


def order_of(test: Test) -> tuple[int, str]:
    """The order in which a line's tests are judged."""
    return test.at, test.node


class Line:
    """A line as it is judged, slot by slot. `found` has the findings that it began or ended with since it was made."""

    def __init__(self, location: str, limits: Mapping[str, Limited]) -> None:
        self.location = location
        self.limits = limits
        self.nodes: dict[str, Node] = {}
        self.down_since = 0
        self.reason: str | None = None
        self.changes: list[tuple[int, str, str | None]] = []
        self.open: dict[tuple[str, str | None], Finding] = {}
        self.found: list[Finding] = []

    # what is kept between two evaluations

    def to_json(self) -> dict[str, Any]:
        """As `of_json` reads it."""
        return {
            "nodes": {name: asdict(node) for name, node in self.nodes.items()},
            "down_since": self.down_since,
            "reason": self.reason,
            "changes": self.changes,
            "open": [finding.to_json() for finding in self.open.values()],
        }

    @classmethod
    def of_json(cls, location: str, limits: Mapping[str, Limited], content: dict[str, Any]) -> Line:
        """A line as it was kept. Raises TypeError, KeyError, AttributeError for what is none."""
        line = cls(location, limits)
        for name, kept in content["nodes"].items():
            runs = {rule: Run(**{**run, "against": dict(run["against"])}) for rule, run in kept["runs"].items()}
            line.nodes[name] = Node(**{**kept, "runs": runs})
        line.down_since, line.reason = content["down_since"], content["reason"]
        line.changes = [(int(at), str(rule), node) for at, rule, node in content["changes"]]
        for finding in map(of_json, content["open"]):
            line.open[finding.rule, finding.node] = finding
            line.found.append(finding)
        return line

    # what is judged

    def take(self, tests: Iterable[Test]) -> Line:
        """Judge tests, which are in order."""
        for test in tests:
            self._step(test)
        return self

    def _step(self, test: Test) -> None:
        if test.outcome == GONE:
            self._gone(test)
            return
        node = self.nodes.setdefault(test.node, Node())
        node.last = test.at
        self._count(test, node)
        if test.outcome == MEASURED:
            self._measured(test, node)
        elif test.outcome == SKIPPED:
            node.neutral += 1
            self._heard(test, node)
        elif test.outcome == MISSED:
            self._missed(test, node)
        else:
            self._failed(test, node)
        self._settle(test.at)

    def _limit(self, rule: str, node: str) -> dict[str, float] | None:
        return self.limits.get(node, {}).get(rule)

    def _measured(self, test: Test, node: Node) -> None:
        self._heard(test, node)
        node.measured, node.failed, node.neutral = test.at, 0, 0
        self._end("failing_engine", test.node, test.at)
        if self.down_since:
            self.down_since, self.reason = 0, None
            for other in self.nodes.values():
                other.down = 0
            if self._end("line_down", None, test.at):
                for other in self.nodes.values():  # what they missed meanwhile was the line's fault
                    other.missed = other.failed = 0
        for name, other in self.nodes.items():
            if other.missed and name != test.node:
                self._judge_silence(test.at, name, other)
        for rule, value in zip(VALUES, test.values, strict=True):
            if value is not None and (limit := self._limit(rule, test.node)):
                self._compare(test, rule, value, limit, node.runs.setdefault(rule, Run()))

    def _heard(self, test: Test, node: Node) -> None:
        node.missed = 0
        self._end("silent_node", test.node, test.at)

    def _missed(self, test: Test, node: Node) -> None:
        if not node.missed:
            node.missed_since = test.at
        node.missed += 1
        self._count_down(test, node, "missed")
        if not self._is_open("line_down", None):
            self._judge_silence(test.at, test.node, node)

    def _failed(self, test: Test, node: Node) -> None:
        self._heard(test, node)
        if not node.failed:
            node.failed_since = test.at
        node.failed += 1
        if test.outcome == LINE_FAILED:
            self._count_down(test, node, str(test.reason))
        else:
            node.neutral += 1
        self._judge_engine(test, node)

    def _count_down(self, test: Test, node: Node, reason: str) -> None:
        """A slot that speaks against the line."""
        node.down += 1
        node.neutral = 0
        self.down_since = self.down_since or test.at
        if reason != "missed" or self.reason is None:
            self.reason = reason
        limit = self._limit("line_down", test.node)
        if not limit:
            return
        say = [other for other in self.nodes.values() if other.neutral < limit["slots"]]
        if max(other.down for other in say) >= limit["slots"] and all(other.down for other in say):
            finding = self._begin("line_down", None, self.down_since, test.at)
            finding.count = max(other.down for other in say)
            finding.nodes, finding.reason = len(say), self.reason
            for other in self.nodes.values():
                other.lost = max(0, other.lost - other.missed) if finding.fired == test.at else other.lost

    def _judge_silence(self, at: int, name: str, node: Node) -> None:
        limit = self._limit("silent_node", name)
        speaks = any(other.measured > node.missed_since for other in self.nodes.values() if other is not node)
        if limit and node.missed >= limit["slots"] and (speaks or self._is_open("silent_node", name)):
            is_new = not self._is_open("silent_node", name)
            finding = self._begin("silent_node", name, node.missed_since, at)
            finding.count = node.missed
            node.lost = max(0, node.lost - (node.missed if is_new else 1))

    def _judge_engine(self, test: Test, node: Node) -> None:
        limit = self._limit("failing_engine", test.node)
        if not limit or node.failed < limit["slots"]:
            return
        others = (other for other in self.nodes.values() if other is not node)
        if test.outcome == FAILED or any(other.measured > node.failed_since for other in others):
            finding = self._begin("failing_engine", test.node, node.failed_since, test.at)
            finding.count, finding.reason = node.failed, test.reason

    def _compare(self, test: Test, rule: str, value: float, limit: dict[str, float], run: Run) -> None:
        """Count a test against a limit, and see what all nodes of the line say together."""
        is_low = rule in LOW_IS_BAD
        least = limit["percent"] if "percent" in limit else limit["ms"]
        beyond = value < least if is_low else value > least
        within = value >= least + POINTS if is_low else value <= least * SHARE
        run.last = test.at
        if beyond:
            if not run.bad and not run.is_bad:
                run.since, run.worst, run.count, run.against = test.at, value, 0, {}
            run.worst = min(run.worst, value) if is_low else max(run.worst, value)
            run.bad, run.well, run.count = run.bad + 1, 0, run.count + 1
            run.is_bad = run.is_bad or run.bad >= limit["tests"]
        else:
            run.bad, run.well = 0, run.well + 1 if within else 0
            if run.is_bad and run.well >= limit["clear"]:
                run.is_bad = False
                self._end(rule, test.node, test.at)
        if beyond or within:
            for other in self.nodes.values():
                if (theirs := other.runs.get(rule)) and theirs is not run:
                    theirs.against[test.node] = 0 if beyond else theirs.against.get(test.node, 0) + 1
        self._judge_together(test.at, rule, is_low=is_low)

    def _judge_together(self, at: int, rule: str, *, is_low: bool) -> None:
        runs = {name: node.runs[rule] for name, node in self.nodes.items() if rule in node.runs}
        bad = {name: run for name, run in runs.items() if run.is_bad}
        if self._is_open(rule, None) and all(self._is_alone(rule, name, run) for name, run in bad.items()):
            self._end(rule, None, at)
        for name, run in bad.items():
            others = [other for other in runs.values() if other is not run and other.last >= run.since]
            if all(other.is_bad for other in others):
                self._bear_out(self._begin(rule, None, min(r.since for r in bad.values()), at), bad, is_low=is_low)
                return
            is_slow = run.bad >= (self._limit(rule, name) or {}).get("tests", 1)
            is_own = is_slow and self._is_alone(rule, name, run) and not self._is_open(rule, None)
            if is_own or self._is_open(rule, name):
                self._bear_out(self._begin(rule, name, run.since, at), {name: run}, is_low=is_low)

    def _is_alone(self, rule: str, name: str, run: Run) -> bool:
        """Whether another node of the line is well for so long that what is wrong with this one is its own."""
        limit = self._limit(rule, name) or {}
        return any(count >= limit.get("tests", 1) + limit.get("clear", 1) for count in run.against.values())

    @staticmethod
    def _bear_out(finding: Finding, runs: dict[str, Run], *, is_low: bool) -> None:
        finding.worst = (min if is_low else max)(run.worst for run in runs.values())
        finding.count, finding.nodes = sum(run.count for run in runs.values()), len(runs)

    def _count(self, test: Test, node: Node) -> None:
        """Of its day (UTC) the slots, of its month what its tests used of the budget."""
        day = test.at // DAY
        if node.day != day:
            self._judge_day(test, node)
            node.day, node.slots, node.lost = day, 0, 0
            month = utc_text(test.at)[:7]
            if node.month != month:
                node.month, node.used = month, 0
                self._end("budget", test.node, test.at)
        node.slots += 1
        node.lost += test.outcome == MISSED and not self._is_open("line_down", None)
        node.used += test.used
        limit = self._limit("budget", test.node)
        if limit and node.used >= limit["percent"]:
            self._begin("budget", test.node, test.at, test.at).worst = node.used

    def _judge_day(self, test: Test, node: Node) -> None:
        """At the first slot of a day, how many of the one before had no record."""
        limit = self._limit("coverage_low", test.node)
        known = 100 * (1 - node.lost / node.slots) if node.slots else 100.0
        if limit and known < limit["percent"]:
            finding = self._begin("coverage_low", test.node, node.day * DAY, test.at)
            finding.worst = known if finding.worst is None else min(known, finding.worst)
            finding.count += node.lost
        else:
            self._end("coverage_low", test.node, test.at)

    def _gone(self, test: Test) -> None:
        self.nodes.pop(test.node, None)
        for rule, node in list(self.open):
            if node == test.node or not self.nodes:
                self._end(rule, node, test.at)
        if not self.nodes:
            self.down_since = 0

    # findings

    def _is_open(self, rule: str, node: str | None) -> bool:
        return (rule, node) in self.open

    def _begin(self, rule: str, node: str | None, began: int, at: int) -> Finding:
        finding = self.open.get((rule, node))
        if finding is None:
            finding = self.open[rule, node] = Finding(rule, self.location, node, began, at)
            self.found.append(finding)
            self._change(rule, node, at)
        finding.last = at
        return finding

    def _end(self, rule: str, node: str | None, at: int) -> bool:
        finding = self.open.pop((rule, node), None)
        if finding is None:
            return False
        finding.ended = at
        self._change(rule, node, at)
        return True

    def _change(self, rule: str, node: str | None, at: int) -> None:
        if rule not in UNSTABLE:
            return
        limit = next((limits["unstable"] for limits in self.limits.values() if "unstable" in limits), None)
        if not limit:
            return
        self.changes = [change for change in self.changes if change[0] > at - 60 * limit["minutes"]]
        self.changes.append((at, rule, node))
        own = [when for when, *whose in self.changes if whose == [rule, node]]
        if len(own) >= limit["changes"]:
            finding = self._begin("unstable", None, own[0], at)
            finding.reason = rule
            finding.count += 1 if finding.count else len(own)

    def _settle(self, at: int) -> None:
        """An unstable line is stable again when nothing changed for a while."""
        finding = self.open.get(("unstable", None))
        if finding is None:
            return
        limit = next((limits["unstable"] for limits in self.limits.values() if "unstable" in limits), None)
        if limit is None or at - finding.last > 60 * limit["minutes"]:
            self._end("unstable", None, at)
