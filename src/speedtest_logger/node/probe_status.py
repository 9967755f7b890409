"""What a node says of its probes: to people in its status, to Prometheus in its textfile (metrics.py).

Both know what was written last, some minutes ago at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from speedtest_logger.errors import RecordError
from speedtest_logger.node.config import Settings
from speedtest_logger.node.probe_results import RESULT_SECONDS, STATE
from speedtest_logger.node.spool import ReadState
from speedtest_logger.probe_result import BROKEN, ProbeResult, validate
from speedtest_logger.probes.catalogue import PROBES
from speedtest_logger.record import unix_time

OLD_SECONDS = 3 * RESULT_SECONDS  # or as many runs


def last_results(settings: Settings, read_state: ReadState) -> list[ProbeResult]:
    """What was written last, of probes and targets that are still set."""
    rows = (read_state(STATE) or {}).get("results")
    found = []
    for row in rows if isinstance(rows, list) else []:
        with suppress(RecordError, TypeError, AttributeError):
            result = validate(row)
            named = result.probe in settings.probes
            if named and (result.target in settings.probe[result.probe].targets or not PROBES[result.probe].targets):
                found.append(result)
    return found


def registry(settings: Settings, read_state: ReadState, now: float) -> list[dict[str, Any]]:
    """Every probe of the catalogue: whether it is on, its targets, when it last ran, and how that went."""
    results = last_results(settings, read_state)
    return [
        {
            "probe": name,
            "on": name in settings.probes,
            "targets": list(settings.probe[name].targets),
            "last_run": max((result.finished_at for result in of), default=None),
            "health": health(settings, of, now) if name in settings.probes else "off",
            "lost_pct": {result.target: round(100 * result.lost / max(1, result.sent), 1) for result in of},
            "median_ms": {result.target: result.median_ms for result in of},
        }
        for name in PROBES
        for of in [[result for result in results if result.probe == name]]
    ]


def old(settings: Settings) -> float:
    """After how long results are old (s)."""
    return max(OLD_SECONDS, 3 * settings.probe_interval_seconds)


def health(settings: Settings, results: Sequence[ProbeResult], now: float) -> str:
    """One word: waiting (no result yet, or none needed), silent (none lately), broken, failing, lossy, ok."""
    if not results:
        return "waiting"
    if any(result.reason in BROKEN for result in results):
        return "broken"
    if now - max(unix_time(result.finished_at) for result in results) > old(settings):
        return "waiting" if results[0].probe == "traceroute" else "silent"
    if any(result.lost == result.sent > 0 for result in results):
        return "failing"
    return "lossy" if any(result.lost for result in results) else "ok"


def problems(settings: Settings, probes: Sequence[dict[str, Any]], now: float) -> list[str]:
    """What its owner should look at: what does not run. What does not answer is for the archive to judge."""
    if settings.paused:
        return []
    broken = [each["probe"] for each in probes if each["health"] == "broken"]
    silent = [each for each in probes if each["health"] == "silent"]
    found = [f"probe {name} cannot run: `speedtest-logger doctor` says why" for name in broken]
    if silent:
        minutes = (now - max(unix_time(each["last_run"]) for each in silent)) / 60
        names = ", ".join(each["probe"] for each in silent)
        found.append(f"no result of {names} for {minutes:.0f} minutes: is speedtest-probe.timer running?")
    return found


def as_lines(probes: Sequence[dict[str, Any]], waiting: int) -> list[str]:
    """The same for a person; nothing where no probe is on."""
    lines = []
    for each in probes:
        if each["on"]:
            told = [
                f"{target} {'no answer' if median is None else f'{median:.1f} ms'}"
                + (f" ({each['lost_pct'][target]:g} % lost)" if each["lost_pct"][target] else "")
                for target, median in each["median_ms"].items()
            ]
            lines.append(f"probe         {each['probe']}: {each['health']}" + (f", {', '.join(told)}" if told else ""))
    off = [each["probe"] for each in probes if not each["on"]]
    if lines:
        lines += [f"probes off    {', '.join(off)}"] if off else []
        lines.append(f"probe results {waiting} files wait")
    return lines
