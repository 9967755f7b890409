"""sivel's speedtest-cli 2.1 (`--json --secure`): speeds in bit/s, whatever `--bytes` says.

`ping` is half the mean of three HTTP times, and one that failed counts as 3600 s: from 600,000 ms on (one of three
failed; 1,800,000 when all did) it is no measurement. There is no jitter and no loss.
"""

from __future__ import annotations

import re

from speedtest_logger.engines.contract import Command, Job, Output, Result
from speedtest_logger.engines.reading import family_of, load_json, plausible, positive, section, text_or_none, whole
from speedtest_logger.engines.reasons import fail
from speedtest_logger.errors import EngineError

FAILED_PING_MS = 3600 * 1000 / 6


class SpeedtestCli:
    """See contract.Engine."""

    def version_of(self, text: str) -> str | None:
        """As in 'speedtest-cli 2.1.3'."""
        match = re.match(r"speedtest-cli (\S+)", text)
        return match[1] if match else None

    def commands(self, job: Job) -> list[Command]:
        """One command does both directions; the length of the test cannot be set."""
        if job.ip_family == "6":
            raise EngineError(
                "engine_error", "speedtest-cli measures IPv4 only: use another engine, or ip_family auto or 4"
            )
        if job.source_interface and not job.source_address:
            raise EngineError("engine_error", "speedtest-cli binds to addresses only: set source_address")
        argv = [job.program, "--json", "--secure"]
        if job.server:
            argv += ["--server", job.server]
        for server in job.blocked_servers:
            argv += ["--exclude", server]
        if job.source_address:
            argv += ["--source", job.source_address]
        return [Command([*argv, *job.extra_args])]

    def parse(self, outputs: list[Output]) -> Result:
        """The result object."""
        output = outputs[0]
        content = load_json(output)
        if output.returncode != 0:
            fail(output.text)
        if not isinstance(content, dict) or "download" not in content:
            raise EngineError("bad_output", f"a result object is expected, not {content!r:.80}")
        latency = positive(content.get("ping"))
        server, client = section(content, "server"), section(content, "client")
        address = text_or_none(client.get("ip"))
        return plausible(
            Result(
                download_bps=positive(content.get("download")),
                upload_bps=positive(content.get("upload")),
                latency_ms=latency if latency is not None and latency < FAILED_PING_MS else None,
                bytes_received=whole(content.get("bytes_received")),
                bytes_sent=whole(content.get("bytes_sent")),
                server_id=text_or_none(server.get("id")),
                server_name=text_or_none(server.get("name")),
                server_host=text_or_none(server.get("host")),
                server_country=text_or_none(server.get("country")),
                isp=text_or_none(client.get("isp")),
                external_ip=address,
                ip_family=family_of(address),
                result_url=text_or_none(content.get("share")),
            )
        )


ENGINE = SpeedtestCli()
