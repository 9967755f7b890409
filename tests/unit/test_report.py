"""The report: its numbers are the archive's, its texts are data, and it needs nothing but itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from test_archive import write_schedule

from speedtest_logger.archive import cli, coverage, json_lines, open_archive, report, store
from speedtest_logger.archive.layout import Layout
from speedtest_logger.record import Record, run_id_of_slot, utc_text

START = 1_767_225_600  # 2026-01-01
HOUR = 3600
EVIL = "<img src=x onerror=alert(1)>\u202e"


def slot(node, number, status="ok", reason=None, **values):
    at = START + number * HOUR
    speeds = {"download_bps": 1e6 * (40 + number), "upload_bps": 2e7, "latency_ms": 10.0} if status == "ok" else {}
    return Record(
        run_id=run_id_of_slot(node, utc_text(at)), node=node, location="home", scheduled_at=utc_text(at),
        started_at=utc_text(at + 1), finished_at=utc_text(at + 20), status=status, reason=reason, engine="librespeed",
        engine_version="1.0.11", server_name=EVIL, **{**speeds, **values},
    ).to_row()  # fmt: skip


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    both = [slot("attic", n) for n in range(48) if n not in (5, 6, 30)]
    both += [slot("attic", 30, "skipped", "line_busy"), slot("attic", 5, "failed", "no_route")]
    both += [slot("porch", n) for n in range(48) if n not in (5, 6, 20)]
    with store.single_writer(layout, "ingest"):
        store.commit(layout, "ingest", json_lines.to_table(both))
    entry = {"valid_from": utc_text(START), "valid_to": None, "interval_seconds": HOUR, "offset_seconds": 0,
             "location": "home", "plan_download_mbps": 100, "plan_upload_mbps": 0}  # fmt: skip
    write_schedule(layout, attic=[entry], porch=[entry])
    return layout


def command(archive, out, *more):
    period = ("--from", "2026-01-01", "--to", "2026-01-03")
    return cli.main(["--root", str(archive.root), "report", "--location", "home", *period, *more, str(out)])


def test_outages_tell_the_line_from_the_node(archive):
    found = list(coverage.accounts(open_archive(archive.root), START, START + 48 * HOUR))
    rows = [outage.to_row(START) for outage in coverage.outages(found)]
    told = [
        (r["node"], r["from"][11:16], r["until"][11:16], r["slots"], r["seen_by"], r["watching"], r["blame"])
        for r in rows
    ]
    assert told == [
        ("attic", "05:00", "07:00", 2, 2, 2, "line"),
        ("porch", "05:00", "07:00", 2, 2, 2, "line"),
        ("porch", "20:00", "21:00", 1, 1, 2, "node"),
    ]
    assert [o.reason for o in coverage.outages(found)] == ["no_route", "missed", "missed"]


def test_a_label_at_the_right_end_is_not_cut(archive, tmp_path):
    assert command(archive, tmp_path / "home.html") == 0
    page = (tmp_path / "home.html").read_text(encoding="utf-8")
    labels = re.findall(r'<text x="([0-9.]+)" y="184" text-anchor="(\w+)">', page)
    assert {anchor for x, anchor in labels if float(x) > 370} == {"end"}
    assert {anchor for x, anchor in labels if float(x) <= 370} == {"middle"}


def test_nodes_that_take_turns_see_the_same_outage(archive):
    def account(node, offset, down):
        slots = [coverage.Slot(n * 600 + offset, "missed" if n in down else "ok", None) for n in range(20)]
        return coverage.Account(node, "home", slots, [])

    found = coverage.outages(
        [account("attic", 0, {3, 4, 9}), account("porch", 300, {3, 4, 9}), account("shed", 400, {3, 4})]
    )
    told = {(outage.node, outage.start // 600): outage.blame for outage in found}
    assert told == {
        **{(node, 3): "line" for node in ("attic", "porch", "shed")},
        ("attic", 9): "some nodes",
        ("porch", 9): "some nodes",
    }


def test_an_outage_that_lasts_has_no_end_and_one_node_alone_blames_nobody(archive):
    alone = [a for a in coverage.accounts(open_archive(archive.root), START, START + 60 * HOUR) if a.node == "porch"]
    last = coverage.outages(alone)[-1]
    assert (last.end, last.blame, len(last.slots)) == (None, "unknown", 12)


def test_days_add_up_to_a_hundred_percent(archive):
    covers = coverage.coverage(open_archive(archive.root), START, START + 72 * HOUR, by_day=True)
    assert len(covers) == 6
    for cover in covers:
        assert sum(cover.outcomes.values()) == cover.expected == 24
        assert round(sum(cover.shares().values()), 9) == 100
    assert covers[0].to_row()["day"] == "2026-01-01"


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 3, 2), (1, 6, 0), (333, 333, 334)])
def test_shares_add_up_whatever_the_counts(counts):
    cover = coverage.Cover("a", "b", expected=sum(counts))
    cover.outcomes.update(zip(("ok", "failed", "missed"), counts, strict=True))
    assert round(sum(cover.shares().values()), 9) == 100


def test_the_numbers_are_the_archives(archive, tmp_path):
    out = tmp_path / "home.html"
    assert command(archive, out) == 0
    rows = pd.read_csv(out.with_suffix(".csv"))
    assert len(rows) == 92
    measured = rows["download_bps"].dropna() / 1e6
    opened = open_archive(archive.root).only(location="home")
    speed = report.speed(opened, "download", 100)
    assert speed["median"] == pytest.approx(measured.median())
    assert dict(speed["under"])[50] == pytest.approx(100 * (measured < 50).mean())
    page = out.read_text()
    assert f"{measured.median():.1f} Mbit/s" in page
    assert f"{100 * (measured < 80).mean():.1f} %" in page
    assert "no contracted speed given" in page  # upload
    assert command(archive, out, "--plan-upload", "40") == 0
    assert "50.0 % of 40.0 contracted" in out.read_text()


class Tags(HTMLParser):
    """The tags of a page; none may ask for anything outside it."""

    def __init__(self):
        super().__init__()
        self.seen, self.open = set(), []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "onerror", "onclick"), (tag, name, value)


def test_it_needs_nothing_but_itself_and_texts_are_no_markup(archive, tmp_path):
    out = tmp_path / "home.html"
    command(archive, out)
    page = out.read_text()
    tags = Tags()
    tags.feed(page)
    assert not tags.seen & {"script", "img", "link", "iframe", "object"}
    assert "&lt;img src=x onerror=alert(1)&gt;?" in page
    assert "\u202e" not in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_a_location_that_is_not_known_is_said(archive, tmp_path, capsys):
    argv = ["--root", str(archive.root), "report", "--location", "hone", "--last", "30d", str(tmp_path / "x.html")]
    assert cli.main(argv) == 2
    assert "known here: home" in capsys.readouterr().err


def test_gaps_are_gaps():
    line = report.Series("a", "down", [(1, 2, 3), None, (1, 2, 3), (2, 3, 4)])
    drawn = report.chart("t", [line], [], 5)
    assert [bool(shape["dot"]) for shape in drawn["shapes"]] == [True, False]
    assert [text for _, text in drawn["ticks"]] == ["0", "2", "4"]
