"""Which Docker is new enough, by what the module host_state has seen of one; nodes that pull have this as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ENGINE_MIN = "24.0"
COMPOSE_MIN = "2.20"


def complaint(docker: dict[str, Any] | None) -> str:
    """What is wrong with a Docker, as the module saw it; empty where all is well."""
    if not docker:
        return "Docker is missing"
    if docker["error"]:
        return f"Docker does not answer: {docker['error']}"
    if numbers(docker["engine"]) < numbers(ENGINE_MIN):
        return f"Docker Engine {docker['engine']} is too old"
    if not docker["compose"]:
        return "Docker Compose is missing"
    if numbers(docker["compose"]) < numbers(COMPOSE_MIN):
        return f"Docker Compose {docker['compose']} is too old"
    return ""


def outdated(packages: list[str], candidates: Mapping[str, str | None]) -> Iterator[str]:
    """Which of a distribution's packages, the engine's and Compose's are the first two, are too old to be installed."""
    for name, wanted in zip(packages, (ENGINE_MIN, COMPOSE_MIN), strict=False):
        there = candidates.get(name)
        if numbers(there) < numbers(wanted):
            yield f"{name} {there or 'not at all'}, and {wanted} is wanted"


def numbers(version: str | None) -> list[int]:
    """The numbers that a package's or program's version begins with, its epoch left out; 0 where there is none."""
    first = re.search(r"(?:^|[^\d.:])v?(\d+(?:\.\d+)*)", " " + (version or "").split(":", 1)[-1])
    return [int(number) for number in first[1].split(".")] if first else [0]
