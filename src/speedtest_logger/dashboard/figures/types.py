"""Every figure that a page or the API shows, asked once: pages, API and live updates say the same.

Times are Unix times in seconds, speeds bit/s, delays ms, shares percent. None is what was not measured; it is never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["down", "silent", "slow", "failing", "new", "well"]  # worst first
WELL = ("well", "new")  # states in which a line needs nobody
Grain = Literal["test", "hour", "day"]


@dataclass(frozen=True)
class Plan:
    """What a line shall deliver (bit/s), by the inventory; None where it does not say."""

    download: float | None
    upload: float | None


@dataclass(frozen=True)
class Measured:
    """A record in short: the one that a node or a line measured last, or tried to."""

    node: str
    location: str
    at: int
    run_id: str
    status: str
    reason: str | None
    download: float | None
    upload: float | None
    latency: float | None
    download_latency: float | None
    upload_latency: float | None
    jitter: float | None
    loss: float | None
    engine: str | None
    server: str | None


@dataclass(frozen=True)
class Node:
    """A node as the archive knows it. `version`, `outbox`, `clock_offset` and `disk_free` are from its last hello.

    So is `bundle_error`: why one that brings itself to its desired state is not as its bundle says.
    """

    name: str
    location: str
    runtime: str | None
    version: str | None
    interval: int | None
    next_slot: int | None
    last_seen: int | None
    last: Measured | None
    outbox: int | None = None
    clock_offset: float | None = None
    disk_free: int | None = None
    bundle_error: str | None = None


@dataclass(frozen=True)
class Line:
    """A line as it stands now: `state` since when, in a sentence; its last 24 h by hour.

    `hours` has the hours' beginnings, `speeds` the median download of each, `ticks` the worst outcome of the slots of
    each, None where there was none.
    """

    location: str
    state: State
    since: int | None
    sentence: str
    plan: Plan
    nodes: list[Node]
    last: Measured | None
    median: dict[str, float | None]  # of 24 h: download, upload, latency, download_latency, upload_latency
    coverage: dict[str, Any]  # of 24 h: as a row of `speedtest-archive coverage`, of all of its nodes together
    hours: list[int]
    speeds: list[float | None]
    ticks: list[str | None]

    @property
    def is_ill(self) -> bool:
        """Whether it needs somebody."""
        return self.state not in WELL

    @property
    def share(self) -> float | None:
        """Percent of the plan that the median download of the last 24 h was."""
        middle = self.median.get("download")
        return 100 * middle / self.plan.download if self.plan.download and middle is not None else None


@dataclass(frozen=True)
class Now:
    """The fleet as it stands: the sentence first, then the lines, those that need somebody first.

    `judged_at` is when the lines were looked at: in a large fleet some seconds before `at`.
    """

    at: int
    judged_at: int
    sentence: str
    lines: list[Line]
    last_record: int | None
    problems: list[str]  # of the archive itself, in sentences; `troubles` are apart

    @property
    def ill(self) -> list[Line]:
        """The lines that need somebody."""
        return [line for line in self.lines if line.is_ill]


@dataclass(frozen=True)
class Series:
    """Columns for a chart, all of one length: `at` (the middle column) and per name of `values` a column each.

    For hours and days each name has NAME_low, NAME and NAME_high: 10th percentile, median, 90th. None is a gap.
    `failed` counts the tests that failed in each; `reason` is that of a test.
    """

    grain: Grain
    at: list[int]
    values: dict[str, list[float | None]]
    status: list[str | None] = field(default_factory=list)
    tests: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Cells:
    """A node's slots of a period as cells: for up to two days one for each slot, else one for each hour or day.

    `outcome` is the worst of the cell's slots: ok, partial, failed, skipped, missed, pending; `runs` has the run of a
    cell that is one slot with a record.
    """

    node: str
    grain: Grain
    at: list[int]
    outcome: list[str]
    reason: list[str | None]
    slots: list[int]
    runs: list[str | None]


@dataclass(frozen=True)
class Week:
    """Median download of each hour of the week: `values[weekday][hour]`, Monday first, on a zone's clocks.

    The median of the medians of the hours that began then.
    """

    zone: str
    values: list[list[float | None]]
    tests: list[list[int]]


@dataclass(frozen=True)
class Span:
    """What a line or node delivered in a period, for a row of the fleet's table."""

    location: str
    node: str | None
    plan: Plan
    tests: int
    download: float | None
    upload: float | None
    latency: float | None
    share: float | None  # of the plan, percent
    availability: float | None
    accounted: float | None
    outages: int
    bytes: int | None
    version: str | None
    last_seen: int | None
    outbox: int | None


@dataclass(frozen=True)
class Outage:
    """Slots in a row without a measurement, as `speedtest-archive outages`; `until` is None while it lasts."""

    node: str
    location: str
    start: int
    until: int | None
    slots: int
    reason: str
    blame: str  # line, node, some nodes, unknown
