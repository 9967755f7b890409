"""iperf3 (`-J`): a download (`-R`) and an upload against a server of one's own, named HOST or HOST:PORT.

Speeds in bit/s from `sum_received` (what arrived, not what was sent); the sender's round-trip times in µs are taken
while sending, so they are the upload's latency; their minimum is the nearest to an idle latency. UDP (`-u` among the
extra arguments) adds loss and jitter; up to 3.9 it has `sum` only, which is what was sent with the receiver's loss
(esnet/iperf#1174). Up to 3.1 there is no --connect-timeout, and a share of nothing is -nan (esnet/iperf#613). iperf3
exits 0 with `-J` on a refused connection: the `error` key tells.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from speedtest_logger.engines.contract import Command, Job, Output, Result
from speedtest_logger.engines.reading import (
    family_of,
    load_json,
    not_negative,
    plausible,
    positive,
    section,
    text_or_none,
    whole,
)
from speedtest_logger.engines.reasons import fail, is_between_tests
from speedtest_logger.errors import EngineError
from speedtest_logger.record import MOST

CONNECT_TIMEOUT_MS = 5000
WITHOUT_CONNECT_TIMEOUT = re.compile(r"3\.[01](\D|$)")
NOT_A_NUMBER = re.compile(rb"(:\s*)-?(?:nan|inf)\b")


def split_server(server: str) -> tuple[str, str]:
    """Host and port of HOST, HOST:PORT or [IPV6]:PORT; the port is 5201 where none is named."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?", server)
    if not match:
        return server, "5201"  # a bare IPv6 address
    return match[1] or match[3], match[2] or match[4] or "5201"


class Iperf3:
    """See contract.Engine."""

    def version_of(self, text: str) -> str | None:
        """As in 'iperf 3.12 (cJSON 1.7.15)'."""
        match = re.match(r"iperf (3\.\S+)", text)
        return match[1] if match else None

    def commands(self, job: Job) -> list[Command]:
        """Two commands: download, then upload."""
        if not job.server:
            raise EngineError("engine_error", "iperf3 needs a server: set its servers to HOST or HOST:PORT")
        host, port = split_server(job.server)
        argv = [
            job.program,
            "-J",
            "-c",
            host,
            "-p",
            port,
            "-t",
            str(job.duration),
        ]
        if not WITHOUT_CONNECT_TIMEOUT.match(job.version or ""):
            argv += ["--connect-timeout", str(CONNECT_TIMEOUT_MS)]
        if job.ip_family != "auto":
            argv.append(f"-{job.ip_family}")
        if job.source_interface:
            argv += ["--bind-dev", job.source_interface]
        if job.source_address:
            argv += ["-B", job.source_address]
        argv += job.extra_args
        return [Command([*argv, "-R"]), Command(argv)]

    def parse(self, outputs: list[Output]) -> Result:
        """What arrived in each direction; a failed download is an error, a failed upload is partial."""
        download = _checked(outputs[0])
        upload, problem = _upload(outputs[1:])
        down, up = _arrived(download), _arrived(upload)
        sent = section(upload, "end", "sum_sent") or section(upload, "end", "sum")
        connection = section(download, "start", "connecting_to")
        local = _first(section(download, "start").get("connected")).get("local_host")
        senders = [_sender(stream) for stream in section(upload, "end").get("streams") or []]
        round_trips = [rtt for s in senders if (rtt := positive(s.get("mean_rtt"), 1e-3)) is not None]
        lowest = [rtt for s in senders if (rtt := positive(s.get("min_rtt"), 1e-3)) is not None]
        return plausible(
            Result(
                download_bps=positive(down.get("bits_per_second")),
                upload_bps=positive(up.get("bits_per_second")),
                latency_low_ms=min(lowest, default=None),
                upload_latency_ms=sum(round_trips) / len(round_trips) if round_trips else None,
                jitter_ms=not_negative(down.get("jitter_ms")),
                packet_loss_pct=not_negative(down.get("lost_percent")),
                bytes_received=whole(down.get("bytes")),
                bytes_sent=whole(sent.get("bytes")),
                server_host=text_or_none(
                    f"{connection['host']}:{connection.get('port')}" if connection.get("host") else None
                ),
                ip_family=family_of(local if isinstance(local, str) else None),
                message=problem,
            )
        )


def _upload(outputs: list[Output]) -> tuple[dict[str, Any], str | None]:
    """The upload's content, or nothing and why it failed: the download still counts, and the record says partial."""
    try:
        content = _checked(outputs[0]) if outputs else {}
        _arrived(content)
    except EngineError as error:
        return {}, str(error)
    return content, None


def _arrived(content: dict[str, Any]) -> dict[str, Any]:
    """The sum of what arrived; where there is none, UDP's sum of what was sent less the loss. Raises EngineError."""
    received, sent = section(content, "end", "sum_received"), section(content, "end", "sum")
    if received or "packets" not in sent:
        return received
    lost = not_negative(sent.get("lost_percent"))
    if lost is None or lost > MOST["packet_loss_pct"]:
        words = "this iperf3 tells of UDP what was sent and the share that was lost"
        raise EngineError("bad_output", f"{words}, and the share is {sent.get('lost_percent')!r:.40}: update to 3.10")
    share = 1 - lost / 100
    rest = {name: value * share for name in ("bits_per_second", "bytes") if (value := positive(sent.get(name)))}
    return {**sent, "bits_per_second": None, "bytes": None, **rest}


def _checked(output: Output) -> dict[str, Any]:
    content = load_json(replace(output, stdout=NOT_A_NUMBER.sub(rb"\1null", output.stdout)))
    if not isinstance(content, dict):
        raise EngineError("bad_output", f"an object is expected, not {content!r:.80}")
    if content.get("error"):
        if is_between_tests(output) and "refused" not in str(content["error"]):  # refused, nobody may be there
            raise EngineError("server_busy", str(content["error"])[:500])
        fail(str(content["error"]))
    if output.returncode != 0:
        fail(output.text)
    return content


def _first(items: Any) -> dict[str, Any]:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}


def _sender(stream: Any) -> dict[str, Any]:
    return section(stream, "sender")


ENGINE = Iperf3()
