"""What the scenarios with containers share."""

from __future__ import annotations

import json
from typing import Any

from fleet import on

CONTAINER = "speedtest-logger"


def inspect(node: str) -> dict[str, Any]:
    """Docker's own view of the logger's container."""
    found: list[dict[str, Any]] = json.loads(on(node, f"docker container inspect {CONTAINER}"))
    return found[0]


def health(node: str) -> str:
    """healthy, unhealthy, starting, or what Docker says instead."""
    return on(
        node, f"docker container inspect --format '{{{{.State.Health.Status}}}}' {CONTAINER}", check=False
    ).strip()
