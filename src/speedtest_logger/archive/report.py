"""report: what a location's line delivered in a period: one HTML file that needs nothing else, and a CSV beside it."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import jinja2

from speedtest_logger import __version__, files
from speedtest_logger.archive import audit, coverage, index, manifest, render
from speedtest_logger.archive.coverage import Account, Cover
from speedtest_logger.archive.dataset import Archive
from speedtest_logger.errors import UsageError
from speedtest_logger.record import utc_text

OUTAGES = 30  # that are listed: the longest; the verb `outages` has them all
ROWS_SUFFIX = ".csv"
SHARES = (50, 80, 90)  # percent of the plan that tests are counted under
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 400, 190, 42, 24, 8  # of a chart, in its own units


@dataclass(frozen=True)
class Plan:
    """What the contract promises, Mbit/s; None where it is not known."""

    download: float | None
    upload: float | None


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name, its colour's name, and for each place a low, a middle and a high value or None."""

    name: str
    colour: str
    points: list[tuple[float, float, float] | None]


def trusted(archive: Archive, start: float, end: float) -> tuple[Archive, dict[str, int]]:
    """The archive without records of nodes that the registry does not know at its location, and how many of whom.

    And with each run once, also where an earlier version stored one twice.
    """
    location, layout = str(archive.scope.location), archive.layout
    nodes = sorted({*index.read(layout).nodes, *coverage.read_schedules(layout)})
    condition = audit.at_home(layout, location, nodes)
    sql = f"SELECT node, count(*) AS n FROM records WHERE NOT {condition} GROUP BY node ORDER BY node"
    left_out = [] if condition == "true" else archive.only(start=start, end=end).query(sql).to_pylist()
    besides = f"AND {condition}"
    if audit.may_be_doubled(layout):
        besides += " QUALIFY row_number() OVER (PARTITION BY node, run_id ORDER BY started_at) = 1"
    return replace(archive, besides=besides), {row["node"]: row["n"] for row in left_out}


def places(out: Path) -> list[Path]:
    """The page's file and that of its rows; a pipe or a device gets the page only. Raises UsageError."""
    if files.is_stream(out):
        return [out]
    if out.suffix == ROWS_SUFFIX:
        raise UsageError(f"{out} is where the rows go: name the page, such as {out.with_suffix('.html')}")
    return [out, out.with_suffix(ROWS_SUFFIX)]


def write(archive: Archive, start: float, end: float, out: Path, plan: Plan) -> Path | None:
    """Write the report to files; returns the CSV's path where there is one. As `write_to` otherwise."""
    with ExitStack() as stack:
        page, *rows = [stack.enter_context(files.new_output(place)) for place in places(out)]
        rows_file = out.with_suffix(ROWS_SUFFIX)
        write_to(archive, (start, end), plan, page, (rows_file.name, rows[0]) if rows else None)
    return rows_file if rows else None


def write_to(
    archive: Archive, period: tuple[float, float], plan: Plan, page: BinaryIO, rows: tuple[str, BinaryIO] | None
) -> dict[str, int]:
    """Write the report of an archive that is narrowed to a location, and its rows, which have a name, as CSV.

    Returns how many records of which nodes were left out, for they are not of this location.

    The period is two Unix times (s). Raises UsageError where the location has neither records nor slots in it.
    """
    start, end = period
    archive, left_out = trusted(archive, start, end)
    location = archive.scope.location
    accounts = list(coverage.accounts(archive, start, end))
    scoped = archive.only(start=start, end=end)
    tests = scoped.query("SELECT count(*) AS n FROM records").to_pylist()[0]["n"]
    if not tests and not any(account.slots for account in accounts):
        known = ", ".join(archive.locations()) or "none"
        raise UsageError(f"location '{location}' has no tests in this period; known here: {known}")
    facts = {**gather(scoped, accounts, start, end, plan), "left_out": left_out}
    if rows:
        render.write(scoped.to_arrow(), "csv", rows[1])
    loader = jinja2.PackageLoader("speedtest_logger.archive", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(number=number, shown=render.printable)
    text = environment.get_template("report.html.j2").render(**facts, rows_file=rows[0] if rows else None)
    page.write(text.encode())
    return left_out


def planned(archive: Archive, location: str | None) -> Plan:
    """The plan that the inventory gives the location's nodes now; the highest where they differ."""
    entries = [
        history[-1]
        for history in coverage.read_schedules(archive.layout).values()
        if history and history[-1].get("location") == location
    ]
    speeds = [
        max((float(e.get(name) or 0) for e in entries), default=0)
        for name in ("plan_download_mbps", "plan_upload_mbps")
    ]
    return Plan(speeds[0] or None, speeds[1] or None)


def gather(archive: Archive, accounts: list[Account], start: float, end: float, plan: Plan) -> dict[str, Any]:
    """Everything that the page shows."""
    covers = coverage.covers_of(accounts)
    days = coverage.covers_of(accounts, coverage.utc_day)
    found = coverage.outages(accounts)
    number_of_line, digest, _ = manifest.head(archive.layout)
    return {
        "location": archive.scope.location,
        "start": utc_text(start)[:16].replace("T", " "),
        "end": utc_text(end)[:16].replace("T", " "),
        "made": utc_text(time.time())[:16].replace("T", " "),
        "version": __version__,
        "nodes": [account.node for account in accounts],
        "plan": plan,
        "speeds": [speed(archive, "download", plan.download), speed(archive, "upload", plan.upload)],
        "delays": delays(archive),
        "hours": hours(archive, plan),
        "daily": daily(archive, plan),
        "covers": [cover.to_row() for cover in covers],
        "coverage_chart": stacked(days),
        "total": total(covers).to_row(),
        "outages": longest([outage.to_row(min(end, time.time())) for outage in found]),
        "outage_count": len(found),
        "methods": methods(archive),
        "line": number_of_line,
        "digest": digest,
        "files": sources(archive),
    }


def longest(outages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The longest ones, in order of time."""
    kept = sorted(outages, key=lambda outage: -outage["minutes"])[:OUTAGES]
    return sorted(kept, key=lambda outage: (outage["from"], outage["node"]))


def total(covers: list[Cover]) -> Cover:
    """All nodes together."""
    both = Cover("all", "")
    for cover in covers:
        both.expected += cover.expected
        both.unscheduled += cover.unscheduled
        both.unscheduled_failed += cover.unscheduled_failed
        both.reasons += cover.reasons
        for name, count in cover.outcomes.items():
            both.outcomes[name] += count
    return both


def speed(archive: Archive, direction: str, plan: float | None) -> dict[str, Any]:
    """Median and percentiles of a direction, Mbit/s, and the percentage of tests under each share of the plan."""
    value = f"{direction}_bps"
    under = ", ".join(
        f"100.0 * count(*) FILTER ({value} < {(plan or 0) * share * 1e4}) / nullif(count({value}), 0) AS u{share}"
        for share in SHARES
    )
    sql = f"""
        SELECT count({direction}_bps) AS tests, median({direction}_bps) / 1e6 AS median,
               quantile_cont({direction}_bps, 0.05) / 1e6 AS p5, quantile_cont({direction}_bps, 0.95) / 1e6 AS p95,
               min({direction}_bps) / 1e6 AS lowest, max({direction}_bps) / 1e6 AS highest, {under} FROM records"""
    row: dict[str, Any] = archive.query(sql).to_pylist()[0]
    share_of_plan = 100 * row["median"] / plan if plan and row["median"] is not None else None
    shares = [(share, row.pop(f"u{share}") if plan else None) for share in SHARES]
    return {"direction": direction, "plan": plan, "share": share_of_plan, "under": shares, **row}


def delays(archive: Archive) -> list[dict[str, Any]]:
    """Median, 95th percentile and number of each kind of latency (ms), of jitter and of loss (percent)."""
    kinds = {
        "latency_ms": "latency, idle (ms)",
        "download_latency_ms": "latency while downloading (ms)",
        "upload_latency_ms": "latency while uploading (ms)",
        "jitter_ms": "jitter (ms)",
        "packet_loss_pct": "packet loss (%)",
    }
    parts = " UNION ALL ".join(
        f"SELECT '{text}' AS what, {place} AS place, count({name}) AS tests, median({name}) AS median, "
        f"quantile_cont({name}, 0.95) AS p95, max({name}) AS highest FROM records"
        for place, (name, text) in enumerate(kinds.items())
    )
    rows: list[dict[str, Any]] = archive.query(f"SELECT * FROM ({parts}) ORDER BY place").to_pylist()
    return [row for row in rows if row["tests"]]


def bands(archive: Archive, by: str) -> dict[Any, dict[str, Any]]:
    """10th percentile, median and 90th percentile of both directions (Mbit/s) and of latency (ms), by an expression."""
    values = {"download": "download_bps / 1e6", "upload": "upload_bps / 1e6", "latency": "latency_ms"}
    quantiles = ", ".join(f"quantile_cont({value}, [0.1, 0.5, 0.9]) AS {name}" for name, value in values.items())
    rows = archive.query(f"SELECT {by} AS place, {quantiles} FROM records GROUP BY 1 ORDER BY 1").to_pylist()
    return {row.pop("place"): row for row in rows}


def series(found: dict[Any, dict[str, Any]], places: list[Any], name: str, colour: str) -> Series:
    """A line of a chart from bands; a place without a value is a gap."""
    points = [tuple(found[place][name]) if place in found and found[place][name] else None for place in places]
    return Series(name, colour, points)


def hours(archive: Archive, plan: Plan) -> list[dict[str, Any]]:
    """Charts by hour of the day."""
    found, places = bands(archive, "CAST(hour(started_at) AS INTEGER)"), list(range(24))
    labels = [(hour, f"{hour:02d}") for hour in range(0, 24, 4)]
    return [
        chart("Download by hour (UTC), Mbit/s", [series(found, places, "download", "down")], labels, plan.download),
        chart("Upload by hour (UTC), Mbit/s", [series(found, places, "upload", "up")], labels, plan.upload),
    ]


def daily(archive: Archive, plan: Plan) -> list[dict[str, Any]]:
    """Charts by day."""
    found = bands(archive, "day")
    places = list(found)
    step = max(1, len(places) // 5)
    labels = [(place, f"{places[place]:%d %b}") for place in range(0, len(places), step)]
    return [
        chart("Download by day, Mbit/s", [series(found, places, "download", "down")], labels, plan.download),
        chart("Upload by day, Mbit/s", [series(found, places, "upload", "up")], labels, plan.upload),
        chart("Idle latency by day, ms", [series(found, places, "latency", "delay")], labels, None),
    ]


def chart(title: str, lines: list[Series], labels: list[tuple[int, str]], limit: float | None) -> dict[str, Any]:
    """A chart's shapes in its own units: bands from low to high, middles as lines, the contracted speed as a rule."""
    values = [value for line in lines for point in line.points if point for value in point]
    top = max([*values, limit or 0, 1e-9]) * 1.08
    count = max(1, max((len(line.points) for line in lines), default=1) - 1)

    def x(place: int) -> float:
        return round(LEFT + (WIDTH - LEFT - 8) * place / count, 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top), 1)

    shapes = []
    for line in lines:
        for run in runs(line.points):
            forth = [f"{x(place)},{y(point[2])}" for place, point in run]
            back = [f"{x(place)},{y(point[0])}" for place, point in reversed(run)]
            middle = [f"{x(place)},{y(point[1])}" for place, point in run]
            dot = (x(run[0][0]), y(run[0][1][1])) if len(run) == 1 else None
            shapes.append({"colour": line.colour, "band": " ".join(forth + back), "line": " ".join(middle), "dot": dot})
    step = round_step(top / 3.5)
    ticks = [(y(step * part), f"{step * part:g}") for part in range(int(top / step) + 1)]
    return {
        "title": title,
        "shapes": shapes,
        "ticks": ticks,
        "labels": [(x(place), text) for place, text in labels],
        "limit": None if limit is None else (y(limit), number(limit)),
    }


def round_step(about: float) -> float:
    """A step of an axis near a length: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(about))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - about))


def runs(points: list[Any]) -> list[list[tuple[int, Any]]]:
    """The stretches without a gap."""
    found: list[list[tuple[int, Any]]] = [[]]
    for place, point in enumerate(points):
        if point is None:
            found.append([])
        else:
            found[-1].append((place, point))
    return [run for run in found if run]


def stacked(days: list[Cover]) -> dict[str, Any]:
    """What became of the slots of each day, all nodes together, as bars that reach 100 %."""
    by_day: dict[str, Cover] = {}
    for cover in days:
        day = by_day.setdefault(str(cover.day), Cover("all", ""))
        for name, count in cover.outcomes.items():
            day.outcomes[name] += count
            day.expected += count
    width = (WIDTH - LEFT - 8) / max(1, len(by_day))
    bars, labels = [], []
    for place, (day_name, cover) in enumerate(sorted(by_day.items())):
        base, left = 0.0, round(LEFT + place * width, 1)
        for name, share in cover.shares().items():
            height = (HEIGHT - TOP - BOTTOM) * share / 100
            if share:
                y = round(HEIGHT - BOTTOM - base - height, 1)
                bars.append(
                    {"kind": name, "x": left, "y": y, "width": round(width * 0.86, 1), "height": round(height, 1)}
                )
            base += height
        if place % max(1, len(by_day) // 5) == 0:
            labels.append((round(left + width / 2, 1), f"{date.fromisoformat(day_name):%d %b}"))
    return {"bars": bars, "labels": labels}


def methods(archive: Archive) -> list[dict[str, Any]]:
    """Which programs measured, against which servers."""
    sql = """
        SELECT engine, engine_version, server_name, server_host, runtime, count(*) AS tests
        FROM records WHERE engine IS NOT NULL GROUP BY ALL ORDER BY tests DESC LIMIT 20"""
    rows: list[dict[str, Any]] = archive.query(sql).to_pylist()
    return rows


def sources(archive: Archive) -> list[dict[str, Any]]:
    """The files that the report was made of, as the manifest knows them."""
    wanted = {archive.layout.name(file) for file in archive.files()}
    return [
        {"name": name, "sha256": state.sha256, "rows": state.rows}
        for name, state in sorted(manifest.state(archive.layout).items())
        if name in wanted
    ]


def number(value: float | None) -> str:
    """A number for people: three digits that count, nothing where there is none."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
