"""What a Prometheus and an Alertmanager say, and what they send, read without a library."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from fleet import on, quoted

PROMETHEUS, ALERTMANAGER = "http://127.0.0.1:9090", "http://127.0.0.1:9093"
Series = dict[str, str]


def asked(url: str, *options: str, node: str = "archive") -> Any:
    """The JSON of an address on a node."""
    return json.loads(on(node, f"curl --silent --show-error {' '.join(options)} {quoted(url)}"))


def values(expression: str, node: str = "archive", server: str = PROMETHEUS) -> list[tuple[Series, float]]:
    """What an expression is now: each series with its value."""
    url = f"{server}/api/v1/query"
    answer = asked(url, "--get", "--data-urlencode", quoted(f"query={expression}"), node=node)
    assert answer["status"] == "success", answer
    return [(item["metric"], float(item["value"][1])) for item in answer["data"]["result"]]


def firing(node: str = "archive", server: str = PROMETHEUS, state: str = "firing") -> set[tuple[str, str]]:
    """Alerts in a state in a node's Prometheus: name, and of which node or by which rule of the archive's it is."""
    alerts = asked(f"{server}/api/v1/alerts", node=node)["data"]["alerts"]
    return {named(alert["labels"]) for alert in alerts if alert["state"] == state}


def named(labels: Series) -> tuple[str, str]:
    """An alert in two words."""
    return labels["alertname"], labels.get("node") or labels.get("rule", "")


def held(node: str = "archive") -> list[dict[str, Any]]:
    """Alerts that a node's Alertmanager holds."""
    alerts: list[dict[str, Any]] = asked(f"{ALERTMANAGER}/api/v2/alerts", node=node)
    return alerts


def snappy(data: bytes) -> bytes:
    """A block of snappy's format, uncompressed: https://github.com/google/snappy/blob/main/format_description.txt."""
    length, place = varint(data, 0)
    out = bytearray()
    while place < len(data):
        tag, kind = data[place], data[place] & 3
        place += 1
        if kind == 0:
            size = tag >> 2
            if size >= 60:
                extra = size - 59
                size = int.from_bytes(data[place : place + extra], "little")
                place += extra
            out += data[place : place + size + 1]
            place += size + 1
            continue
        if kind == 1:
            size, offset = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[place]
            place += 1
        else:
            width = 2 if kind == 2 else 4
            size, offset = (tag >> 2) + 1, int.from_bytes(data[place : place + width], "little")
            place += width
        for _ in range(size):
            out.append(out[-offset])
    assert len(out) == length
    return bytes(out)


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of protobuf's, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: number and content."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        if key & 7 == 0:
            content: Any
            content, place = varint(data, place)
        elif key & 7 == 1:
            content, place = struct.unpack("<d", data[place : place + 8])[0], place + 8
        else:
            assert key & 7 == 2, key
            size, place = varint(data, place)
            content, place = data[place : place + size], place + size
        yield key >> 3, content


def written(body: bytes) -> Iterator[tuple[Series, list[float]]]:
    """Series and samples of a remote write request, version 1."""
    for number, message in fields(snappy(body)):
        if number != 1:
            continue
        labels, samples = {}, []
        for part, content in fields(message):
            if part == 1:
                label = dict(fields(content))
                labels[label[1].decode()] = label[2].decode()
            elif part == 2:
                samples.append(dict(fields(content)).get(1, 0.0))
        yield labels, samples
