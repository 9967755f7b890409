"""What nodes deliver, and what becomes of it in the archive."""

from __future__ import annotations

import io
import json
import uuid
from base64 import b64encode
from zlib import compress

import pytest

from speedtest_logger.archive.arrive import receive
from speedtest_logger.errors import RefusedError
from speedtest_logger.record import Record, run_id_of_slot, utc_text

NOW = 1_800_000_000
DAY = 86_400
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)
WORDS = b'{"download": 96.5}'


def entry(location="home", interval=300):
    return {
        "valid_from": utc_text(NOW - 900 * DAY),
        "valid_to": None,
        "interval_seconds": interval,
        "offset_seconds": 0,
        "location": location,
    }


def register(archive, raw=True, **histories):
    inventory = {node: {"location": history[-1]["location"], "archive_raw": raw} for node, history in histories.items()}
    (archive.fleet / "schedule.json").write_text(json.dumps({"nodes": histories, "inventory": inventory}))


def row(moment=NOW - 1000, slot=None, **changes):
    node = changes.get("node", "attic")
    base = Record(
        run_id=str(uuid.uuid4()) if slot is None else run_id_of_slot(node, utc_text(slot)),
        node="attic",
        location="home",
        started_at=utc_text(moment),
        finished_at=utc_text(moment + 10),
        scheduled_at=None if slot is None else utc_text(slot),
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
    ).to_row()
    return {**base, **changes}


def record(number=0, node="attic"):
    """The line of a slot's record, as a node sends it."""
    at = NOW - 3_000 - 300 * number
    return json.dumps(
        Record(
            run_id=run_id_of_slot(node, utc_text(at)), node=node, location="home", scheduled_at=utc_text(at),
            started_at=utc_text(at), finished_at=utc_text(at + 9), status="ok", download_bps=1e8, upload_bps=1e7,
        ).to_row()
    ).encode() + b"\n"  # fmt: skip


def send(archive, payload, node="attic", limits=LIMITS):
    return receive.receive(archive, node, io.BytesIO(payload), limits)


def deliver(archive, *rows, node="attic", limits=LIMITS):
    return send(archive, b"".join(json.dumps(each).encode() + b"\n" for each in rows), node, limits)


def refused(archive, payload, reason, node="attic", limits=LIMITS):
    with pytest.raises(RefusedError) as caught:
        send(archive, payload, node, limits)
    assert caught.value.reason == reason
    assert not list(archive.inbox.glob("*/.*")), "a temporary file stayed"
    return str(caught.value)


def quarantined(archive, node="attic"):
    files = sorted(archive.quarantine.glob(f"{node}/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def in_inbox(archive, node="attic"):
    return [
        json.loads(line) for file in archive.inbox.glob(f"{node}/*.jsonl") for line in file.read_text().splitlines()
    ]


def raw_line(record, words=WORDS):
    return {"raw_of": record["run_id"], "content": b64encode(compress(words)).decode()}


def lines_like(record, changes):
    """Lines like that of a record but for some columns, quickly."""
    template = json.dumps({**record, **{name: f"<{name}>" for name in changes}})
    lines = []
    for values in zip(*changes.values(), strict=True):
        line = template
        for name, value in zip(changes, values, strict=True):
            line = line.replace(f"<{name}>", value)
        lines.append(line.encode() + b"\n")
    return lines
