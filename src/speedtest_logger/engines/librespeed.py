"""librespeed-cli (github.com/librespeed/speedtest-cli, 1.0.x, `--json`).

A JSON array of results; speeds in Mbit/s (10^6) whatever the help says, latency and jitter in ms. With every server
down it prints `null` or `[]` and exits 0. Without the right to send ICMP it measures latency by HTTP, cuts each round
trip down to whole milliseconds and reports their mean: a latency of 0 means "each below 1 ms", and is no measurement.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

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
from speedtest_logger.engines.reasons import fail
from speedtest_logger.errors import EngineError

MBIT = 1e6
PHP = "garbage.php"
PHP_PLACE = "backend/"  # where LibreSpeed's own server has its back end


def back_ends(url: str) -> list[str]:
    """The URLs under which a server may answer, the one that was given first; one that names garbage.php is exact."""
    if url.endswith(f"/{PHP}"):
        return [url]
    base = url.rstrip("/") + "/"
    return [url, base + PHP, *([] if base.endswith(f"/{PHP_PLACE}") else [base + PHP_PLACE + PHP])]


def server_list(url: str) -> bytes:
    """A server list of one: a base URL, or the URL of LibreSpeed's garbage.php for the PHP back end."""
    php = url.endswith(f"/{PHP}")
    base, ending = (url[: -len(PHP)], ".php") if php else (url.rstrip("/") + "/", "")
    return json.dumps(
        [
            {
                "id": 1,
                "name": re.sub(r"^https?://|/.*$", "", base),
                "server": base,
                "dlURL": "garbage" + ending,
                "ulURL": "empty" + ending,
                "pingURL": "empty" + ending,
                "getIpURL": "getIP" + ending,
            }
        ]
    ).encode()


class LibreSpeed:
    """See contract.Engine."""

    def version_of(self, text: str) -> str | None:
        """As in 'librespeed-cli v1.0.11 (built on …)'."""
        match = re.match(r"librespeed-cli v?(\S+)", text)
        return match[1] if match else None

    def commands(self, job: Job) -> list[Command]:
        """One command does both directions. A server of one's own has several, of which one finds its back end."""
        argv = [job.program, "--json", "--telemetry-level", "disabled", "--duration", str(job.duration)]
        lists = [b""]
        if job.server and "://" in job.server:
            lists = [server_list(url) for url in back_ends(job.server)]
            argv += ["--local-json", "-", "--server", "1"]
        elif job.server:
            argv += ["--server", job.server]
        else:
            for server in job.blocked_servers:
                argv += ["--exclude", server]
        if job.ip_family != "auto":
            argv.append(f"--ipv{job.ip_family}")
        if job.source_interface:
            argv += ["--interface", job.source_interface]
        if job.source_address:
            argv += ["--source", job.source_address]
        first, *others = (Command([*argv, *job.extra_args], stdin) for stdin in lists)
        return [replace(first, instead=tuple(others))]

    def parse(self, outputs: list[Output]) -> Result:
        """The first item of the array; some older builds print the item alone."""
        content = load_json(outputs[0])
        if outputs[0].returncode != 0:
            fail(outputs[0].text)
        if content is None or content == []:
            raise EngineError(
                "server_unreachable", "librespeed-cli found no server that answers (it printed null or [])"
            )
        item = content[0] if isinstance(content, list) else content
        if not isinstance(item, dict):
            raise EngineError("bad_output", f"a result object is expected, not {item!r:.80}")
        latency = positive(item.get("ping"))
        address = text_or_none(section(item, "client").get("ip"))
        return plausible(
            Result(
                download_bps=positive(item.get("download"), MBIT),
                upload_bps=positive(item.get("upload"), MBIT),
                latency_ms=latency,
                jitter_ms=not_negative(item.get("jitter")) if latency else None,
                bytes_received=whole(item.get("bytes_received")),
                bytes_sent=whole(item.get("bytes_sent")),
                server_name=text_or_none(section(item, "server").get("name")),
                server_host=text_or_none(section(item, "server").get("url")),
                isp=text_or_none(section(item, "client").get("org")),
                external_ip=address,
                ip_family=family_of(address),
            )
        )


ENGINE = LibreSpeed()
