"""What the API answers, as its description has it. Times are Unix times (s) where they are no texts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from speedtest_logger import probe_result
from speedtest_logger.archive.read.coverage import OUTCOMES
from speedtest_logger.dashboard.figures import Cells, Line, Node, Outage, Part
from speedtest_logger.dashboard.notes import Note
from speedtest_logger.record import COLUMNS, REQUIRED, STATUSES, column_texts

TYPES: dict[str, Any] = {"int": int, "float": float, "status": Literal[STATUSES]}


def _record() -> type[BaseModel]:
    texts = column_texts()
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        given = TYPES.get(kind, str)
        columns[name] = (given if name in REQUIRED else given | None, Field(description=texts[name]))
    return create_model("Record", **columns)


def _result() -> type[BaseModel]:
    columns: dict[str, Any] = {"node": (str, Field(description="the node that probed"))}
    for each in fields(probe_result.ProbeResult):
        name, of = each.name, each.metadata
        given = TYPES.get(of["kind"], str)
        required = name in probe_result.REQUIRED
        columns[name] = (given if required else given | None, Field(description=of["text"]))
    return create_model("ProbeResult", **columns)


def _coverage() -> type[BaseModel]:
    columns: dict[str, Any] = {"node": str, "location": str, "day": (str | None, None), "expected": int}
    columns |= dict.fromkeys(OUTCOMES, int) | {"unscheduled": int, "unscheduled_failed": int}
    shares = [*(name for name in OUTCOMES if name != "pending"), "accounted", "availability"]
    columns |= {f"{name}_pct": float | None for name in shares} | {"reasons": str}
    return create_model("Coverage", **columns)


Record = _record()
Result = _result()
Coverage = _coverage()


@dataclass(frozen=True)
class Location(Line):
    """A location with its line as it stands; `plan_pct` is what its median download of 24 h is of the plan."""

    plan_pct: float | None

    @classmethod
    def of(cls, line: Line) -> Location:
        """A line's."""
        return cls(**vars(line), plan_pct=line.share)


@dataclass(frozen=True)
class Nodes:
    """All nodes, by name."""

    nodes: list[Node]


@dataclass(frozen=True)
class Locations:
    """All locations, those that need somebody first; `sentence` says how many do."""

    sentence: str
    locations: list[Location]


@dataclass(frozen=True)
class AllCells:
    """Each node's slots."""

    nodes: list[Cells]


@dataclass(frozen=True)
class Outages:
    """Outages, oldest first."""

    outages: list[Outage]


@dataclass(frozen=True)
class Annotations:
    """Annotations, oldest first."""

    annotations: list[Note]


class Records(BaseModel):
    """Records, newest first; `next` is the cursor of the next page, null after the last one."""

    records: list[Record]  # type: ignore[valid-type]  # made of the record's columns
    next: str | None


class Coverages(BaseModel):
    """A row for each node, or for each node and day (UTC)."""

    coverage: list[Coverage]  # type: ignore[valid-type]  # made of the outcomes


class Results(BaseModel):
    """Results of probes, the newest last; `next` is the cursor for those before; `unreadable`: days that are lost."""

    results: list[Result]  # type: ignore[valid-type]  # made of the result's columns
    next: str | None
    unreadable: list[str]


@dataclass(frozen=True)
class Probe:
    """A probe that was heard of in the last two days: of how many nodes, when last, and how it is, in words."""

    probe: str
    nodes: int
    last_result_at: str
    health: str


@dataclass(frozen=True)
class LogLine:
    """A line of a node's log: when it was written, and its fields beside these."""

    at: str
    node: str
    level: str
    event: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class LogLines:
    """Lines, the newest last; `next` is the cursor for those before them; `unreadable`: days whose lines are lost."""

    lines: list[LogLine]
    next: str | None
    unreadable: list[str]


@dataclass(frozen=True)
class Seen:
    """When a node was heard of for the last time, and what it said of itself."""

    name: str
    location: str
    last_seen_at: str | None
    version: str | None
    outbox: int | None


@dataclass(frozen=True)
class Status:
    """Whether all is well, and every part; `queue` counts the deliveries that wait for ingest."""

    ok: bool
    at: str
    version: str
    queue: int
    parts: list[Part]
    nodes: list[Seen]
    probes: list[Probe]
