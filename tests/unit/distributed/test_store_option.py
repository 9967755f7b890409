"""What `coverage` and `report` say of the published records is what they say of the archive's own."""

from __future__ import annotations

import json
import re

import pytest
from builders import DAY, FIRST, put, slot, write_schedule

from speedtest_logger.archive.cli import main
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

NODES = {"attic": "home", "porch": "garden"}
PERIOD = ("--from", "2026-01-01", "--to", "2026-03-01")


@pytest.fixture
def archive(tmp_path):
    """Two months of two nodes; every third slot of one is missing."""
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    rows = [slot(node, FIRST + day * DAY, place) for node, place in NODES.items() for day in range(40)]
    put(layout, *[row for number, row in enumerate(rows) if number % 3 or number > 40])
    entry = {
        "valid_from": "2026-01-01T00:00:00.000Z",
        "valid_to": None,
        "interval_seconds": DAY,
        "offset_seconds": FIRST % DAY,
    }
    write_schedule(layout, **{node: [{**entry, "location": place}] for node, place in NODES.items()})
    delta.Publisher(layout, Place.of(str(tmp_path / "table")), 2).publish()
    return layout


def said(capfd, layout, *words):
    code = main(["--root", str(layout.root), *words])
    return code, capfd.readouterr().out


@pytest.mark.parametrize("more", [(), ("--by-day",), ("--node", "attic")])
def test_coverage_is_the_same(archive, capfd, tmp_path, more):
    words = ("coverage", "--format", "json", *PERIOD, *more)
    here = said(capfd, archive, *words)
    there = said(capfd, archive, *words, "--store", str(tmp_path / "table"))
    assert there == here
    counted = json.loads(here[1])
    assert sum(row["missed"] for row in counted) > 0 < sum(row["ok"] for row in counted)


def test_a_report_is_the_same_with_its_rows(archive, capfd, tmp_path):
    pages = []
    for name, more in (("here", ()), ("there", ("--store", str(tmp_path / "table")))):
        (tmp_path / name).mkdir()
        page = tmp_path / name / "home.html"
        assert said(capfd, archive, "report", "--location", "home", *PERIOD, *more, str(page))[0] == 0
        text = re.sub(r"Made [0-9: -]+\.", "", page.read_text(encoding="utf-8"))
        pages.append((text, page.with_suffix(".csv").read_bytes()))
    assert pages[0] == pages[1]
    assert len(pages[0][1].splitlines()) > 10
