"""What every fixture of tests/fixtures/imports must become, worked out by hand from the units of its format.

Speeds: bytes/s * 8, Mbit/s * 1,000,000, bit/s as they are. Each row: its time, download and upload (bit/s), and what
else is worth saying. A failed test has no speeds.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from builders import FIXTURES

from speedtest_logger.archive.write.importing import run
from speedtest_logger.archive.write.importing.run import Source
from speedtest_logger.record import utc_text

FILES = FIXTURES / "imports"
PLACE = {"server_id": "4711", "server_name": "Example"}


def ok(started: str, down: float | None, up: float | None, latency: float | None, **others: Any) -> dict[str, Any]:
    """A completed test."""
    status = "ok" if down and up else "partial"
    return {"started_at": started, "status": status, "download_bps": down, "upload_bps": up,
            "latency_ms": latency, **others}  # fmt: skip


def failed(started: str, reason: str, message: str | None) -> dict[str, Any]:
    """A failed test."""
    return {"started_at": started, "status": "failed", "reason": reason, "message": message, "download_bps": None}


OOKLA = {"jitter_ms": 0.5, "bytes_received": 115343360, "bytes_sent": 52428800, **PLACE}
SIVEL = {"external_ip": "203.0.113.77", "jitter_ms": None, "packet_loss_pct": None, "server_id": "4711",
         "server_name": "Berlin"}  # fmt: skip
LIBRE = {"jitter_ms": 0.36, "server_host": "http://target.example.org:8989/", "external_ip": "203.0.113.77"}
# (file, format, rows, refused, passed over)
CASES: dict[str, tuple[str, list[dict[str, Any]], int, int]] = {
    "ookla.json": ("ookla", [
        # 11,534,336 * 8 and 5,242,880 * 8
        ok("2026-11-20T10:00:00.000Z", 92274688.0, 41943040.0, 9.871, jitter_ms=0.541, packet_loss_pct=0.0,
           bytes_received=115343360, bytes_sent=52428800, server_name="Example Sponsor", isp="Example Net"),
    ], 0, 0),
    "ookla-progress.jsonl": ("ookla", [
        ok("2026-10-06T03:00:20.000Z", 100e6, 20e6, 10.25, packet_loss_pct=1.5, bytes_received=125000000),
        failed("2026-10-06T04:00:02.000Z", "server_unreachable", "Cannot open socket: Connection timed out"),
    ], 1, 5),
    "ookla-1.0.csv": ("ookla-csv", [
        ok("2026-10-07T10:00:00.000Z", 92274688.0, 41943040.0, 9.8, packet_loss_pct=None, **OOKLA),
    ], 0, 0),
    "ookla-1.2.csv": ("ookla-csv", [
        ok("2026-10-08T10:00:00.000Z", 92274688.0, 41943040.0, 9.8, packet_loss_pct=0.25, latency_low_ms=9.2,
           latency_high_ms=10.9, download_latency_ms=34.2, upload_latency_ms=51.7, **OOKLA),
    ], 0, 0),
    "ookla-headerless.tsv": ("ookla-csv", [
        ok("2026-10-08T11:00:00.000Z", 92274688.0, 41943040.0, 9.8, packet_loss_pct=0.25, latency_low_ms=9.2, **OOKLA),
    ], 0, 0),
    "json-normalize.csv": ("ookla", [
        ok("2026-10-21T10:00:00.000Z", 92274688.0, 41943040.0, 9.8, packet_loss_pct=0.5, download_latency_ms=34.2,
           external_ip="203.0.113.77", **OOKLA),
    ], 0, 0),
    "speedtest-cli.json": ("speedtest-cli", [
        ok("2026-10-09T03:10:25.213Z", 94300000.5, 41200000.25, 12.5, bytes_received=118000000, bytes_sent=51519232,
           isp="Example Net", **SIVEL),
    ], 0, 0),
    "speedtest-cli.csv": ("speedtest-cli", [
        ok("2026-10-10T03:10:25.213Z", 94300000.5, 41200000.25, 12.5, **SIVEL),
    ], 0, 0),
    "speedtest-cli-headerless.csv": ("speedtest-cli", [
        ok("2026-10-11T03:10:25.213Z", 94300000.5, 41200000.25, 12.5, **SIVEL),
    ], 0, 0),
    "speedsnake.csv": ("speedtest-cli", [
        ok("2026-10-22T03:10:25.213Z", 94300000.5, 41200000.25, 12.5, bytes_sent=51519232, **SIVEL),
    ], 0, 0),
    # its clock is two hours ahead of UTC
    "librespeed-cli.json": ("librespeed-cli", [
        ok("2026-10-12T03:10:11.828Z", 903390000.0, 34330000.0, 7.25, bytes_received=28968008, bytes_sent=6881280,
           **LIBRE),
    ], 0, 0),
    "librespeed-cli.csv": ("librespeed-cli", [
        ok("2026-10-13T03:10:11.828Z", 903390000.0, 34330000.0, 7.25, **LIBRE),
    ], 0, 0),
    "librespeed-cli-headerless.log": ("librespeed-cli", [
        ok("2026-10-14T03:10:11.000Z", 903390000.0, 34330000.0, 7.25, **LIBRE),
    ], 0, 0),
    "iperf3-download.json": ("iperf3", [
        ok("2026-11-21T02:18:37.000Z", 96418179.6193406, None, None, bytes_received=24117248, reason="incomplete"),
    ], 0, 0),
    "iperf3-upload.json": ("iperf3", [
        ok("2026-11-21T03:09:11.000Z", None, 45466037.949673079, None, bytes_sent=15073280, upload_latency_ms=30.264),
    ], 0, 0),
    "tracker-2023.csv": ("speedtest-tracker-2023", [
        # 117,912,222 * 8: issue 529 of that project calls it 943.3 Mbit/s
        ok("2023-02-01T10:00:00.000Z", 943297776.0, 41943040.0, 9.8, jitter_ms=0.5, bytes_received=1000000, **PLACE),
    ], 0, 0),
    "tracker-bits.csv": ("speedtest-tracker-bits", [
        ok("2024-06-01T10:00:00.000Z", 546087912.0, 41943040.0, 9.8, jitter_ms=0.5, packet_loss_pct=0.0, **PLACE),
        failed("2024-06-01T11:00:00.000Z", "dns_failed", "Could not resolve host: example.org"),
    ], 0, 1),
    "tracker-flattened.csv": ("ookla", [
        ok("2026-10-01T00:00:30.000Z", 92274688.0, 41943040.0, 19.133, jitter_ms=1.8, bytes_sent=124297377,
           download_latency_ms=104.125, external_ip="203.0.113.77", packet_loss_pct=0.0),
        failed("2026-10-01T02:00:30.000Z", "engine_error", None),
    ], 0, 1),
    "tracker-dump.csv": ("speedtest-tracker", [
        ok("2026-10-15T10:00:00.000Z", 92274688.0, 41943040.0, 9.8, jitter_ms=0.5, packet_loss_pct=2.5,
           isp="Example Net"),
        failed("2026-10-15T11:00:00.000Z", "server_unreachable", "Cannot open socket: Connection refused"),
    ], 0, 1),
    "tracker-api.json": ("speedtest-tracker", [
        ok("2026-10-16T10:00:00.000Z", 92274688.0, 41943040.0, 9.8, external_ip="203.0.113.77", **OOKLA),
    ], 0, 0),
    "henrywhitaker3.csv": ("speedtest-tracker-mbit", [
        ok("2021-06-01T10:00:00.000Z", 92380000.0, 41500000.0, 9.8, server_host="speed.example.org", **PLACE),
        failed("2021-06-01T11:00:00.000Z", "engine_error", None),
    ], 0, 0),
    "henrywhitaker3.json": ("speedtest-tracker-mbit", [
        ok("2021-06-02T10:00:00.000Z", 92380000.0, 41500000.0, 9.8, **PLACE),
    ], 0, 0),
    "murakami.jsonl": ("murakami", [
        ok("2026-10-17T19:07:27.192Z", 13500000.0, 3250000.0, 10.5, engine="ndt7", location="attic"),
        failed("2026-10-17T20:07:27.192Z", "dns_failed", "dial tcp: lookup locate.example.org: no such host"),
        # 2,005,673 * 8 and 319,556 * 8, whatever its label says
        ok("2026-10-17T21:46:56.000Z", 16045384.0, 2556448.0, 11.75, engine="ookla", bytes_received=12997248),
    ], 0, 0),
    "librespeed-telemetry.csv": ("librespeed-telemetry", [
        ok("2026-10-18T10:00:00.000Z", 93520000.0, 41100000.0, 12.0, jitter_ms=1.5, external_ip="203.0.113.77"),
    ], 1, 0),
    "myspeed.csv": ("myspeed", [
        ok("2026-10-19T10:00:00.000Z", 93520000.0, 41100000.0, 12.0),
        failed("2026-10-19T11:00:00.000Z", "no_route", "Network unreachable"),
    ], 0, 0),
    "myspeed.json": ("myspeed", [ok("2026-10-20T10:00:00.000Z", 93520000.0, 41100000.0, 12.0)], 0, 0),
}  # fmt: skip


def path(name: str) -> Path:
    """A fixture's file."""
    return FILES / name


WHOLE = Source("attic", external_ip="full")


def rows_of(file: Path, source: Source = WHOLE) -> tuple[list[dict], run.Imported]:
    outcome = run.Imported()
    rows = [row for _, table in run.tables(file, source, outcome) for row in table.to_pylist()]
    for row in rows:
        row["started_at"] = utc_text(row["started_at"].timestamp())
    return sorted(rows, key=lambda row: row["started_at"]), outcome


@cache
def whole_of(name: str) -> list[dict]:
    """The rows of a fixture as it is, which nobody changes."""
    return rows_of(path(name))[0]
