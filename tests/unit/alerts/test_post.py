"""What leaves when: quiet hours, back-off, order, reminders, digests; each destination by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import FIRST, fresh, put, slot, wait, write_schedule

from speedtest_logger.alerts import digest, post, watch
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.alerts.messages import Message
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.alerts.state import State
from speedtest_logger.errors import DeliveryError
from speedtest_logger.record import utc_text

HOUR, DAY = 3600, 86_400
PHONE = Destination("phone", "json://192.0.2.1", digest="never")
MAIL = Destination("mail", "json://192.0.2.2", digest="never")
NIGHT = replace(PHONE, quiet=(22 * 60, 7 * 60))


def message(number: int, at: float, to: str = "phone", severity: str = "warning") -> Message:
    return Message(f"m{number}", to, at, "warning", f"message {number}", [f"line {number}"], severity)


class Service:
    """Takes messages, but for those to destinations that are dead."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message]] = []
        self.dead: set[str] = set()

    def __call__(self, destination: Destination, message: Message) -> None:
        if destination.name in self.dead:
            raise DeliveryError("nobody answers")
        self.got.append((destination.name, message))

    def titles(self) -> list[str]:
        return [message.title for _, message in self.got]


def deliver(state: State, now: float, service: Service, *destinations: Destination) -> None:
    post.deliver(state, Settings(destinations or (PHONE,)), now, lambda: None, service, lambda: False)


def test_messages_leave_in_their_order_each_by_itself():
    state, service = State(waiting=[message(1, FIRST), message(2, FIRST + 60)]), Service()
    deliver(state, FIRST + 60, service)
    assert service.titles() == ["message 1", "message 2"]
    assert state.waiting == []
    assert [each["title"] for each in state.sent] == ["message 1", "message 2"]


def test_a_dead_destination_is_tried_later_and_later_and_holds_up_nobody():
    service = Service()
    service.dead = {"phone"}
    state = State(waiting=[message(1, FIRST), message(2, FIRST, "mail")])
    tries = []
    for minute in range(60):
        before = state.post("phone").failed
        deliver(state, FIRST + 60 * minute, service, PHONE, MAIL)
        if state.post("phone").failed > before:
            tries.append(minute)
    assert service.titles() == ["message 2"]
    assert tries == [0, 1, 3, 7, 15, 25, 35, 45, 55]
    assert state.post("phone").failing_since == FIRST
    state.waiting.append(message(3, FIRST + HOUR))
    service.dead = set()
    deliver(state, FIRST + 2 * HOUR, service, PHONE, MAIL)
    one = service.got[-1][1]
    assert one.title == "2 messages since 2026-01-01 00:00 UTC"
    assert one.lines == [
        "What could not be delivered since 2026-01-01 00:00 UTC:",
        "[2026-01-01 00:00 UTC] message 1", "  line 1", "[2026-01-01 01:00 UTC] message 3", "  line 3",
    ]  # fmt: skip
    assert state.post("phone").failing_since is None


def test_what_could_not_leave_together_is_gathered_anew_with_what_came_meanwhile():
    service, waiting = Service(), [message(number, FIRST + 600 * number) for number in range(1, 5)]
    service.dead = {"phone"}
    state = State()
    for one in waiting:
        state.waiting.append(one)
        deliver(state, one.at, service)
        assert [each.title for each in state.waiting] == [each.title for each in waiting if each.at <= one.at]
    service.dead = set()
    deliver(state, FIRST + HOUR, service)
    assert service.titles() == ["4 messages since 2026-01-01 00:10 UTC"]
    assert service.got[0][1].lines[1::2] == [
        f"[2026-01-01 00:{number}0 UTC] message {number}" for number in range(1, 5)
    ]


def test_one_message_alone_that_could_not_leave_stays_what_it_is():
    service = Service()
    service.dead = {"phone"}
    state = State(waiting=[message(1, FIRST)])
    deliver(state, FIRST, service)
    service.dead = set()
    deliver(state, FIRST + HOUR, service)
    assert service.titles() == ["message 1"]


def test_quiet_hours_hold_all_but_what_is_critical_and_end_in_one_summary():
    night, service = FIRST + 23 * HOUR, Service()
    state = State(waiting=[message(1, night), message(2, night + 60), message(3, night + 120, severity="critical")])
    deliver(state, night + 180, service, NIGHT)
    assert service.titles() == ["message 3"]
    deliver(state, night + 8 * HOUR, service, NIGHT)
    assert service.titles()[1:] == ["2 messages since 2026-01-01 23:00 UTC"]
    assert service.got[1][1].lines[0] == "What happened in your quiet hours:"


def test_quiet_hours_through_which_nothing_passes():
    night, service = FIRST + 23 * HOUR, Service()
    state = State(waiting=[message(1, night, severity="critical")])
    deliver(state, night, service, replace(NIGHT, passes="nothing"))
    assert service.titles() == []


def test_a_stop_ends_between_two_messages():
    service = Service()
    state = State(waiting=[message(1, FIRST), message(2, FIRST)])
    post.deliver(state, Settings((PHONE,)), FIRST, lambda: None, service, lambda: bool(service.got))
    assert service.titles() == ["message 1"]
    assert [each.id for each in state.waiting] == ["m2"]


def test_what_waits_for_a_destination_that_left_the_inventory_goes():
    state = State(waiting=[message(1, FIRST), message(2, FIRST, "mail")])
    deliver(state, FIRST, Service(), PHONE)
    assert state.waiting == []
    assert set(state.posts) == {"phone"}


def findings(*locations: str, rule: str = "line_down") -> State:
    state = State()
    for location in locations:
        finding = Finding(rule, location, None, FIRST, FIRST + 600, last=FIRST + 600, count=2, reason="no_route")
        state.book.entries.append(Watched(finding, finding.id))
    return state


@pytest.mark.parametrize(("count", "messages"), [(1, 1), (3, 3), (4, 1), (60, 1)])
def test_many_lines_at_once_are_one_message(count, messages):
    state = findings(*(f"line-{number}" for number in range(count)))
    made = watch.tell(state, Settings((PHONE,)), FIRST + 700)
    assert len(made) == messages
    if messages < count:
        assert made[0].title == f"{count} lines: line down"
        assert sum("since 2026-01-01 00:00 UTC" in line for line in made[0].lines) == min(count, 50)


def test_reminders_come_once_a_day_and_only_where_they_are_wanted():
    state, never = findings("home"), replace(MAIL, reminder_hours=0)
    titles = []
    for hour in range(50):
        state.evaluated = FIRST + HOUR * (hour - 1)
        titles += [
            (hour, each.destination) for each in watch.tell(state, Settings((PHONE, never)), FIRST + HOUR * hour)
        ]
    assert titles == [(0, "phone"), (0, "mail"), (24, "phone"), (48, "phone")]


def test_what_follows_from_a_line_that_is_down_is_held_back_and_told_if_it_outlasts_it():
    state = findings("home")
    slow = Finding("below_plan", "home", None, FIRST, FIRST + 600, worst=40.0, count=3)
    state.book.entries.append(Watched(slow, slow.id))
    assert [each.title for each in watch.tell(state, Settings((PHONE,)), FIRST + 700)] == ["home: line down"]
    state.book.entries[0].finding.ended = FIRST + 1200
    told = watch.tell(state, Settings((PHONE,)), FIRST + 1300)
    assert [each.title for each in told] == ["home: below plan and 1 more"]
    assert "home: line down is over: 2026-01-01 00:00 UTC to 2026-01-01 00:20 UTC, 20 min" in told[0].body()


def test_a_digest_comes_each_week_and_says_how_each_line_did(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    entry = {"valid_from": utc_text(FIRST), "interval_seconds": HOUR, "offset_seconds": 0, "valid_to": None}
    write_schedule(
        layout,
        attic=[{**entry, "location": "home", "plan_download_mbps": 200}],
        shed=[{**entry, "location": "garden"}],
    )
    failed = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None}
    for number in range(7 * 24):
        at = FIRST + number * HOUR
        wait(layout, slot("attic", at), slot("shed", at, "garden", **(failed if 10 <= number < 13 else {})))
    put(layout)
    weekly, state = replace(PHONE, digest="weekly"), State()
    monday = FIRST + 4 * DAY + 7 * HOUR  # 2026-01-05 at 7
    assert not state.post("phone").wants_digest(weekly, FIRST)
    assert not state.post("phone").wants_digest(weekly, monday - 60)
    assert state.post("phone").wants_digest(weekly, monday + 60)
    assert digest.add(layout, state, weekly, FIRST + 7 * DAY, "") == 1
    (made,) = state.waiting
    assert made.title == "2 lines: the last week"
    assert made.lines == [
        "garden: 98.21 % available; 1 outage (3 h); median 100/50 Mbit/s",
        "home: 100.00 % available; median 100/50 Mbit/s, 50 % of the plan",
    ]
    assert not state.post("phone").wants_digest(weekly, FIRST + 7 * DAY)
    assert not state.post("phone").wants_digest(PHONE, FIRST + 70 * DAY)


@pytest.mark.parametrize(
    "said",
    [
        "cannot log in as owner with pa%40ss at mail.example.org",
        "pa@ss is wrong",
        "POST /secret-topic: 403",
        "tok?=abc",
    ],
)
def test_no_part_of_an_address_is_in_what_a_service_said(said):
    url = "mailtos://owner:pa%40ss@mail.example.org/secret-topic?token=abc"
    shown = post.without(url, said)
    assert not any(part in shown for part in ("owner", "pa%40ss", "pa@ss", "mail.example", "secret-topic", "abc"))
