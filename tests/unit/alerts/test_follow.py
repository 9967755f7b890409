"""What is told when: that it began, that it ended, and not what follows from something else."""

from __future__ import annotations

import json

import pytest
from builders import FIRST

from speedtest_logger.alerts import follow
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Book, Watched, watched_of

NOW = FIRST + 7200


def finding(rule="line_down", node=None, began=FIRST, ended=None, location="home"):
    return Finding(rule, location, node, began, began + 600, ended, began + 600, 2, 41.0, "no_route")


def book(*findings):
    return Book([Watched(each, each.id) for each in findings])


def told(known, now=NOW):
    """The rules of what began and what ended; each is told of from then on, as an evaluation does it."""
    begun, ended = follow.due(known, now)
    for entry in begun:
        entry.told_begin, entry.told_end, entry.since_told = True, entry.finding.ended is not None, now
    for entry in ended:
        entry.told_end = True
    return [entry.finding.rule for entry in begun], [entry.finding.rule for entry in ended]


def test_a_finding_is_told_of_once_when_it_begins_and_once_when_it_ends():
    known = book(finding())
    assert told(known) == (["line_down"], [])
    assert told(known) == ([], [])
    known.take({"home": ([finding(ended=FIRST + 3600)], FIRST)}, NOW)
    assert told(known) == ([], ["line_down"])
    assert told(known) == ([], [])


def test_what_is_not_seen_any_more_is_withdrawn_and_told_of_only_where_it_had_been():
    known = book(finding(), finding("below_plan", location="farm"))
    assert told(known) == (["line_down", "below_plan"], [])
    known.take({"home": ([finding("latency")], FIRST)}, NOW)
    assert [entry.withdrawn for entry in known.entries] == [True, False, False]
    assert known.entries[0].finding.ended == NOW
    assert told(known) == (["latency"], ["line_down"])
    unknown = book(finding())
    unknown.take({"home": ([], FIRST)}, NOW)
    assert told(unknown) == ([], [])


def test_a_finding_that_was_told_to_be_over_too_early_is_told_again_under_another_name():
    known = book(finding(ended=FIRST + 1200))
    assert told(known, FIRST + 1300) == (["line_down"], [])
    for _ in range(2):
        known.take({"home": ([finding()], FIRST)}, NOW)
    assert told(known) == (["line_down"], [])
    over, lasting = known.entries
    assert (over.withdrawn, over.finding.ended, lasting.withdrawn) == (True, FIRST + 1200, False)
    assert over.id != lasting.id
    known.take({"home": ([finding(ended=FIRST + 3600)], FIRST)}, NOW)
    assert told(known) == ([], ["line_down"])


def test_a_finding_that_was_over_too_early_and_was_not_told_yet_is_told_once():
    known = book(finding(ended=FIRST + 1200))
    known.take({"home": ([finding()], FIRST)}, NOW)
    assert told(known) == (["line_down"], [])
    assert len(known.entries) == 1


def test_what_was_told_to_be_over_is_not_told_again_under_its_name_however_it_comes_back():
    known = book(finding())
    told(known)
    known.take({"home": ([], FIRST)}, NOW)
    assert told(known) == ([], ["line_down"])
    known.take({"home": ([finding()], NOW + 1)}, NOW + 60)  # of a line that is judged from after its end on
    assert told(known) == (["line_down"], [])
    assert len({entry.id for entry in known.entries}) == 2


@pytest.mark.parametrize(
    ("leader", "follower"),
    [
        (finding(), finding("below_plan")),
        (finding(), finding("silent_node", "attic")),
        (finding(), finding("clock", "attic")),
        (finding("unstable"), finding()),
        (finding("unstable"), finding("below_plan")),
        (finding("ingest_stopped", location=""), finding()),
        (finding("ingest_stopped", location=""), finding("clock", "attic")),
        (finding("below_plan"), finding("below_plan", "attic")),
    ],
)
def test_what_follows_is_held_back_until_the_other_is_over(leader, follower):
    known = book(follower, leader)
    assert known.held_back() == {follower.id: leader.id}
    assert told(known) == ([leader.rule], [])
    leader.ended = NOW
    assert told(known) == ([follower.rule], [leader.rule])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (finding(), finding("below_plan", location="farm")),
        (finding("disk", location=""), finding()),
        (finding("ingest_stopped", location=""), finding("disk", location="")),
        (finding("below_plan"), finding("latency")),
        (finding("below_plan", "attic"), finding("below_plan", "porch")),
    ],
)
def test_what_has_nothing_to_do_with_each_other_is_told_of(one, other):
    known = book(one, other)
    assert known.held_back() == {}
    assert told(known) == ([one.rule, other.rule], [])


def test_a_line_that_is_down_and_unstable_at_once_is_told_of():
    """Where each held the other one back, nobody would hear of either."""
    known = book(finding(), finding("unstable"))
    assert told(known) == (["unstable"], [])


def test_of_a_circle_of_any_rules_at_least_one_is_told_of():
    from speedtest_logger.alerts.rules import RULES

    for rule in RULES:
        for other in RULES:
            place = "" if RULES[other].subject == "archive" else "home"
            node = "attic" if RULES[other].subject == "node" else None
            pair = book(finding(rule, location="" if RULES[rule].subject == "archive" else "home"),
                        finding(other, node, FIRST + 1, location=place))  # fmt: skip
            assert told(pair)[0], (rule, other)


@pytest.mark.parametrize(("ago", "begun"), [(600, ["below_plan"]), (3600, ["below_plan"]), (3601, [])])
def test_what_was_over_before_anybody_knew_is_told_as_a_whole_where_it_was_lately(ago, begun):
    known = book(finding("below_plan", began=NOW - 9000, ended=NOW - ago))
    assert told(known) == (begun, [])
    assert told(known) == ([], [])
    assert known.entries[0].since_told == (NOW if begun else None)


def test_what_was_over_while_something_else_lasted_that_it_followed_from_is_not_told():
    known = book(finding(ended=NOW - 60), finding("below_plan", ended=NOW - 120))
    assert told(known) == (["line_down"], [])


def test_what_is_old_or_too_much_is_forgotten_and_nothing_that_lasts():
    known = book(*(finding(began=FIRST + n, ended=FIRST + n + 10) for n in range(5)), finding("disk", location=""))
    known.forget(FIRST + 12, 3)
    assert [entry.finding.began - FIRST for entry in known.entries] == [3, 4, 0]
    known.forget(FIRST + 10**6, 0)
    assert [entry.finding.rule for entry in known.entries] == ["disk"]


def test_a_book_comes_back_as_it_was_with_words_for_who_knows_no_rules():
    known = book(finding("below_plan"), finding(), finding("silent_node", "attic", FIRST - 9000, FIRST - 6000))
    told(known)
    content = json.loads(json.dumps(known.to_json()))
    assert [entry.pop("follows") for entry in content] == [known.entries[1].id, None, None]
    assert [watched_of(entry) for entry in content] == known.entries
    assert content[1]["words"] == {
        "title": "line down",
        "subject": "home",
        "severity": "critical",
        "sentence": "the line is down: no_route",
    }
