"""report: what a location's line delivered in a period: one HTML file that needs nothing else, and a CSV beside it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import jinja2

from speedtest_logger import files, registry
from speedtest_logger.archive.ledger import index
from speedtest_logger.archive.read import audited, coverage, questions, render
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import charts
from speedtest_logger.archive.report.page import Plan, View, gather
from speedtest_logger.errors import UsageError
from speedtest_logger.text import printable

ROWS_SUFFIX = ".csv"


def trusted(archive: Archive, start: float, end: float) -> tuple[Archive, dict[str, int]]:
    """The archive without records of nodes that the registry does not know at its location, and how many of whom.

    And with each run once, also where an earlier version stored one twice.
    """
    location, layout = str(archive.scope.location), archive.layout
    nodes = sorted({*index.read(layout).nodes, *coverage.read_schedules(layout)})
    condition = audited.at_home(layout, location, nodes)
    scoped = archive.only(start=start, end=end)
    left_out = {} if condition == "true" else questions.records_by_node(scoped, f"NOT {condition}")
    besides = f"AND {condition}"
    if audited.may_be_doubled(layout):
        besides += " QUALIFY row_number() OVER (PARTITION BY node, run_id ORDER BY started_at) = 1"
    return replace(archive, besides=besides), left_out


def places(out: Path) -> list[Path]:
    """The page's file and that of its rows; a pipe or a device gets the page only. Raises UsageError."""
    if files.is_stream(out):
        return [out]
    if out.suffix == ROWS_SUFFIX:
        raise UsageError(f"{out} is the file for the rows: name the page, such as {out.with_suffix('.html')}")
    return [out, out.with_suffix(ROWS_SUFFIX)]


def write(archive: Archive, start: float, end: float, out: Path, plan: Plan, zone: Zone | None = None) -> Path | None:
    """Write the report to files; returns the CSV's path where there is one. As `write_to` otherwise."""
    with ExitStack() as stack:
        page, *rows = [stack.enter_context(files.new_output(place)) for place in places(out)]
        rows_file = out.with_suffix(ROWS_SUFFIX)
        write_to(archive, (start, end), plan, page, (rows_file.name, rows[0]) if rows else None, zone=zone)
    return rows_file if rows else None


def write_to(
    archive: Archive,
    period: tuple[float, float],
    plan: Plan,
    page: BinaryIO,
    rows: tuple[str, BinaryIO] | None,
    *,
    zone: Zone | None = None,
) -> dict[str, int]:
    """Write the report of an archive that is narrowed to a location, and its rows, which have a name, as CSV.

    Returns how many records of which nodes were left out, for they are not of this location.

    The period is two Unix times (s); the clocks are those of a time zone, by default UTC. Raises UsageError where the
    location has neither records nor slots in it.
    """
    start, end = period
    archive, left_out = trusted(archive, start, end)
    location = archive.scope.location
    accounts = list(coverage.accounts(archive, start, end))
    scoped = archive.only(start=start, end=end)
    found = questions.span(scoped)
    moments = [slot.at for account in accounts for slot in (account.slots[:1] + account.slots[-1:])]
    moments += [found[name] for name in ("first", "last") if found[name] is not None]
    if not moments:
        known = ", ".join(archive.locations()) or "none"
        raise UsageError(f"location '{location}' has no tests in this period; known here: {known}")
    bounds = (found["first"], found["last"]) if found["tests"] else (min(moments), max(moments))
    view = View(start, end, zone or Zone.named("UTC"), bounds[0], bounds[1], found["tests"])
    facts = {**gather(scoped, accounts, view, plan), "left_out": left_out, "rows_file": rows[0] if rows else None}
    if rows:
        render.write(scoped.to_arrow(), "csv", rows[1])
    page.write(template().render(**facts).encode())
    return left_out


def template() -> jinja2.Template:
    """The page; whatever it is given is text, never markup."""
    loader = jinja2.PackageLoader("speedtest_logger.archive.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=charts.number, shown=printable, count="{:,}".format)
    return environment.get_template("report.html.j2")


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


def zone_of(archive: Archive, location: str | None) -> Zone:
    """The time zone that the inventory gives the location's nodes: what most have that have not left it at UTC."""
    found = registry.read(archive.layout.root)
    nodes = (found.inventory or {}).values() if found else ()
    named = Counter(str(node["timezone"]) for node in nodes if node.get("location") == location and "timezone" in node)
    del named["UTC"]
    return Zone.named(min(named, key=lambda name: (-named[name], name), default="UTC"))
