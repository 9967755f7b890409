"""Lines with planted faults: what their nodes record, and what is to be found in it. Generated and seeded.

All lines have a plan of 100 and 40 Mbit/s and noise: of 5 to 8 % from test to test, with a test in a hundred at half
the speed and one in 200 failed. A fault that is above its limit must be found; all others must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from speedtest_logger.alerts.reading import SCHEMA, Known
from speedtest_logger.alerts.rules import effective
from speedtest_logger.record import utc_text

Numbers = np.ndarray[Any, Any]
START = int(datetime(2025, 1, 1, tzinfo=timezone.utc).timestamp())
DAY, HOUR = 86_400, 3600
SEED = 14
DOWNLOAD, UPLOAD = 100, 40  # Mbit/s of the plan
OK, FAILED, SKIPPED, MISSING = range(4)
LINE_REASONS = ("no_route", "dns_failed", "server_unreachable")
OPTIONAL = ("below_usual", "latency", "loss", "bufferbloat")


@dataclass(frozen=True)
class Fault:
    """A planted fault: which rule is to find it (`also`: what may be said of it too), of whom, and when (Unix, s)."""

    rule: str
    node: str | None
    start: float
    end: float
    above: bool = True
    also: tuple[str, ...] = ()


@dataclass
class Slots:
    """A node's slots, and what became of each."""

    at: Numbers
    outcome: Numbers
    reason: Numbers
    speed: Numbers  # % of the plan
    latency: Numbers  # ms
    loaded: Numbers  # ms
    loss: Numbers  # %
    busy: Numbers  # bytes in the background, as a share of the test's own

    @classmethod
    def quiet(cls, at: Numbers, rng: np.random.Generator) -> Slots:
        """Nothing but noise."""
        count = len(at)
        speed = rng.normal(97, rng.uniform(5, 8), count)
        outlier, failed = rng.random(count) < 0.01, rng.random(count) < 0.005
        speed[outlier] = rng.normal(50, 5, int(outlier.sum()))
        reasons = rng.choice(["engine_error", "engine_timeout", *LINE_REASONS], count)
        latency = 12 + rng.gamma(2, 2, count)
        return cls(
            at,
            np.where(failed, FAILED, OK),
            np.where(failed, reasons, "").astype(object),
            speed,
            latency,
            latency + rng.gamma(2, 15, count),
            np.where(rng.random(count) < 0.02, rng.exponential(1, count), 0.0),
            rng.exponential(0.005, count),
        )


@dataclass
class Line:
    """A line as it is planted, from START for some days."""

    name: str
    count: int
    interval: int
    days: int
    seed: int
    rules: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make what is drawn at random depend on the seed and the name only."""
        self.rng = np.random.default_rng([self.seed, *self.name.encode()])
        self.nodes = {
            f"{self.name}-{number}": Slots.quiet(
                START + number * self.interval // self.count + np.arange(0, self.days * DAY, self.interval), self.rng
            )
            for number in range(1, self.count + 1)
        }

    @property
    def end(self) -> int:
        """When the generated time is over (Unix, s)."""
        return START + self.days * DAY

    def known(self) -> Known:
        """As the registry would have it."""
        entries = {
            name: [
                {
                    "valid_from": utc_text(START),
                    "valid_to": None,
                    "interval_seconds": self.interval,
                    "offset_seconds": int(slots.at[0] - START) % self.interval,
                    "location": self.name,
                    "plan_download_mbps": DOWNLOAD,
                    "plan_upload_mbps": UPLOAD,
                }
            ]
            for name, slots in self.nodes.items()
        }
        limits = effective(self.rules)
        return Known(self.name, entries, dict.fromkeys(entries, limits), dict.fromkeys(entries, 0.0))

    def records(self) -> pa.Table:
        """What the archive has of it."""
        return pa.concat_tables([_records(name, slots) for name, slots in self.nodes.items()])

    def when(self, start: float, end: float, node: str | None = None) -> Iterator[tuple[Slots, Numbers]]:
        """Slots of a period, of one node or of all of them."""
        for name, slots in self.nodes.items():
            if node in (None, name):
                yield slots, (slots.at >= start) & (slots.at < end)

    def plant(self, rule: str, node: str | None, start: float, end: float, **more: Any) -> None:
        """Say what was planted; what its period is too short for is not."""
        if end <= self.end:
            self.faults.append(Fault(rule, node, start, end, **more))

    def spread(self, first: int, every: int) -> Iterator[int]:
        """Days (Unix, s of their beginnings) on which something is planted."""
        yield from range(START + first * DAY, self.end - 2 * DAY, every * DAY)

    # faults

    def failed(self, start: float, slots: int, reason: str, node: str | None = None) -> float:
        """So many slots fail from a time on; returns when that is over."""
        end = start + slots * self.interval
        for own, there in self.when(start, end, node):
            own.outcome[there], own.reason[there] = FAILED, reason
        return end

    def slow(
        self, start: float, end: float, share: float | Callable[[Numbers], Numbers], node: str | None = None
    ) -> None:
        """Tests of a period have a share of their speed."""
        for own, there in self.when(start, end, node):
            own.speed[there] *= share(own.at[there]) if callable(share) else share

    def missing(self, start: float, end: float, node: str | None = None) -> None:
        """Nothing is known of a period."""
        for own, there in self.when(start, end, node):
            own.outcome[there] = MISSING


def _records(node: str, slots: Slots) -> pa.Table:
    is_known = slots.outcome != MISSING
    measured = slots.outcome[is_known] == OK
    no, at = ~measured, (slots.at[is_known] * 1000).astype("i8")
    speed = np.clip(slots.speed[is_known], 0.5, None)
    received = (speed * DOWNLOAD * 1e4).astype("i8")
    status = np.select([measured, slots.outcome[is_known] == FAILED], ["ok", "failed"], "skipped")
    reason = np.where(slots.outcome[is_known] == SKIPPED, "quiet_hours", slots.reason[is_known].astype(str))
    values = {
        "node": [node] * len(at),
        "scheduled_at": at,
        "started_at": at + 500,
        "status": status,
        "reason": pa.array(reason.tolist(), pa.string(), mask=measured),
        "engine": pa.array(["librespeed"] * len(at), mask=no),
        "engine_requested": ["librespeed"] * len(at),
        "download_bps": pa.array(speed * DOWNLOAD * 1e4, mask=no),
        "upload_bps": pa.array(np.clip(speed + 3, 0, None) * UPLOAD * 1e4, mask=no),
        "latency_ms": pa.array(slots.latency[is_known], mask=no),
        "download_latency_ms": pa.array(slots.loaded[is_known], mask=no),
        "upload_latency_ms": pa.nulls(len(at), pa.float64()),
        "packet_loss_pct": pa.array(slots.loss[is_known], mask=no),
        "bytes_received": pa.array(received, mask=no),
        "bytes_sent": pa.array(received // 2, mask=no),
        "background_rx_bytes": (received * slots.busy[is_known]).astype("i8"),
        "background_tx_bytes": np.zeros(len(at), "i8"),
    }
    return pa.table([pa.array(values[name.name], name.type) for name in SCHEMA], schema=SCHEMA)


def evenings(line: Line) -> None:
    """From 18 to 23 h: strong ones at half the plan, and between them mild ones at four fifths of it."""
    for first, level, above in ((3, 0.52, True), (5, 0.85, False)):
        for day in line.spread(first, 5):
            start, end = day + 18 * HOUR, day + 23 * HOUR
            line.slow(start, end, partial(_evening, start=start, end=end, depth=1 - level))
            line.plant("below_plan", None, start, end, above=above)


def _evening(at: Numbers, start: float, end: float, depth: float) -> Numbers:
    return 1 - depth * np.clip(np.minimum(at - start, end - at) / 1800, 0, 1)


def resets(line: Line) -> None:
    """Of a modem: two or three slots fail; between such days one slot only."""
    for first, most, above in ((2, 3, True), (5, 1, False)):
        for day in line.spread(first, 7):
            start = day + int(line.rng.integers(1, 23)) * HOUR
            slots = int(line.rng.integers(2, most + 1)) if above else 1
            end = line.failed(start, slots, str(line.rng.choice(LINE_REASONS)))
            line.plant("line_down", None, start, end, above=above)


def drift(line: Line) -> None:
    """Speed falls to half within 60 % of the time, stays so for a tenth of it, and is mended."""
    length = line.days * DAY * 0.6
    line.slow(START, START + length * 7 / 6, lambda at: 1 - 0.5 * np.clip((at - START) / length, 0, 1))
    from_level = (97 - 75) / 97 / 0.5 * length  # of the limit and what it takes to end
    line.plant("below_plan", None, START + from_level, START + length * 7 / 6)


def busy(line: Line) -> None:
    """Somebody uses the line for hours: tests are slow, and say nothing of it."""
    for day in line.spread(1, 3):
        start, end = day + 15 * HOUR, day + 19 * HOUR
        line.slow(start, end, 0.45)
        for own, there in line.when(start, end):
            own.busy[there] = line.rng.uniform(0.5, 2, int(there.sum()))
        line.plant("below_plan", None, start, end, above=False)


def quiet_hours(line: Line) -> None:
    """Nothing is measured from midnight to six."""
    for own in line.nodes.values():
        night = own.at % DAY < 6 * HOUR
        own.outcome[night], own.reason[night] = SKIPPED, "quiet_hours"


def sick(line: Line) -> None:
    """The first node is slow for a day, later silent for half a day, later its engine fails for two hours."""
    node = f"{line.name}-1"
    for number, day in enumerate(line.spread(4, 6)):
        start = day + 7 * HOUR
        if number % 3 == 0:
            line.slow(start, start + DAY, 0.5, node)
            line.plant("below_plan", node, start, start + DAY)
        elif number % 3 == 1:
            line.missing(start, start + DAY / 2, node)
            line.plant("silent_node", node, start, start + DAY / 2)
        else:
            end = line.failed(start, 12, "engine_error", node)
            line.plant("failing_engine", node, start, end)


def engine_outages(line: Line) -> None:
    """Every test of some hours fails for the engine's reason; between such days for five slots only."""
    for first, slots, above in ((2, 10, True), (4, 4, False)):
        for day in line.spread(first, 6):
            start = day + 9 * HOUR
            end = line.failed(start, slots, "engine_timeout")
            for node in line.nodes:
                line.plant("failing_engine", node, start, end, above=above)


def off(line: Line) -> None:
    """A node is off for a day; one that is alone cannot be told from its line."""
    node = f"{line.name}-1"
    for day in line.spread(5, 12):
        start = day + 10 * HOUR
        line.missing(start, start + DAY, node)
        line.plant(*(("line_down", None) if line.count == 1 else ("silent_node", node)), start, start + DAY)


def gaps(line: Line) -> None:
    """Every tenth slot of a day is missing, on other days every fiftieth."""
    node = f"{line.name}-1"
    for first, every, above in ((3, 10, True), (6, 50, False)):
        for day in line.spread(first, 8):
            for own, there in line.when(day, day + DAY, node):
                own.outcome[np.flatnonzero(there)[5::every]] = MISSING
            line.plant("coverage_low", node, day, day + 2 * DAY, above=above)


def flaps(line: Line) -> None:
    """For three hours the line comes and goes."""
    for day in line.spread(6, 14):
        start = day + 8 * HOUR
        for turn in range(36 * 300 // line.interval // 4):
            line.failed(start + turn * 4 * line.interval, 2, "no_route")
        line.plant("unstable", None, start, start + 3 * HOUR, also=("line_down",))


def others(line: Line) -> None:
    """Latency, loss, latency under load, and speed that is only less than usual, for three hours each."""
    for number, day in enumerate(line.spread(40 if line.days > 60 else 3, 4)):
        start, end = day + 11 * HOUR, day + 14 * HOUR
        for own, there in line.when(start, end):
            if number % 3 == 0:
                own.latency[there] += 120
                own.loaded[there] += 120
            elif number % 3 == 1:
                own.loss[there] += 5
            else:
                own.loaded[there] += 300
        line.plant(("latency", "loss", "bufferbloat")[number % 3], None, start, end)
    for day in line.spread(42, 8):
        line.slow(day + 11 * HOUR, day + 14 * HOUR, 0.5)
        line.plant("below_usual", None, day + 11 * HOUR, day + 14 * HOUR)


def calm(_: Line) -> None:
    """Nothing."""


KINDS: tuple[tuple[Callable[[Line], None], int, int], ...] = (
    (evenings, 1, 300),
    (evenings, 3, 900),
    (resets, 1, 300),
    (resets, 3, 300),
    (drift, 1, 900),
    (drift, 1, 300),
    (drift, 3, 300),
    (busy, 1, 300),
    (busy, 3, 900),
    (quiet_hours, 1, 900),
    (sick, 3, 300),
    (sick, 3, 900),
    (engine_outages, 1, 900),
    (off, 1, 900),
    (off, 3, 300),
    (gaps, 1, 300),
    (flaps, 1, 300),
    (flaps, 3, 300),
    (others, 1, 900),
    (calm, 1, 300),
    (calm, 3, 900),
)


def lines(days: int, seed: int = SEED) -> Iterator[Line]:
    """All of them, one after the other."""
    for number, (plant, nodes, interval) in enumerate(KINDS):
        optional = {**dict.fromkeys(OPTIONAL, True), "below_plan": False} if plant is others else {}
        line = Line(f"{plant.__name__.replace('_', '-')}-{number}", nodes, interval, days, seed, optional)
        plant(line)
        yield line
