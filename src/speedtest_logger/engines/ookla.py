"""Ookla's `speedtest` 1.x (`--format=json`): speeds in bytes/s, latency in ms, loss in percent and often absent.

Errors are JSON lines of type log on standard output or error; before them the cause may stand as text, and only there:
`[2022-10-21 18:42:58.419] [error] Configuration - Couldn't resolve host name (HostNotFoundException)` before a line
that says no more than ConfigurationError (MiguelNdeCarvalho/speedtest-exporter#173). Exit 173 is the rate limit.
sivel's speedtest-cli brings a program of the same name, so the version text decides. It only runs where the owner has
accepted its licence.
"""

from __future__ import annotations

import json
import re
from typing import Any

from speedtest_logger.engines.contract import Command, Job, Output, Result
from speedtest_logger.engines.reading import family_of, not_negative, plausible, positive, section, text_or_none, whole
from speedtest_logger.engines.reasons import fail
from speedtest_logger.errors import EngineError

BITS_PER_BYTE = 8
RATE_LIMIT_EXIT = 173
LOG_TIME = re.compile(r"\[[^\]]*\d:\d[^\]]*\] *")  # its milliseconds may look like a status: [… 18:42:58.429]


class Ookla:
    """See contract.Engine."""

    def version_of(self, text: str) -> str | None:
        """As in 'Speedtest by Ookla 1.2.0.84 (…)'."""
        match = re.match(r"Speedtest by Ookla (\S+)", text)
        return match[1] if match else None

    def commands(self, job: Job) -> list[Command]:
        """One command does both directions; the length of the test cannot be set."""
        if job.ip_family != "auto" and not job.source_address:
            raise EngineError("engine_error", "Ookla's speedtest has no option for IPv4 or IPv6: set source_address")
        if job.blocked_servers and not job.server:
            raise EngineError("engine_error", "Ookla's speedtest cannot leave out servers: name those to use instead")
        argv = [job.program, "--format=json", "--progress=no", "--accept-license", "--accept-gdpr"]
        if job.server:
            argv += ["--server-id", job.server]
        if job.source_interface:
            argv += ["--interface", job.source_interface]
        if job.source_address:
            argv += ["--ip", job.source_address]
        return [Command([*argv, *job.extra_args])]

    def parse(self, outputs: list[Output]) -> Result:
        """The line of type result among those of type log."""
        output = outputs[0]
        if output.truncated:
            raise EngineError("bad_output", f"more than {len(output.stdout)} bytes of output")
        if output.returncode == RATE_LIMIT_EXIT:
            raise EngineError("rate_limited", _said(output) or "Ookla's rate limit (exit 173)")
        content = next((line for line in _lines(output.stdout) if line.get("type") == "result"), None)
        if content is None or output.returncode != 0:
            if not output.returncode and not _messages(output):
                raise EngineError("bad_output", f"no result line: {output.stdout[:120]!r}")
            fail(_said(output) or output.text)
        return plausible(_result(content))


def _result(content: dict[str, Any]) -> Result:
    ping, down, up = (section(content, name) for name in ("ping", "download", "upload"))
    server, address = section(content, "server"), text_or_none(section(content, "interface").get("externalIp"))
    return Result(
        download_bps=positive(down.get("bandwidth"), BITS_PER_BYTE),
        upload_bps=positive(up.get("bandwidth"), BITS_PER_BYTE),
        latency_ms=positive(ping.get("latency")),
        latency_low_ms=positive(ping.get("low")),
        latency_high_ms=positive(ping.get("high")),
        jitter_ms=not_negative(ping.get("jitter")),
        download_latency_ms=positive(section(down, "latency").get("iqm")),
        upload_latency_ms=positive(section(up, "latency").get("iqm")),
        packet_loss_pct=not_negative(content.get("packetLoss")),
        bytes_received=whole(down.get("bytes")),
        bytes_sent=whole(up.get("bytes")),
        server_id=text_or_none(server.get("id")),
        server_name=text_or_none(server.get("name")),
        server_host=text_or_none(server.get("host")),
        server_country=text_or_none(server.get("country")),
        isp=text_or_none(content.get("isp")),
        external_ip=address,
        ip_family=family_of(text_or_none(server.get("ip")) or address),
        result_url=text_or_none(section(content, "result").get("url")),
    )


def _lines(content: bytes) -> list[dict[str, Any]]:
    found = []
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _said(output: Output) -> str:
    """Its errors, each once: those in text, which may be the cause, then those in JSON."""
    return "; ".join(dict.fromkeys(_texts(output) + _messages(output)))


def _texts(output: Output) -> list[str]:
    """What it said beside JSON: its lines marked as errors, or all where it has marked none."""
    lines = [LOG_TIME.sub("", line.strip()) for line in output.text.splitlines()]
    marked = [line.removeprefix("[error]").strip() for line in lines if line.startswith("[error]")]
    return marked or [line for line in lines if line and not line.startswith(("{", "["))]


def _messages(output: Output) -> list[str]:
    """Its errors in JSON."""
    return [
        str(line.get("message") or line.get("error"))
        for line in _lines(output.stdout) + _lines(output.stderr)
        if line.get("level") == "error" or "error" in line
    ]


ENGINE = Ookla()
