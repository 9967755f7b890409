"""What alerts wrote down is read as they meant it; anything else under that name is a sentence, and no error."""

from __future__ import annotations

import json
import os

import pytest
from builders import FIRST

from speedtest_logger.alerts import follow, messages, state
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import told

HOUR = 3600
DOWN = Finding("line_down", "home", None, FIRST, FIRST + 600, last=FIRST + 600, count=2, reason="no_route", nodes=2)
SLOW = Finding("below_plan", "home", None, FIRST - HOUR, FIRST, last=FIRST, count=5, worst=41.2)
CLOCK = Finding("clock", "home", "attic", FIRST, FIRST, last=FIRST, worst=41.0)
DISK = Finding("disk", "", None, FIRST + 60, FIRST + 60, worst=3.14)
OVER = Finding("silent_node", "home", "attic", FIRST - 9000, FIRST - 8000, FIRST - 6000, FIRST - 6600, 4)
NEVER = Finding("failing_engine", "farm", "barn", FIRST - 7000, FIRST - 6000, FIRST - 5000, count=6, reason="timeout")


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "alerts").mkdir()
    return Layout(tmp_path)


def written(layout, *findings, **changes):
    """A state that has findings, each told of where it is not held back; what the page sees of it."""
    known = state.State(evaluated=FIRST + 700.0, **changes)
    known.book.entries = [Watched(finding, finding.id) for finding in findings]
    for entry in follow.due(known.book, FIRST + 700.0)[0]:
        entry.told_begin, entry.since_told = True, FIRST + 700.0
    known.post("phone")
    state.save(layout, known)
    return told.read(layout)


def test_findings_have_the_words_of_their_messages(layout):
    found = written(layout, DOWN, SLOW, CLOCK, DISK)
    assert [(each.rule, each.subject, each.told, each.follows) for each in found.lasting] == [
        ("line_down", "home", True, None),
        ("disk", "archive", True, None),
        ("below_plan", "home", False, DOWN.id),
        ("clock", "attic (home)", False, DOWN.id),
    ]
    for each, finding in zip(found.lasting, (DOWN, DISK, SLOW, CLOCK), strict=True):
        [line] = [messages.Told(Watched(finding, finding.id), "began").line()]
        assert line.startswith(f"{each.subject}: {each.title} since ")
        assert line.endswith(f": {each.sentence} ({each.id})")
        assert (each.severity, each.start, each.until) == (finding.severity, finding.began, None)
    assert (found.lasting[1].location, found.lasting[1].node) == (None, None)
    assert (found.evaluated, found.problem) == (FIRST + 700.0, None)


def test_what_follows_stands_under_what_it_follows_from(layout):
    groups = written(layout, SLOW, DISK, CLOCK, DOWN).groups()
    assert [(leader.rule, [each.rule for each in others]) for leader, others in groups] == [
        ("line_down", ["below_plan", "clock"]),
        ("disk", []),
    ]


def test_findings_that_follow_from_each_other_in_a_circle_or_from_none_are_shown(layout):
    written(layout, SLOW, CLOCK, DISK)
    content = json.loads(told.file_of(layout).read_bytes())
    for entry, follows in zip(content["findings"], (CLOCK.id, SLOW.id, "gone"), strict=True):
        entry["follows"] = follows
    told.file_of(layout).write_text(json.dumps(content))
    assert {leader.rule for leader, _ in told.read(layout).groups()} == {"below_plan", "clock", "disk"}


def test_what_is_over_comes_last_first_and_says_whether_somebody_was_told(layout):
    known = state.State(evaluated=1.0)
    known.book.entries = [
        Watched(OVER, OVER.id, told_begin=True, told_end=True, since_told=FIRST - 7900.0),
        Watched(NEVER, NEVER.id, told_begin=True, told_end=True, withdrawn=True),
    ]
    state.save(layout, known)
    found = told.read(layout)
    assert [(each.rule, each.told, each.withdrawn, each.until) for each in found.ended] == [
        ("failing_engine", False, True, NEVER.ended),
        ("silent_node", True, False, OVER.ended),
    ]
    assert found.problem == told.NOWHERE
    assert [each.follows for each in found.ended] == [None, None]


def test_destinations_are_names_and_numbers(layout):
    post = state.Post(failing_since=FIRST + 5.0, why="smtp://secret@host refused", sent=7, failed=2, last_sent=FIRST)
    waits = [messages.Message(str(n), "mail", 1.0, "info", "t", ["l"]) for n in range(3)]
    found = written(layout, posts={"mail": post}, waiting=waits).destinations
    assert found == [
        told.Destination("mail", 3, 7, 2, float(FIRST), FIRST + 5.0),
        told.Destination("phone", 0, 0, 0, None, None),
    ]


def test_an_evaluation_that_stays_away_is_noticed(layout):
    found = written(layout)
    assert [found.is_late(FIRST + 700 + after) for after in (0, 299, 301)] == [False, False, True]
    assert not told.Alerts(None, None, [], [], []).is_late(FIRST)


def test_where_nothing_was_written_nobody_is_told_and_it_says_what_to_set(tmp_path):
    found = told.read(Layout(tmp_path))
    assert (found.evaluated, found.lasting, found.destinations) == (None, [], [])
    assert "no destination is set" in found.problem
    assert "speedtest_archive_alerts_destinations" in found.problem


def a_link(file):
    file.rename(file.with_name("other"))
    file.symlink_to("other")


def a_pipe(file):
    file.unlink()
    os.mkfifo(file)


def too_large(file):
    file.unlink()
    with file.open("wb") as stream:
        stream.truncate(told.MOST_BYTES + 1)


def half(file):
    file.write_bytes(file.read_bytes()[:-40])


def another_version(file):
    changed(file, lambda content: content.update(version=2))


def changed(file, change):
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def of_the_first(**changes):
    def change(content):
        entry = content["findings"][0]
        for name, value in changes.items():
            part = entry[name] if isinstance(value, dict) else entry
            part.update(value if isinstance(value, dict) else {name: value})

    return lambda file: changed(file, change)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (a_link, "cannot be read"),
        (a_pipe, "cannot be read"),
        (too_large, "cannot be read"),
        (half, "damaged"),
        (another_version, "damaged"),
        (lambda file: file.write_text("[" * 100_000), "damaged"),
        (lambda file: file.write_text("[]"), "damaged"),
        (lambda file: file.write_bytes(b"\xff"), "damaged"),
        (of_the_first(finding={"began": "yesterday"}), "damaged"),
        (of_the_first(finding={"began": 1e300}), "damaged"),
        (of_the_first(finding={"began": None}), "damaged"),
        (of_the_first(finding={"ended": float("nan")}), "damaged"),
        (of_the_first(finding={"ended": True}), "damaged"),
        (of_the_first(words={"severity": "red"}), "damaged"),
        (of_the_first(words={"sentence": None}), "damaged"),
        (of_the_first(since_told=-1), "damaged"),
        (of_the_first(id=["a"]), "damaged"),
        (lambda file: changed(file, lambda content: content["posts"]["phone"].update(sent="7")), "damaged"),
    ],
)
def test_anything_else_in_its_place_is_a_sentence(layout, spoil, words):
    assert written(layout, DOWN).problem is None
    spoil(told.file_of(layout))
    found = told.read(layout)
    assert words in found.problem
    assert (found.evaluated, found.lasting, found.ended, found.destinations) == (None, [], [], [])


def test_samples_of_metrics(layout):
    found = written(layout, DOWN, CLOCK, DISK, OVER, posts={"mail": state.Post(sent=7, failed=2)})
    assert list(told.firing(found, found.evaluated + 60)) == [
        ({"rule": "line_down", "node": "", "location": "home", "severity": "critical"}, 1.0),
        ({"rule": "disk", "node": "", "location": "", "severity": "critical"}, 1.0),
        ({"rule": "clock", "node": "attic", "location": "home", "severity": "warning"}, 1.0),
    ]
    assert list(told.notifications(found)) == [
        ({"destination": "mail", "outcome": "sent"}, 7.0),
        ({"destination": "mail", "outcome": "failed"}, 2.0),
        ({"destination": "phone", "outcome": "sent"}, 0.0),
        ({"destination": "phone", "outcome": "failed"}, 0.0),
    ]
