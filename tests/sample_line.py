"""A line such as people have: busy in the evening of its own time zone, with outages, odd values and odd names."""

from __future__ import annotations

import math
import random
from datetime import datetime
from zoneinfo import ZoneInfo

from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import store
from speedtest_logger.record import Record, run_id_of_slot, utc_text

BERLIN = ZoneInfo("Europe/Berlin")
START = 1_790_805_600  # 2026-10-01 00:00 in Berlin


def record(node, at, rng, *, rate=250.0, scheduled=True, status="ok", **values):
    """A test at a moment (Unix time, s); in the evening the line has two thirds of its rate (Mbit/s)."""
    local = datetime.fromtimestamp(at, BERLIN)
    busy = math.exp(-(((local.hour + local.minute / 60 - 20.5) / 2.5) ** 2))
    speed = rate * (1 - busy / 3) * rng.uniform(0.93, 1.0)
    measured = {
        "download_bps": speed * 1e6,
        "upload_bps": speed * 0.16e6,
        "latency_ms": 11 + 25 * busy + rng.uniform(0, 3),
        "jitter_ms": 1 + 2 * busy + rng.uniform(0, 0.5),
    }
    slot, engine = utc_text(at) if scheduled else None, values.pop("engine", "librespeed")
    location = values.pop("location", "home")
    return Record(
        run_id=run_id_of_slot(node, utc_text(at)), node=node, location=location, scheduled_at=slot,
        started_at=utc_text(at + 1), finished_at=utc_text(at + 20), status=status, engine=engine,
        engine_version="1.0.11",
        server_name="speed.example.org", server_host="http://speed.example.org/",
        **{**(measured if status == "ok" else {}), **values},
    ).to_row()  # fmt: skip


def history(interval, offset, start=START, location="home"):
    """A node's one entry in the registry."""
    return [{"valid_from": utc_text(start), "valid_to": None, "interval_seconds": interval, "offset_seconds": offset,
             "location": location, "plan_download_mbps": 250, "plan_upload_mbps": 40}]  # fmt: skip


def line(node, days, interval, offset=0, start=START, **values):
    """A node's rows; a slot in 40 failed, one in 60 is missing, and each tenth day has an outage of two hours."""
    rng = random.Random(node)  # noqa: S311  the same line each time
    rows = []
    for number in range(int(days * 86_400 / interval)):
        at = start + number * interval + offset
        down = (at - start) // 86_400 % 10 == 7 and 14 <= (at - start) % 86_400 // 3600 < 16
        chance = rng.random()
        if chance < 1 / 60:
            continue
        if down or chance < 1 / 24:
            rows.append(record(node, at, rng, status="failed", reason="no_route" if down else "server_unreachable"))
        else:
            rows.append(record(node, at, rng, **values))
    return rows


def archive(root, rows):
    """An archive at a path that holds these rows."""
    layout = Layout(root)
    layout.prepare()
    with store.single_writer(layout, "ingest"):
        store.commit(layout, "ingest", json_lines.to_table(rows))
    return layout
