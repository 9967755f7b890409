"""A fleet's records, generated and seeded: what every archive benchmark runs on.

A node measures every five minutes: 288 slots a day, 93 % ok, the rest failed or skipped; rates swing with the hour.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from speedtest_logger.archive.format.schema import BATCH_SCHEMA

SLOT_SECONDS = 300
START = int(datetime(2025, 1, 1, tzinfo=timezone.utc).timestamp())
YEAR_SLOTS = 365 * 288


def node_table(number: int, first: int, slots: int, location: int | None = None) -> pa.Table:
    """Rows of a node from a slot on (slots count from 2025-01-01), as a table of BATCH_SCHEMA."""
    rng = np.random.default_rng([number, first])
    at = (START + (first + np.arange(slots)) * SLOT_SECONDS + number % SLOT_SECONDS) * 1000
    started = at + rng.integers(20, 900, slots)
    chance = rng.random(slots)
    ok = chance < 0.93
    failed = ~ok & (chance < 0.98)
    rush = 1 - 0.35 * np.clip(np.sin((at / 3.6e6 % 24 - 15) / 9 * np.pi), 0, 1)
    down = np.round(rng.normal(90e6, 3e6, slots) * rush, -2)
    up = np.round(rng.normal(40e6, 1e6, slots) * rush, -2)
    latency = np.round(rng.gamma(8, 1.5, slots), 2)
    low = rng.integers(0, 1 << 62, slots)
    place = f"loc-{number if location is None else location:04d}"
    values = {
        "schema_version": np.full(slots, 1),
        "run_id": [str(uuid.UUID(int=(number << 96) | ((first + n) << 64) | int(low[n]))) for n in range(slots)],
        "node": [f"node-{number:04d}"] * slots,
        "location": [place] * slots,
        "uplink": [place] * slots,
        "runtime": ["systemd"] * slots,
        "logger_version": ["0.1.0"] * slots,
        "scheduled_at": at,
        "started_at": started,
        "finished_at": started + 24_000 + rng.integers(0, 2000, slots),
        "status": np.select([ok, failed], ["ok", "failed"], "skipped"),
        "reason": pa.array(np.select([ok, failed], ["", "engine_timeout"], "line_busy"), mask=ok),
        "engine": pa.array(["librespeed"] * slots, mask=~ok),
        "engine_requested": ["librespeed"] * slots,
        "engine_version": pa.array(["1.0.11"] * slots, mask=~ok),
        "attempt": pa.array(np.ones(slots, "i8"), mask=~ok),
        "server_id": pa.array(["51"] * slots, mask=~ok),
        "server_name": pa.array(["Example Town"] * slots, mask=~ok),
        "server_host": pa.array(["speed.example.org:8080"] * slots, mask=~ok),
        "isp": pa.array(["Example Net"] * slots, mask=~ok),
        "interface": ["eth0"] * slots,
        "ip_family": pa.array(np.full(slots, 4), mask=~ok),
        "download_bps": pa.array(down, mask=~ok),
        "upload_bps": pa.array(up, mask=~ok),
        "latency_ms": pa.array(latency, mask=~ok),
        "jitter_ms": pa.array(np.round(rng.gamma(2, 0.4, slots), 2), mask=~ok),
        "bytes_received": pa.array((down * 1.25).astype("i8"), mask=~ok),
        "bytes_sent": pa.array((up * 1.25).astype("i8"), mask=~ok),
        "background_rx_bytes": rng.integers(0, 20_000, slots),
        "background_tx_bytes": rng.integers(0, 20_000, slots),
        "day": (started // 86_400_000).astype("i4"),
    }
    columns = [
        pa.array(values[column.name], column.type) if column.name in values else pa.nulls(slots, column.type)
        for column in BATCH_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=BATCH_SCHEMA)


def as_lines(table: pa.Table) -> bytes:
    """The rows as receive writes them into the inbox: JSON lines without what is NULL."""
    names = table.drop_columns(["day"]).column_names
    values = [_json_texts(table[name]) for name in names]
    lines = (
        "{" + ",".join(f'"{n}":{v}' for n, v in zip(names, row, strict=True) if v is not None) + "}\n"
        for row in zip(*values, strict=True)
    )
    return "".join(lines).encode()


def _json_texts(column: pa.ChunkedArray) -> list[str | None]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        whole = [None if v is None else v.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] for v in column.to_pylist()]
        return [None if v is None else f'"{v}Z"' for v in whole]
    if pa.types.is_string(kind):
        return [None if v is None else f'"{v}"' for v in column.to_pylist()]
    return [None if v is None else repr(v) for v in column.to_pylist()]
