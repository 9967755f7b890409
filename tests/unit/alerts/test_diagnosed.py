"""Messages and `explain` say whose fault a line's failure was, where probes tell; what is judged is the same."""

from __future__ import annotations

import json

import pytest
from builders import fresh
from probing import result, store
from test_watch import INTERVAL, START, Fleet

from speedtest_logger.alerts import cli, diagnosed, state
from speedtest_logger.archive.read import diagnosis
from speedtest_logger.record import utc_text

TARGETS = (("ping", "gateway"), ("ping", "1.1.1.1"))
SPAN = (START + 610, START + 2_620)  # slots 1 to 4 fail


def probe(fleet, dead, location="of-attic"):
    """Results of two hours, in which some targets do not answer in SPAN."""
    rows = [
        result(
            start, probe, target, location=location,
            failed=SPAN if target in dead and start < SPAN[1] and start + 240 > SPAN[0] else None,
        )
        for start in range(START - 3_600, START + 7_200, 300)
        for probe, target in TARGETS
    ]  # fmt: skip
    store(fleet.layout, rows)
    assert fleet.layout.probe_files()


def outage(fleet):
    """A line that is down for four slots; the lines of all messages."""
    for number, letter in enumerate(".xxxx..."):
        fleet.measure("attic", number, letter)
        fleet.heard("attic")
        fleet.until((number * INTERVAL + 120) / 60)
    fleet.until((8 * INTERVAL) / 60)
    return [line for message in state.load(fleet.layout).waiting for line in message.lines]


@pytest.fixture
def fleet(tmp_path_factory) -> Fleet:
    return Fleet(fresh(tmp_path_factory), "attic")


@pytest.mark.parametrize(
    ("dead", "words"),
    [
        (("1.1.1.1",), "the gateway answered and the internet did not from {edges}: the line or the provider"),
        (("gateway", "1.1.1.1"), "the gateway did not answer from {edges}: the node's own network"),
        ((), "gateway and internet answered all the time: the engine or its server"),
    ],
)
def test_both_messages_say_whose_fault_it_was(fleet, dead, words):
    probe(fleet, dead)
    began, over = outage(fleet)
    edges = f"{utc_text(SPAN[0])[:10]} {utc_text(SPAN[0])[11:19]} to {utc_text(SPAN[1])[11:19]} UTC"
    for line in (began, over):
        assert f"; probes: {words.format(edges=edges)} (" in line
    assert "is over: " in over


def test_without_results_messages_are_as_ever(fleet, tmp_path_factory):
    plain = outage(fleet)
    assert len(plain) == 2
    assert not any("probes" in line for line in plain)
    other = Fleet(fresh(tmp_path_factory), "attic")
    probe(other, ("1.1.1.1",), location="garden")
    assert outage(other) == plain


def test_what_is_judged_is_the_same(fleet, tmp_path_factory):
    outage(fleet)
    other = Fleet(fresh(tmp_path_factory), "attic")
    probe(other, ("1.1.1.1",))
    outage(other)
    books = [[entry.to_json() for entry in state.load(each.layout).book.entries] for each in (fleet, other)]
    assert books[0] == books[1]
    assert books[0]


def test_results_that_cannot_be_read_hold_up_no_message(fleet):
    probe(fleet, ("1.1.1.1",))
    for file in fleet.layout.probe_files():
        file.write_bytes(b"nonsense")
    assert len(outage(fleet)) == 2


def test_few_findings_are_looked_into_at_once(fleet, monkeypatch):
    probe(fleet, ("1.1.1.1",))
    outage(fleet)
    looked = []
    monkeypatch.setattr(diagnosis, "diagnosis", lambda *_: looked.append(1) or diagnosis.Diagnosis("line", "said"))
    (entry,) = [each for each in state.load(fleet.layout).book.entries if each.finding.rule == "line_down"]
    words = diagnosed.words_of(fleet.layout, START + 9_000, most=1)
    assert [words(entry.finding), words(entry.finding)] == ["said", "said"]
    entry.finding.began += 1
    assert words(entry.finding) == ""
    assert len(looked) == 1


def test_explain_says_it(fleet, capsys):
    probe(fleet, ("1.1.1.1",))
    outage(fleet)
    (entry,) = [each for each in state.load(fleet.layout).book.entries if each.finding.rule == "line_down"]
    assert cli.main(["--root", str(fleet.layout.root), "explain", entry.id]) == 0
    assert "probes: the gateway answered and the internet did not from " in capsys.readouterr().out
    assert cli.main(["--root", str(fleet.layout.root), "explain", entry.id, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["probes"].endswith("the line or the provider")
