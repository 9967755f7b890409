"""irtt (0.9, `-o -`): five small UDP packets, 200 ms apart, to a server of one's own.

Round trips are in ns; a packet's `lost` is a text: "false", "true", "true_up" or "true_down".
"""

from __future__ import annotations

import json
import re
from typing import Any

from speedtest_logger.errors import ProbeError
from speedtest_logger.probes.contract import Answer, Job, Means, Output, said

REQUESTS = 5
OPTIONS = ["-Q", "-d", "1s", "-i", "200ms", "--timeouts=1s,1s", "--wait=2x1s", "-o", "-"]
MOST_MS = 60_000.0
PATTERNS = (
    ("refused", r"connection refused"),
    ("no_route", r"network is unreachable|no route to host|cannot assign requested address"),
    ("dns_failed", r"lookup |no such host|no suitable address"),
    ("no_answer", r"no reply from server|timeout"),
)


class Irtt:
    """See contract.Probe."""

    def run(self, job: Job, means: Means) -> Answer:
        """Five packets."""
        family = [f"-{job.ip_family}"] if job.ip_family != "auto" else []
        source = [f"--local={job.source_address}"] if job.source_address else []
        return parse(means.run(["irtt", "client", *OPTIONS, *family, *source, job.target], job.seconds))


def parse(output: Output) -> Answer:
    """What its JSON says. Raises ProbeError with the reason where there is none."""
    try:
        told = json.loads(output.stdout)
        packets = told["round_trips"]
        times = [_time(each) for each in packets]
        family = told["config"]["ip_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _failure(output) from error
    found = Answer(len(times), [time for time in times if time is not None])
    found.ip_family = {"IPv4": 4, "IPv6": 6}.get(family) if isinstance(family, str) else None
    if not times:
        raise _failure(output)
    if len(found.times_ms) < len(times):
        found.reason, found.message = "no_answer", f"{len(times) - len(found.times_ms)} of {len(times)} packets lost"
    return found


def _time(packet: dict[str, Any]) -> float | None:
    """A packet's round trip (ms), None where it was lost. Raises ValueError, TypeError or KeyError for nonsense."""
    if packet["lost"] != "false":
        return None
    time = packet["delay"]["rtt"] / 1e6
    if not 0 <= time <= MOST_MS:
        raise ValueError("impossible")
    return float(time)


def _failure(output: Output) -> ProbeError:
    words = said(output.stderr[:2000].decode(errors="replace"))
    for reason, pattern in PATTERNS:
        if re.search(pattern, words, re.IGNORECASE):
            return ProbeError(reason, words)
    return ProbeError("program_failed", words or f"irtt ended with {output.returncode} and said nothing of use")


PROBE = Irtt()
