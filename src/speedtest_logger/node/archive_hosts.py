"""Which of several archive hosts a node delivers to: one that it prefers, and the others where that gives no receipt.

Each node has an order of its own (rendezvous hashing): a host that goes moves only the nodes that preferred it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from speedtest_logger.errors import DeliveryError
from speedtest_logger.node import connection
from speedtest_logger.node.config import SSH_PORT, Settings


def hosts_in_order(settings: Settings) -> list[tuple[str, int]]:
    """Address and port of each archive host, the preferred one first."""
    first = (settings.archive_host or "", settings.archive_port)
    known = list(dict.fromkeys([first, *map(host_and_port, settings.archive_others)]))
    return sorted(known, key=lambda host: hashlib.sha256(f"{settings.node} {host[0]}:{host[1]}".encode()).digest())


def host_and_port(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT, [IPV6] or [IPV6]:PORT as both; without a port it is ssh's own."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    return host, int(port.removeprefix(":") or SSH_PORT)


def with_each(settings: Settings) -> Iterator[Settings]:
    """The settings with each archive host in turn."""
    for address, port in hosts_in_order(settings):
        yield replace(settings, archive_host=address, archive_port=port)


def send(settings: Settings, lines: bytes) -> dict[str, Any]:
    """One delivery to the first host that answers with a receipt. Raises DeliveryError with what each of them said."""
    if not settings.archive_others:
        return connection.send(settings, lines)
    said = []
    for each in with_each(settings):
        try:
            return connection.send(each, lines)
        except DeliveryError as error:
            said.append(f"{each.archive_host}: {error}")
    raise DeliveryError("; ".join(said))
