"""The rules: what is judged, from when on it counts, and what people can set. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEVERITIES = ("info", "warning", "critical")  # least first
Limits = dict[str, float]
Limited = dict[str, Limits]  # by rule; one that is off is not in it


@dataclass(frozen=True)
class Parameter:
    """What can be set of a rule: a number between two others, in a unit."""

    default: float
    unit: str
    text: str
    least: float = 0
    most: float = 1_000_000


@dataclass(frozen=True)
class Rule:
    """What fires, and what ends it. `subject` is what it is said of: line, node, archive."""

    name: str
    title: str
    subject: str
    severity: str
    on: bool
    parameters: dict[str, Parameter]
    fires: str
    ends: str
    seen: str


TESTS = {
    "tests": Parameter(3, "tests", "that are measured in a row, until it fires", 1, 1000),
    "clear": Parameter(4, "tests", "in a row on the other side, until it ends", 1, 1000),
}


def _slots(default: int) -> dict[str, Parameter]:
    return {"slots": Parameter(default, "slots", "in a row, until it fires", 1, 1000)}


ALL = (
    Rule(
        "line_down",
        "line down",
        "line",
        "critical",
        True,
        _slots(2),
        "Every node of the location had slots without a measurement since the last one that anybody on the line "
        "measured: tests that failed for no_route, dns_failed or server_unreachable, or slots of which nothing is "
        "known. One node has `slots` of them in a row, every other one at least one. A node that only skips, or whose "
        "engine fails, has no say.",
        "The first measurement of any of its nodes.",
        "Pull a line's cable for `slots` + 1 intervals.",
    ),
    Rule(
        "below_plan",
        "below plan",
        "line",
        "warning",
        True,
        {"percent": Parameter(70, "% of the plan", "below which a test counts", 1, 100), **TESTS},
        "Download or upload is below `percent` of plan_download_mbps or plan_upload_mbps in `tests` tests in a row, "
        "with the engine that was asked for. It is said of the line where all of its nodes that measured meanwhile "
        "agree, of a node where another one of the line meanwhile had `tests` + `clear` tests of 5 percentage points "
        "more, none below.",
        "`clear` tests in a row of 5 percentage points more; for a line when none of its nodes is below any more, or "
        "only such that are told of as nodes.",
        "Set percent: 100 and the plan higher than the line.",
    ),
    Rule(
        "below_usual",
        "slower than usual",
        "line",
        "warning",
        False,
        {"percent": Parameter(60, "% of the usual", "below which a test counts", 1, 100), **TESTS},
        "Download or upload is below `percent` of what the node's median of this hour of the week was in the 30 days "
        "before yesterday, or of this hour of the day where that are fewer than 20 tests; for line or node as "
        "below_plan.",
        "`clear` tests in a row of 5 percentage points more.",
        "Replay a month: speedtest-alerts replay --last 30d --set below_usual.percent=60.",
    ),
    Rule(
        "latency",
        "high latency",
        "line",
        "warning",
        False,
        {"ms": Parameter(100, "ms", "of idle latency, above which a test counts", 0.1), **TESTS},
        "Idle latency is above `ms` in `tests` tests in a row; for line or node as below_plan.",
        "`clear` tests in a row below 90 % of it.",
        "Set ms: 1.",
    ),
    Rule(
        "loss",
        "packet loss",
        "line",
        "warning",
        False,
        {"percent": Parameter(2, "% of packets", "that are lost, above which a test counts", 0.01, 100), **TESTS},
        "Packet loss is above `percent` in `tests` tests in a row; for line or node as below_plan.",
        "`clear` tests in a row below 90 % of it.",
        "Replay a month with --set loss.percent=0.1.",
    ),
    Rule(
        "bufferbloat",
        "bufferbloat",
        "line",
        "warning",
        False,
        {"ms": Parameter(200, "ms", "that latency grows under load, above which a test counts", 0.1), **TESTS},
        "Latency while downloading or uploading is more than `ms` above idle latency in `tests` tests in a row; for "
        "line or node as below_plan.",
        "`clear` tests in a row below 90 % of it.",
        "Set ms: 1.",
    ),
    Rule(
        "silent_node",
        "silent node",
        "node",
        "warning",
        True,
        _slots(3),
        "Nothing is known of `slots` slots of a node in a row, while another node of the line measured since. Where it "
        "is alone on its line, nobody can tell it from the line: that is line_down.",
        "The first record of it, whatever it says.",
        "Switch a node off that is not alone on its line.",
    ),
    Rule(
        "failing_engine",
        "tests fail",
        "node",
        "warning",
        True,
        _slots(6),
        "`slots` tests of a node in a row failed for a reason of its engine, or for any reason while another node of "
        "the line measured.",
        "The first test that measures something.",
        "Give a node an engine that is not installed.",
    ),
    Rule(
        "coverage_low",
        "slots are missed",
        "node",
        "warning",
        True,
        {"percent": Parameter(95, "% of the slots", "of a day (UTC) of which something is known", 1, 100)},
        "Less than `percent` of a node's slots of a day have a record. What line_down or silent_node has said already "
        "is left out.",
        "The first day that is well again.",
        "Stop a node's timer for two hours, twice a day.",
    ),
    Rule(
        "unstable",
        "unstable",
        "line",
        "warning",
        True,
        {
            "changes": Parameter(4, "changes", "of one finding, within `minutes`", 2, 1000),
            "minutes": Parameter(120, "minutes", "that changes are counted in, and of quiet until it ends", 1, 10_000),
        },
        "A finding of the line began and ended so often that each message would be noise: `changes` within `minutes`. "
        "Until it ends, only this is told of the line.",
        "`minutes` without such a change.",
        "Pull a line's cable every second interval.",
    ),
    Rule(
        "clock",
        "wrong clock",
        "node",
        "warning",
        True,
        {"seconds": Parameter(30, "s", "that a node's clock is off at most", 1)},
        "With its last two deliveries a node's clock was off by more than `seconds`.",
        "A delivery with a clock that is right.",
        "Set a node's clock a minute ahead, its time service stopped.",
    ),
    Rule(
        "budget",
        "data budget",
        "node",
        "info",
        True,
        {"percent": Parameter(90, "% of the budget", "that a node's tests have used in a month (UTC)", 1, 100)},
        "A node's tests have used `percent` of speedtest_logger_data_budget_gb.",
        "The next month.",
        "Give a node a budget of 0.1 GB.",
    ),
    Rule(
        "ingest_stopped",
        "archive is not filled",
        "archive",
        "critical",
        True,
        {},
        "Ingest has not run for 3 minutes, a month's file cannot be written, or deliveries wait for 4 minutes. Until "
        "it ends, nothing is said of lines and nodes: nobody knows.",
        "Ingest runs, and nothing waits.",
        "systemctl stop speedtest-ingest.timer on the archive host.",
    ),
    Rule(
        "disk",
        "disk almost full",
        "archive",
        "critical",
        True,
        {"percent": Parameter(5, "% free", "of the archive's disk at least", 0, 100)},
        "Less than `percent` of the archive's disk is free.",
        "A percentage point more than that is free.",
        "Set percent: 100.",
    ),
    Rule(
        "backup",
        "no backup",
        "archive",
        "warning",
        True,
        {"hours": Parameter(36, "hours", "that the last backup is old at most", 1)},
        "The last backup failed, or is older than `hours`. Silent where the inventory names no repository.",
        "A backup that worked.",
        "Give the repository another password.",
    ),
    Rule(
        "verify",
        "archive damaged",
        "archive",
        "critical",
        True,
        {},
        "The last speedtest-archive verify had findings.",
        "A verify without any.",
        "Change a byte of a month's file on a copy of the archive, and run verify.",
    ),
)
RULES = {rule.name: rule for rule in ALL}
VALUES = ("below_plan", "below_usual", "latency", "loss", "bufferbloat")  # rules that compare what tests measured
LOW_IS_BAD = ("below_plan", "below_usual")
# what a line explains that is down or unstable
OF_LINES = ("below_plan", "below_usual", "latency", "loss", "bufferbloat", "silent_node", "failing_engine",
            "coverage_low")  # fmt: skip
OF_ALL_NODES = ("line_down", "unstable")  # judged of all nodes of a line together, by limits that they share
POINTS = 5.0  # percentage points between firing and ending
SHARE = 0.9  # of a limit, below which what is too high ends
DEFAULTS: Limited = {
    rule.name: {name: parameter.default for name, parameter in rule.parameters.items()} for rule in ALL if rule.on
}


def problems(given: object) -> list[str]:
    """What is wrong with rules as the inventory has them: each the name, the value seen, and what is allowed."""
    if not isinstance(given, Mapping):
        return [f"{given!r:.80} is not a mapping of rules: {', '.join(RULES)}"]
    found = []
    for name, wanted in given.items():
        rule = RULES.get(name)
        if rule is None:
            found.append(f"{name!r:.80} is no rule: {', '.join(RULES)}")
        elif isinstance(wanted, Mapping):
            found += [wrong for key, value in wanted.items() for wrong in _wrong(rule, key, value)]
        elif not isinstance(wanted, bool):
            found.append(f"{name}: {wanted!r:.80} is neither true, false nor a mapping of {_names(rule)}")
    return found


def _wrong(rule: Rule, key: object, value: object) -> list[str]:
    parameter = rule.parameters.get(str(key))
    if parameter is None:
        return [f"{rule.name}.{key}: the rule has no such parameter: {_names(rule)}"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not parameter.least <= value <= parameter.most:
        return [f"{rule.name}.{key}: {value!r:.80} is not a number from {parameter.least:g} to {parameter.most:g}"]
    return []


def _names(rule: Rule) -> str:
    return ", ".join(rule.parameters) or "nothing"


def effective(*layers: Mapping[str, Any]) -> Limited:
    """The rules that are on, with their limits: the defaults, changed by each layer in turn (fleet, then node)."""
    made = {name: dict(limits) for name, limits in DEFAULTS.items()}
    for layer in layers:
        for name, wanted in layer.items():
            if wanted is False:
                made.pop(name, None)
                continue
            known = {key: parameter.default for key, parameter in RULES[name].parameters.items()}
            own = wanted if isinstance(wanted, Mapping) else {}
            made[name] = {**known, **made.get(name, {}), **{key: float(value) for key, value in own.items()}}
    return made
