"""The digest: how each line did in the last day or week, in a line of text; the worst first."""

from __future__ import annotations

from typing import Any

from speedtest_logger import registry
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.findings import duration
from speedtest_logger.alerts.messages import Message
from speedtest_logger.alerts.state import State
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import coverage, questions
from speedtest_logger.archive.read.coverage import Account, Cover
from speedtest_logger.archive.read.dataset import Archive

DAY = 86_400
SECONDS = {"daily": DAY, "weekly": 7 * DAY}
MOST_LINES = 40
FEWEST_SLOTS = 2  # in a row, that make an outage


def add(layout: Layout, known: State, destination: Destination, now: float, link: str) -> int:
    """Put one among what waits; how many were made."""
    known.post(destination.name).digest = now
    period = SECONDS[destination.digest]
    lines = [
        text
        for location, _, text in summaries(layout, now - period, now)
        if not destination.locations or location in destination.locations
    ]
    if not lines:
        return 0
    more = [f"and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    what = "day" if destination.digest == "daily" else "week"
    known.waiting.append(
        Message(
            f"digest-{destination.name}-{int(now)}",
            destination.name,
            now,
            "info",
            f"{len(lines)} line{'s' if len(lines) > 1 else ''}: the last {what}",
            [*lines[:MOST_LINES], *more, *([link] if link else [])],
            "info",
        )
    )
    return 1


def summaries(layout: Layout, start: float, end: float) -> list[tuple[str, float, str]]:
    """Each location, its availability (percent) and its line of text, the least available first."""
    archive = Archive(layout)
    accounts = list(coverage.accounts(archive, start, end))
    medians = questions.medians(archive.only(start=start, end=end))
    by_location: dict[str, list[Account]] = {}
    for account in accounts:
        if account.slots:
            by_location.setdefault(account.location, []).append(account)
    plans = _plans(layout)
    made = []
    for location, own in by_location.items():
        cover = Cover("", location)
        for each in coverage.covers_of(own):
            cover.add(each)
        row = cover.to_row()
        available = 100.0 if row["availability_pct"] is None else float(row["availability_pct"])
        text = _text(location, row, _outages(own, end), medians.get(location, {}), plans.get(location))
        made.append((location, available, text))
    return sorted(made, key=lambda each: (each[1], each[0]))


def _plans(layout: Layout) -> dict[str, float]:
    """Each location's plan for download (bit/s), the highest of its nodes'."""
    found = registry.read(layout.root)
    plans: dict[str, float] = {}
    for history in (found.nodes if found else {}).values():
        plan, place = history[-1].get("plan_download_mbps"), str(history[-1].get("location"))
        if plan:
            plans[place] = max(plans.get(place, 0), float(plan) * 1e6)
    return plans


def _outages(own: list[Account], end: float) -> list[float]:
    """The line's outages: of each, how long (s) its shortest one lasted, for one node's may begin earlier."""
    found = [each for each in coverage.outages(own, FEWEST_SLOTS) if each.blame in ("line", "unknown")]
    lasted: list[tuple[float, float]] = []
    for each in found:
        until = end if each.end is None else each.end
        if lasted and each.start < lasted[-1][1]:
            lasted[-1] = (max(lasted[-1][0], each.start), min(lasted[-1][1], until))
        else:
            lasted.append((each.start, until))
    return [until - start for start, until in lasted if until > start]


def _text(
    location: str, row: dict[str, Any], outages: list[float], medians: dict[str, float | None], plan: float | None
) -> str:
    parts = []
    if row["availability_pct"] is not None:
        parts.append(f"{row['availability_pct']:.2f} % available")
    if outages:
        parts.append(f"{len(outages)} outage{'s' if len(outages) > 1 else ''} ({duration(sum(outages))})")
    download, upload = medians.get("download"), medians.get("upload")
    if download is not None:
        share = f", {100 * download / plan:.0f} % of the plan" if plan else ""
        up = f"/{upload / 1e6:.0f}" if upload is not None else ""
        parts.append(f"median {download / 1e6:.0f}{up} Mbit/s{share}")
    if row["accounted_pct"] is not None and row["accounted_pct"] < 100:
        parts.append(f"{row['accounted_pct']:.1f} % of the slots have a record")
    return f"{location}: {'; '.join(parts) or 'nothing was measured'}"
