"""traceroute: the way to a target, by one round of mtr (0.95, `--json`); run only when the target does not answer.

Without privileges mtr sends datagrams of ICMP (icmp(7)), as ping does. It gives up after three hops in a row that say
nothing; where the way is lost at once, it has no hop at all.
"""

from __future__ import annotations

import json
from typing import Any

from speedtest_logger import domains
from speedtest_logger.errors import ProbeError
from speedtest_logger.probes.contract import Answer, Job, Means, Output, said

OPTIONS = ["--json", "-n", "-c", "1", "-G", "1", "-m", "25", "-U", "3"]
SILENT = "???"
MOST_PATH = 1000  # characters, as a column takes
MOST_MS = 60_000.0


class Traceroute:
    """See contract.Probe."""

    def run(self, job: Job, means: Means) -> Answer:
        """One round to an address."""
        family = [f"-{job.ip_family}"] if job.ip_family != "auto" else []
        source = ["-a", job.source_address] if job.source_address else []
        return parse(means.run(["mtr", *OPTIONS, *family, *source, "--", job.target], job.seconds), job.target)


def parse(output: Output, target: str) -> Answer:
    """Its hops; the target is reached where it is the last of them. Raises ProbeError where there is no report."""
    try:
        hops = [_hop(each) for each in json.loads(output.stdout)["report"]["hubs"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        words = said(output.stderr[:2000].decode(errors="replace"))
        raise ProbeError(
            "dns_failed" if "resolve" in words else "no_route" if "unreachable" in words else "program_failed",
            words or f"mtr ended with {output.returncode} and said nothing of use",
        ) from error
    found = Answer(1, path=in_words(hops))
    if hops and hops[-1][0] == target:
        found.times_ms.append(hops[-1][1])
    elif any(host for host, _ in hops):
        heard = sum(bool(host) for host, _ in hops)
        found.reason, found.message = "no_answer", f"{heard} routers on the way answered, the target did not"
    else:
        found.reason, found.message = "no_route", "no router on the way answered"
    return found


def _hop(hub: dict[str, Any]) -> tuple[str, float]:
    """A router's address and its round trip (ms), an empty address for a silent one. Raises ValueError for nonsense."""
    host, time = hub["host"], float(hub["Avg"])
    if host == SILENT:
        return "", 0.0
    if not (isinstance(host, str) and domains.is_address(host) and 0 <= time <= MOST_MS):
        raise ValueError("no hop")
    return host, time


def in_words(hops: list[tuple[str, float]]) -> str | None:
    """Each hop's address and round trip, or *; as many as fit."""
    path = ""
    for host, time in hops:
        longer = f"{path} {host} {time:.2f}" if host else f"{path} *"
        if len(longer) > MOST_PATH:
            break
        path = longer
    return path.strip() or None


PROBE = Traceroute()
