"""Messages: few, the worst first, each with its times."""

from __future__ import annotations

import pytest
from builders import FIRST

from speedtest_logger.alerts import messages
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.findings import Finding, duration
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.alerts.rules import RULES

PHONE = Destination("phone", "json://192.0.2.1", severity="info")
NOW = FIRST + 90_000.0


def watched(rule="line_down", location="home", node=None, ended=None, **changes):
    found = Finding(rule, location, node, FIRST, FIRST + 600, ended, FIRST + 600, 2, 41.2, "no_route", 2)
    return Watched(found, found.id, **changes)


def composed(*told, to=PHONE, link=""):
    return list(messages.compose(told, to, NOW, link))


def test_a_beginning_says_what_where_since_when_and_how_to_ask():
    entry = watched()
    [message] = composed(*messages.begun([entry]), link="https://speed.example.org")
    assert (message.title, message.kind, message.severity) == ("home: line down", "failure", "critical")
    assert message.body().splitlines() == [
        f"home: line down since 2026-01-01 00:00 UTC: the line is down: no_route; 2 nodes agree ({entry.id})",
        "https://speed.example.org/line/home",
    ]
    assert message.findings == [entry.id]
    assert messages.Message(**message.to_json()) == message


def test_an_end_says_from_when_to_when_and_how_long():
    entry = watched("below_plan", ended=FIRST + 5400)
    [message] = composed(*messages.ended([entry]))
    assert (message.title, message.kind) == ("home: below plan is over", "success")
    assert message.lines == [
        "home: below plan is over: 2026-01-01 00:00 UTC to 2026-01-01 01:30 UTC, 1 h 30 min: "
        f"41 % of the plan at worst in 2 tests; 2 nodes agree ({entry.id})"
    ]


def test_what_was_not_so_is_said_to_be():
    [message] = composed(*messages.ended([watched(ended=FIRST + 60, withdrawn=True)]))
    assert "is over: by what has arrived since, or by the rules as they are now, it was not so" in message.lines[0]


def test_what_lasts_is_said_to_last_still():
    [message] = composed(messages.Told(watched(), "still"))
    assert "line down still since 2026-01-01 00:00 UTC" in message.lines[0]
    assert message.kind == "failure"


def test_a_location_has_one_message_with_the_worst_first_and_what_is_over_last():
    told = [
        *messages.ended([watched("latency", ended=FIRST + 60)]),
        *messages.begun([watched("below_plan"), watched("line_down")]),
    ]
    [message] = composed(*told)
    assert message.title == "home: line down and 2 more"
    assert [line.partition(" since")[0].partition(" is over")[0] for line in message.lines] == [
        "home: line down",
        "home: below plan",
        "home: high latency",
    ]


def test_few_locations_have_a_message_each_and_many_have_one():
    names = ["a", "b", "c", "d"]
    assert [m.title for m in composed(*messages.begun([watched(location=n) for n in names[:3]]))] == [
        f"{name}: line down" for name in names[:3]
    ]
    [message] = composed(*messages.begun([watched(location=name) for name in names]))
    assert message.title == "4 lines: line down"
    assert len(message.lines) == 4
    assert len(message.findings) == 4


def test_a_message_has_an_end():
    told = messages.begun([watched(location=f"place-{n}") for n in range(messages.MOST_LINES + 7)])
    [message] = composed(*told)
    assert len(message.lines) == messages.MOST_LINES + 1
    assert message.lines[-1] == "and 7 more: speedtest-alerts list"
    long = composed(*messages.begun([watched(location="x" * 200)]))
    assert len(long[0].title) <= messages.LONGEST_TITLE


def test_who_wants_to_hear_nothing_of_it_gets_no_message():
    farmer = Destination("farmer", "json://192.0.2.1", locations=("farm",))
    assert composed(*messages.begun([watched()]), to=farmer) == []


def test_what_is_said_of_the_archive_links_to_the_dashboard():
    [message] = composed(*messages.begun([watched("disk", "")]), link="https://speed.example.org")
    assert message.title == "archive: disk almost full"
    assert message.lines[-1] == "https://speed.example.org"


def test_what_gathered_is_one_message_with_the_original_times():
    waiting = [
        messages.Message(str(n), "phone", FIRST + 60.0 * n, kind, f"title {n}", [f"line {n}"], severity, [f"f{n}"])
        for n, (kind, severity) in enumerate([("failure", "critical"), ("warning", "warning"), ("success", "warning")])
    ]
    message = messages.together(waiting, NOW, "What happened in your quiet hours:")
    assert message.lines == [
        "What happened in your quiet hours:",
        "[2026-01-01 00:00 UTC] title 0", "  line 0", "[2026-01-01 00:01 UTC] title 1", "  line 1",
        "[2026-01-01 00:02 UTC] title 2", "  line 2",
    ]  # fmt: skip
    assert (message.kind, message.severity, message.findings) == ("failure", "critical", ["f0", "f1", "f2"])
    assert message.title == "3 messages since 2026-01-01 00:00 UTC"
    many = messages.together(waiting * 100, NOW, "why")
    assert len(many.lines) == 2 * messages.MOST_LINES + 1
    assert many.lines[-1].endswith("lines more: speedtest-alerts list")


@pytest.mark.parametrize(
    ("hours", "since", "before", "now", "said"),
    [
        (24, FIRST, FIRST + 86_390, FIRST + 86_410, True),
        (24, FIRST, FIRST + 86_330, FIRST + 86_390, False),
        (24, FIRST, FIRST + 86_410, FIRST + 86_470, False),
        (24, FIRST, FIRST + 60, FIRST + 10 * 86_400, True),  # nobody looked for days: once
        (0, FIRST, FIRST, FIRST + 10 * 86_400, False),
        (24, None, FIRST, FIRST + 10 * 86_400, False),
    ],
)
def test_a_reminder_comes_each_time_so_many_hours_have_gone(hours, since, before, now, said):
    entries = [watched(told_begin=since is not None, since_told=since)]
    assert bool(messages.reminders(entries, hours, before, now)) is said


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_sentence(rule):
    words = watched(rule).finding.words()
    assert words["sentence"]
    assert "None" not in words["sentence"]
    assert words["title"] == RULES[rule].title


def test_a_disk_that_cannot_be_looked_at_has_a_sentence_too():
    assert Finding("disk", "", None, 1, 1, reason="Stale file handle").sentence() == "Stale file handle"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 min"), (89, "1 min"), (3600, "1 h"), (7500, "2 h 05 min"), (3 * 86_400, "3 d 0 h"), (370_000, "4 d 6 h")],
)
def test_how_long(seconds, words):
    assert duration(seconds) == words
