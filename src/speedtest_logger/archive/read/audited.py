"""What a look through the archive found of runs that count twice, and records of others (state/audit.json)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import literal
from speedtest_logger.files import read_bounded


@dataclass(frozen=True)
class Finding:
    """What is odd about a node's records, in words, and about how many."""

    node: str
    kind: str
    records: int
    problem: str


def words(finding: Finding) -> str:
    """A finding as one line."""
    return f"node {finding.node}: {finding.problem}"


def read(layout: Layout) -> list[Finding] | None:
    """What was found; None where nobody has looked yet."""
    try:
        content: dict[str, Any] = json.loads(read_bounded(file_of(layout), 64_000_000))
        return [Finding(**entry) for entry in content["findings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def problems(layout: Layout) -> list[str]:
    """What was found, in words."""
    return [words(finding) for finding in read(layout) or []]


def may_be_doubled(layout: Layout) -> bool:
    """Whether there can be runs that count twice where nobody takes care."""
    found = read(layout)
    return found is None or any(finding.kind == "doubled" for finding in found)


def at_home(layout: Layout, location: str, nodes: list[str]) -> str:
    """SQL of the records that a location's report goes by: of nodes that the registry knows there, or imported."""
    known = registry.read(layout.root)
    if known is None:
        return "true"
    trusted = [
        node for node in nodes if (found := known.known(node)) and (not found.locations or location in found.locations)
    ]
    names = ", ".join(map(literal, trusted))
    return f"(node IN ({names}) OR runtime = 'imported')" if trusted else "runtime = 'imported'"


def file_of(layout: Layout) -> Path:
    """Where it lies."""
    return layout.state / "audit.json"
