"""The report: its numbers are the archive's, its texts are data, and it needs nothing but itself."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import sample_line
from builders import write_schedule

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import coverage, questions
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import charts, report
from speedtest_logger.archive.report.page import Plan
from speedtest_logger.archive.write import store
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
    assert command(archive, tmp_path / "home.html", "--to", "2026-01-02T13:00") == 0
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
    assert (last.end, last.blame, len(last.reasons)) == (None, "unknown", 12)


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
    speed = questions.speed(opened, "download", 100)
    assert speed["median"] == pytest.approx(measured.median())
    assert dict(speed["under"])[50] == pytest.approx(100 * (measured < 50).mean())
    page = out.read_text()
    assert f"<b>{measured.median():.1f} <small>Mbit/s</small>" in page
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


def cells(page, heading):
    """The cells of each row of the table below a heading."""
    table = page.split(f">{heading}</h2>")[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", r, re.DOTALL)] for r in rows]


def test_what_the_page_says_of_the_slots_is_what_coverage_says(archive, tmp_path):
    out = tmp_path / "home.html"
    assert command(archive, out) == 0
    page = out.read_text()
    covers = coverage.coverage(open_archive(archive.root).only(location="home"), START, START + 48 * HOUR)
    rows = [cover.to_row() for cover in covers]
    outcomes = ("ok", "partial", "failed", "skipped", "missed")
    shown = {cells[0]: cells[1:] for cells in cells(page, "Coverage")}
    assert {name: shown[name][0] for name in outcomes} == {
        name: str(sum(row[name] for row in rows)) for name in outcomes
    }
    assert f"of {sum(row['expected'] for row in rows)} scheduled tests<" in page
    tried = sum(row[name] for row in rows for name in outcomes if name != "skipped")
    assert f"of {tried} scheduled tests that were tried" in page
    by_node = page.split("Coverage</h2>")[1].split('<table class="cards">')[1].split("</table>")[0]
    for row in rows:
        for name in outcomes:
            assert f'data-label="{name}">{charts.number(row[name + "_pct"])} %</td>' in by_node


def test_tests_outside_the_schedule_are_counted_and_said(archive, tmp_path):
    more = []
    for number in range(30):
        at = utc_text(START + 100 + number * 60)
        status, reason = ("failed", "no_route") if number < 7 else ("ok", None)
        more.append(
            Record(
                run_id=f"01936f2e-0000-7000-8000-{number:012d}", node="attic", location="home", started_at=at,
                finished_at=at, status=status, reason=reason, runtime="imported", engine="ookla", engine_version="1",
                download_bps=9e7 if status == "ok" else None,
            ).to_row()
        )  # fmt: skip
    with store.single_writer(archive, "ingest"):
        store.commit(archive, "ingest", json_lines.to_table(more))
    out = tmp_path / "home.html"
    assert command(archive, out) == 0
    page = out.read_text()
    assert "Outside the schedule (imported, or by hand): 30 tests, 7 failed." in page
    [attic, porch] = coverage.coverage(open_archive(archive.root), START, START + 48 * HOUR)
    assert (attic.unscheduled, attic.unscheduled_failed, attic.expected) == (30, 7, 48)
    assert (porch.unscheduled, porch.unscheduled_failed) == (0, 0)
    (archive.state / "schedule.json").unlink()
    assert command(archive, out) == 0
    page = out.read_text()
    assert "of 0 scheduled tests" in page
    assert "No test was scheduled, so none can be told." in page
    assert "every scheduled test" not in page.split("<h2>Outages</h2>")[1].split("<h2>")[0]


def test_clocks_are_those_of_the_inventory(archive, tmp_path):
    """Winter has UTC+1 in Berlin: the outage of 05:00 to 07:00 UTC was from 6 to 8."""
    registry = json.loads((archive.state / "schedule.json").read_text())
    names = {"attic": "Europe/Berlin", "porch": "UTC"}
    inventory = {name: {"location": "home", "archive_raw": False, "timezone": zone} for name, zone in names.items()}
    (archive.state / "schedule.json").write_text(json.dumps({**registry, "inventory": inventory}))
    out = tmp_path / "home.html"
    assert command(archive, out) == 0
    page = out.read_text()
    assert "clocks of Europe/Berlin" in page
    assert ["2026-01-01 06:00", "2026-01-01 08:00"] in [row[:2] for row in cells(page, "Outages")]
    assert command(archive, out, "--zone", "America/New_York") == 0
    assert ["2026-01-01 00:00", "2026-01-01 02:00"] in [row[:2] for row in cells(out.read_text(), "Outages")]
    assert command(archive, out, "--zone", "UTC") == 0
    assert ["2026-01-01 05:00", "2026-01-01 07:00"] in [row[:2] for row in cells(out.read_text(), "Outages")]


def test_a_time_zone_that_is_none_is_refused(archive, tmp_path, capsys):
    assert command(archive, tmp_path / "home.html", "--zone", "Mars/Olympus") == 2
    assert (
        "'Mars/Olympus' is not a known time zone: give --zone a name such as Europe/Berlin" in capsys.readouterr().err
    )


def test_the_busy_hour_is_the_evening_of_the_people_there(tmp_path):
    start = sample_line.START
    layout = sample_line.archive(tmp_path / "archive", sample_line.line("attic", 40, 3600))  # over the end of October
    opened = open_archive(layout.root).only(location="home")
    bands = questions.by_hour(opened, Zone.named("Europe/Berlin"))
    assert min(bands, key=lambda hour: bands[hour]["download"].middle) in (20, 21)
    frame = opened.to_pandas(["started_at", "download_bps"])
    local = frame.groupby(frame["started_at"].dt.tz_convert("Europe/Berlin").dt.hour)["download_bps"]
    for hour, values in local:
        assert bands[hour]["download"].middle == pytest.approx(values.median() / 1e6)
        assert bands[hour]["download"].high == pytest.approx(values.quantile(0.9) / 1e6)
        assert bands[hour]["download"].tests == values.count()
    days = questions.by_part(opened, Zone.named("Europe/Berlin"), "day")
    by_day = frame.groupby(frame["started_at"].dt.tz_convert("Europe/Berlin").dt.date)["download_bps"]
    assert {day.date(): band["download"].middle for day, band in days.items()} == pytest.approx(
        (by_day.median() / 1e6).to_dict()
    )
    assert len(days) == 40
    assert start == Zone.named("Europe/Berlin").at(start).replace(hour=0).timestamp()


def test_a_few_days_show_every_test_and_a_month_shows_hours_and_days(archive, tmp_path):
    out = tmp_path / "home.html"
    assert command(archive, out) == 0
    page = out.read_text()
    assert ">Every test</h2>" in page
    dots = re.search(r'<path class="dots" d="([^"]*)"', page)[1]
    assert dots.count("h0") == 90
    crosses = re.search(r'<path class="crosses" d="([^"]*)"', page)[1]
    assert crosses.count("M") == 1
    assert "05:00 failed (no_route) (attic)" in page
    layout = sample_line.archive(tmp_path / "month", sample_line.line("attic", 10, 3600))
    report.write(
        open_archive(layout.root).only(location="home"), sample_line.START, sample_line.START + 10 * 86_400, out,
        Plan(250, None), Zone.named("Europe/Berlin"),
    )  # fmt: skip
    page = out.read_text()
    assert ">By hour of the day, and by day</h2>" in page
    assert 'class="dots"' not in page
    assert page.count("<figure") == 6 + (page.count("What became of every") > 0)


def test_a_line_that_was_down_all_the_time_has_a_page(tmp_path, archive):
    out = tmp_path / "home.html"
    assert command(archive, out, "--from", "2026-01-01T05:00", "--to", "2026-01-01T07:00") == 0
    page = out.read_text()
    assert "Nothing was measured" in page
    assert page.count("<figure>") == 1  # what became of the slots
    assert [row[-2:] for row in cells(page, "Outages")] == [["2 of 2", "line"]] * 2


def test_nodes_that_differ_have_charts_of_their_own_and_those_that_do_not_have_not(tmp_path):
    out = tmp_path / "home.html"

    def page(*lines):
        layout = sample_line.archive(
            tmp_path / str(len(list(tmp_path.iterdir()))), [row for rows in lines for row in rows]
        )
        period = (sample_line.START, sample_line.START + 5 * 86_400)
        report.write(open_archive(layout.root).only(location="home"), *period, out, Plan(250, 40))
        return out.read_text()

    alike = page(sample_line.line("attic", 5, 3600), sample_line.line("porch", 5, 3600, 1800))
    assert "<h3>" not in alike
    assert [row[0] for row in cells(alike, "By node and program")] == ["porch", "attic"]
    differ = page(
        sample_line.line("attic", 5, 3600), sample_line.line("porch", 5, 3600, 1800, engine="iperf3", rate=940.0)
    )
    assert re.findall("<h3>(.*?)</h3>", differ) == ["porch, iperf3", "attic, librespeed"]
    assert differ.count("by hour of the day, Mbit/s</figcaption>") == 4


@pytest.mark.parametrize(
    ("name", "host", "shown"),
    [
        ("speed.example.org", "http://speed.example.org/", "speed.example.org"),
        ("Example, Berlin", "speed.example.org:8080", "Example, Berlin speed.example.org:8080"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        (None, "192.0.2.1:5201", "192.0.2.1:5201"),
        ("a", None, "a"),
        (None, None, ""),
    ],
)
def test_a_server_is_named_once(name, host, shown):
    assert questions.server(name, host) == shown


def test_the_page_goes_to_standard_output(archive, capfdbinary):
    assert command(archive, "-") == 0
    printed = capfdbinary.readouterr()
    assert printed.out.startswith(b"<!doctype html>")
    assert printed.out.rstrip().endswith(b"</html>")
    assert printed.err == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["outages", "--from", "2026-01-01", "--to", "2026-01-01T04:00"], "no outages"),
        (
            ["verify", "--explain", "location=home/year=2020/month=01/speedtest.parquet"],
            "the manifest has never named a file location=home/year=2020/month=01/speedtest.parquet",
        ),
    ],
)
def test_where_there_is_nothing_a_word_says_so(archive, capfd, words, said):
    assert cli.main(["--root", str(archive.root), *words]) == 0
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", said + "\n")
    assert cli.main(["--root", str(archive.root), *words, "--format", "csv"]) == 0
    printed = capfd.readouterr()
    assert printed.out.count("\n") == 1  # the columns' names: programs get the same form always
    assert printed.err == said + "\n"


def test_where_no_raw_output_is_kept_that_is_said(archive, capfd):
    assert cli.main(["--root", str(archive.root), "query", "SELECT text FROM raw"]) == 0
    assert (
        "no raw output is kept here: nodes deliver it with speedtest_logger_archive_raw: true" in capfd.readouterr().err
    )
    assert cli.main(["--root", str(archive.root), "query", "SELECT node FROM records LIMIT 0"]) == 0
    assert capfd.readouterr().err == ""


def test_the_pages_name_is_not_its_rows_name(archive, tmp_path, capsys):
    assert command(archive, tmp_path / "home.csv") == 2
    assert "is the file for the rows: name the page, such as" in capsys.readouterr().err
    assert not (tmp_path / "home.csv").exists()
