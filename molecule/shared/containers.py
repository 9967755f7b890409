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


def import_base_image(node: str) -> None:
    """Give a node the base image that it would pull where there is a registry."""
    on(node, "docker image import /opt/lab-images/container-base.tar debian:trixie-slim")
