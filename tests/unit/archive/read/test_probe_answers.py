"""What results of probes say: curves, summaries, spans, pages, and whose fault a bad hour was."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa
import pytest
from probing import at, result, store

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.read import diagnosis, probes
from speedtest_logger.archive.read.diagnosis import Place
from speedtest_logger.archive.read.probes import Wanted
from speedtest_logger.errors import UsageError
from speedtest_logger.record import utc_text

START = 1_790_000_000 // 86_400 * 86_400 + 18 * 3_600  # 18:00 UTC
STEP, HOUR, DAY = 300, 3_600, 86_400
INTERNET = (("ping", "1.1.1.1"), ("dns", "example.org"))
ALL = (("ping", "gateway"), *INTERNET)


def evening(node="attic", dead=(), span=(START + 3_600, START + 4_800), **more):
    """Four hours, in which some targets do not answer for twenty minutes."""
    return [
        result(
            start, probe, target, node,
            failed=span if (probe, target) in dead and start < span[1] and start + 240 > span[0] else None, **more,
        )
        for start in range(START, START + 4 * HOUR, STEP)
        for probe, target in ALL
    ]  # fmt: skip


@pytest.fixture
def archive(tmp_path):
    made = Layout(tmp_path / "archive")
    made.prepare()
    return made


def told(archive, of="answers", start=START + 3_900, end=START + 4_500):
    return diagnosis.diagnosis(archive, Place("home"), start, end, of)


def test_the_gateway_answers_and_the_internet_does_not(archive):
    store(archive, evening(dead=INTERNET))
    found = told(archive)
    assert (found.cause, found.start, found.until) == ("line", START + 3_600, START + 4_740)
    day = utc_text(START)[:10]
    assert found.sentence == (
        f"the gateway answered and the internet did not from {day} 19:00:00 to 19:19:00 UTC: the line or the provider"
    )


def test_the_edges_are_those_of_runs_and_not_of_results(archive):
    store(archive, evening(dead=INTERNET, span=(START + 3_661, START + 4_622)))
    found = told(archive)
    assert (found.start, found.until) == (START + 3_661, START + 4_622)


def test_the_gateway_does_not_answer(archive):
    store(archive, evening(dead=ALL))
    found = told(archive)
    assert (found.cause, found.start, found.until) == ("own_network", START + 3_600, START + 4_740)
    assert found.sentence.startswith("the gateway did not answer from ")
    assert found.sentence.endswith(": the node's own network")


@pytest.mark.parametrize("dead", [(), (("dns", "example.org"),), (("ping", "gateway"),)])
def test_the_internet_answered_all_the_time(archive, dead):
    store(archive, evening(dead=dead))
    found = told(archive)
    assert (found.cause, found.start) == ("engine", None)
    assert found.sentence == "gateway and internet answered all the time: the engine or its server"


def test_no_results_say_nothing(archive):
    assert told(archive) == diagnosis.NOTHING
    store(archive, evening(dead=INTERNET))
    assert told(archive, start=START - 9_000, end=START - 8_000) == diagnosis.NOTHING
    other = diagnosis.diagnosis(archive, Place("garden"), START + 3_900, START + 4_500)
    assert other == diagnosis.NOTHING


def test_without_a_gateway_the_fault_is_open(archive):
    store(archive, [row for row in evening(dead=INTERNET) if row["target"] != "gateway"])
    found = told(archive)
    assert (found.cause, found.start, found.until) == ("unknown", START + 3_600, START + 4_740)
    assert "the gateway was not probed" in found.sentence


def test_what_lasts_has_no_end(archive):
    store(archive, evening(dead=INTERNET, span=(START + 3_600, START + 9 * HOUR)))
    found = told(archive)
    assert (found.cause, found.start, found.until) == ("line", START + 3_600, None)
    assert "since " in found.sentence


def test_traceroute_is_no_witness(archive):
    """It runs only when something fails, and reaching its target says nothing of it."""
    store(archive, [*evening(dead=INTERNET), result(START + 3_700, "traceroute", "1.1.1.1")])
    assert told(archive).cause == "line"


def test_several_nodes_are_asked(archive):
    store(archive, [*evening(dead=INTERNET), *evening("porch", dead=ALL)])
    assert told(archive).cause == "line"
    own = diagnosis.diagnosis(archive, Place("home", "porch"), START + 3_900, START + 4_500)
    assert own.cause == "own_network"


def test_many_spans_are_diagnosed_each_by_its_own_node(archive):
    traced = result(START + 3_700, "traceroute", "1.1.1.1", "cellar", failed=(START + 3_700, START + 3_800))
    store(archive, [*evening(dead=INTERNET), *evening("porch", dead=ALL), traced])
    rows = probes.results(archive, Wanted(START, START + DAY)).rows
    spans = probes.spans(rows)
    found = diagnosis.of_spans(rows, spans)
    causes = {(span.node, said.cause) for span, said in zip(spans, found, strict=True)}
    assert causes == {("attic", "line"), ("porch", "own_network"), ("cellar", "unknown")}
    assert len(found) == 6
    assert diagnosis.of_spans(rows, []) == []


@pytest.mark.parametrize(
    ("gateway", "internet", "cause"), [(0, 0, "engine"), (0, 3, "line"), (3, 3, "own_network"), (2, 3, "own_network")]
)
def test_losses_have_a_place(archive, gateway, internet, cause):
    rows = evening()
    store(archive, [row | {"lost": gateway if row["target"] == "gateway" else internet} for row in rows])
    found = told(archive, "loss")
    assert found.cause == cause
    assert f"the internet {100 * internet / 15:.1f} %" in found.sentence


@pytest.mark.parametrize(
    ("gateway", "internet", "cause"), [(1, 10, "engine"), (1, 80, "line"), (60, 80, "own_network")]
)
def test_delays_have_a_place(archive, gateway, internet, cause):
    usual = [
        row | {"median_ms": 1.0 if row["target"] == "gateway" else 10.0}
        for row in evening()
        if row["started_at"] < at(START + 3_600)
    ]
    slow = [
        row | {"median_ms": float(gateway if row["target"] == "gateway" else internet)}
        for row in evening()
        if row["started_at"] >= at(START + 3_600)
    ]
    store(archive, usual + slow)
    assert told(archive, "latency").cause == cause


def test_spans_of_results_that_follow_each_other_are_one(archive):
    twice = [
        row
        for span in ((START + 660, START + 1_860), (START + 7_200, START + 7_300))
        for row in evening(dead=(("ping", "1.1.1.1"),), span=span)
        if row["target"] == "1.1.1.1" and row["failed_from"]
    ]
    store(archive, twice)
    found = probes.spans(probes.results(archive, Wanted(START, START + DAY)).rows)
    assert [(span.start - START, span.until - START) for span in found] == [(660, 1_860), (7_200, 7_300)]
    assert found[0].reason == "no_answer"


def test_an_answer_between_two_failures_parts_them(archive):
    rows = [
        result(START, "ping", "1.1.1.1", failed=(START, START + 100)),
        result(START + STEP, "ping", "1.1.1.1", failed=(START + STEP + 60, START + STEP + 240)),
    ]
    store(archive, rows)
    found = probes.spans(probes.results(archive, Wanted(START, START + DAY)).rows)
    assert [span.start - START for span in found] == [0, 360]


def test_curves_and_summaries(archive):
    rows = [
        result(START + STEP * place, "ping", "1.1.1.1", median=float(median), lost=lost)
        for place, (median, lost) in enumerate([(5, 0), (9, 3), (7, 0), *[(20, 0)] * 12])
    ]
    rows.append(result(START + STEP * 14 + 300, "ping", "1.1.1.1", failed=(START, START + DAY)))
    store(archive, [*rows, result(START, "dns", "example.org", node="porch")])
    found = probes.results(archive, Wanted(START, START + DAY))
    assert found.unreadable == []
    porch, ping = sorted(probes.curves(found.rows, "hour"), key=lambda curve: curve.probe)
    assert (porch.node, porch.target, porch.median) == ("porch", "example.org", [9.0])
    assert ping.at == [START, START + HOUR]
    assert ping.median == [20.0, 20.0]
    assert ping.loss[0] == pytest.approx(100 * 3 / (12 * 15), abs=0.01)
    assert ping.loss[1] == pytest.approx(100 * 15 / (4 * 15), abs=0.01)
    (each,) = [row for row in probes.summaries(found.rows, probes.spans(found.rows)) if row.probe == "ping"]
    assert (each.results, each.median, each.p90, each.worst) == (16, 20.0, 23.0, 40.0)
    assert (each.failed, each.failed_seconds) == (1, 240)
    assert [len(curve.at) for curve in probes.curves(found.rows, "result")] == [16, 1]
    assert probes.curves(found.rows.slice(0, 0), "day") == []


def test_pages_are_all_of_it_newest_first(archive):
    rows = [
        row | {name: row[name] + timedelta(days=day) for name in ("started_at", "finished_at")}
        for day in range(3)
        for row in evening() + evening("porch")
    ]
    store(archive, rows)
    everything = Wanted(START - DAY, START + 5 * DAY)
    whole = probes.results(archive, everything).rows
    pages, cursor = [], None
    while True:
        found = probes.page(archive, everything, 100, cursor)
        pages.insert(0, found.rows)
        if (cursor := found.before) is None:
            break
    assert pa.concat_tables(pages).select(whole.column_names).equals(whole)
    for nonsense in ("", "x", "[]", '["2026-01-31T12:00:00.000Z", 1, 2, 3]'):
        with pytest.raises(UsageError):
            probes.page(archive, everything, 100, nonsense or "{}")


def test_questions_are_narrowed(archive):
    store(archive, evening() + evening("porch"))
    wanted = Wanted(START, START + DAY, frozenset(("porch",)), "home", "ping", "1.1.1.1")
    assert probes.results(archive, wanted).rows.num_rows == 48
    assert probes.results(archive, Wanted(START, START + STEP)).rows.num_rows == 6
    assert probes.results(archive, Wanted(START, START + DAY, location="garden")).rows.num_rows == 0


def test_the_library_narrows_them_as_it_narrows_records(archive):
    store(archive, evening() + evening("porch"))
    whole = open_archive(archive.root)
    assert whole.probes().num_rows == 2 * whole.only(node="porch").probes().num_rows == 288
    assert whole.only(start=START + 4 * HOUR).probes().num_rows == 0
    assert whole.only(location="garden").probes().num_rows == 0


def test_a_day_that_cannot_be_read_is_said(archive):
    store(archive, evening())
    [file] = archive.probe_files()
    file.write_bytes(b"nonsense")
    found = probes.results(archive, Wanted(START, START + DAY))
    assert (found.rows.num_rows, found.unreadable) == (0, [utc_text(START)[:10]])


def ask(archive, capsys, *options):
    times = ("--from", utc_text(START)[:10], "--to", utc_text(START + DAY)[:10])
    assert cli.main(["--root", str(archive.root), "probes", *times, "--format", "json", *options]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_the_command_says_each_target_and_each_failure(archive, capsys):
    rows, said = ask(archive, capsys)
    assert rows == []
    assert "speedtest_logger_probes" in said
    store(archive, evening(dead=INTERNET))
    rows, _ = ask(archive, capsys, "--location", "home")
    assert [(row["probe"], row["target"], row["results"], row["failed"]) for row in rows] == [
        ("dns", "example.org", 48, 1), ("ping", "1.1.1.1", 48, 1), ("ping", "gateway", 48, 0),
    ]  # fmt: skip
    failures, _ = ask(archive, capsys, "--failures", "--target", "1.1.1.1")
    assert [row["target"] for row in failures] == ["1.1.1.1"]
    assert failures[0]["diagnosis"].endswith("the line or the provider")
    whole, _ = ask(archive, capsys, "--results", "--probe", "dns")
    assert len(whole) == 48
    assert set(whole[0]) == set(PROBE_SCHEMA.names)
