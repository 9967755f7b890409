"""Slots: the same on every machine, never on the hour, never two nodes of an uplink at once."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger import schedule
from speedtest_logger.schedule import Claim, DoesNotFitError, Schedule, assign, overlap

DIVISORS = [seconds for seconds in range(60, 86_401) if 86_400 % seconds == 0]


@given(st.sampled_from(DIVISORS), st.integers(0, 86_399), st.floats(0, 4e9))
def test_slot_at_and_next(interval, offset, moment):
    plan = Schedule(interval, offset % interval)
    slot = plan.slot_at(moment)
    assert slot <= moment < plan.next_after(moment) == slot + interval
    assert slot % interval == offset % interval


@given(st.sampled_from(DIVISORS), st.integers(0, 86_399), st.integers(0, 10**6), st.integers(0, 10**5))
def test_between_is_what_counting_gives(interval, offset, start, length):
    plan = Schedule(interval, offset % interval)
    expected = [m for m in range(start, start + length) if m % interval == offset % interval]
    assert list(plan.between(start, start + length)) == expected


def moments(expressions):
    """The seconds of the day that OnCalendar expressions mean."""
    found = set()
    for expression in expressions:
        hours, minutes, second = expression.split(" ")[1].split(":")
        every = [
            range(24) if hours == "*" else [int(h) for h in hours.split(",")],
            range(60) if minutes == "*" else [int(m) for m in minutes.split(",")],
        ]
        found |= {h * 3600 + m * 60 + int(second) for h, m in itertools.product(*every)}
    return found


@settings(deadline=None)
@given(st.sampled_from(DIVISORS), st.integers(0, 86_399))
def test_on_calendar_means_exactly_the_slots(interval, offset):
    plan = Schedule(interval, offset % interval)
    expressions = plan.on_calendar()
    assert all(expression.endswith(" UTC") for expression in expressions)
    assert moments(expressions) == set(plan.between(0, 86_400))


def numbers(field, count):
    """What a field of crontab(5) means: `*`, a number, or a range with a step."""
    if field == "*":
        return range(count)
    first, _, rest = field.partition("-")
    last, _, step = rest.partition("/")
    return range(int(first), int(last or first) + 1, int(step or 1))


@settings(deadline=None)
@given(st.sampled_from(DIVISORS), st.integers(0, 86_399), st.booleans())
def test_cron_says_the_same_moments_as_on_calendar_or_refuses(interval, offset, on_the_minute):
    plan = Schedule(interval, (offset - (offset % 60 if on_the_minute else 0)) % interval)
    expressible = (3600 % interval == 0 or interval % 3600 == 0) and interval % 60 == 0
    if not expressible or plan.offset % 60:
        with pytest.raises(ValueError, match="cron"):
            plan.cron()
        return
    minutes, hours, *days = plan.cron().split()
    said = {h * 3600 + m * 60 for h, m in itertools.product(numbers(hours, 24), numbers(minutes, 60))}
    assert days == ["*", "*", "*"]
    assert said == moments(plan.on_calendar()) == set(plan.between(0, 86_400))


@pytest.mark.parametrize(
    ("interval", "offset", "said"),
    [(3600, 1320, "22 * * * *"), (900, 420, "7-59/15 * * * *"), (21_600, 7380, "3 2-23/6 * * *"), (60, 0, "* * * * *")],
)
def test_cron(interval, offset, said):
    assert Schedule(interval, offset).cron() == said


@pytest.mark.parametrize(
    ("interval", "offset", "words"),
    [(3600, 137, "multiples of 60 s"), (90, 0, "multiples of 60 s"), (5400, 60, "whole hours"), (2400, 60, "20min")],
)
def test_what_cron_cannot_say_is_refused_with_a_way_out(interval, offset, words):
    with pytest.raises(ValueError, match=words):
        Schedule(interval, offset).cron()


@pytest.mark.parametrize(("interval", "offset"), [(3600, 137), (2400, 100), (90, 7), (86_400, 7000)])
def test_systemd_understands_on_calendar(interval, offset):
    assert shutil.which("systemd-analyze"), "install systemd: the expressions are checked by systemd itself"
    for expression in Schedule(interval, offset).on_calendar():
        subprocess.run(["systemd-analyze", "calendar", expression], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15min", 900), ("1h", 3600), ("1h 30min", 5400), ("1d", 86_400)]
)
def test_durations(text, seconds):
    assert schedule.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "often", "5", "5 years", "1h nonsense", "-5min"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="write it like"):
        schedule.parse_duration(text)


@pytest.mark.parametrize("seconds", [0, 59, 420, 86_401])
def test_bad_intervals(seconds):
    with pytest.raises(ValueError, match="does not divide a day"):
        schedule.check_interval(seconds)


claims_of_an_uplink = st.lists(
    st.tuples(st.sampled_from([300, 600, 900, 3600]), st.integers(20, 55), st.sampled_from([1, 60])),
    min_size=1,
    max_size=4,
).map(
    lambda wishes: [
        Claim(f"node{i}", "line", interval, length, step) for i, (interval, length, step) in enumerate(wishes)
    ]
)


def collide(claims, offsets):
    """Found by looking at every second of a day, not by the formula."""
    busy = {}
    for claim in claims:
        for slot in Schedule(claim.interval, offsets[claim.node]).between(0, 86_400):
            for second in range(slot, slot + claim.length):
                if busy.setdefault(second % 86_400, claim.node) != claim.node:
                    return True
    return False


@settings(deadline=None, max_examples=tries(60))
@given(claims_of_an_uplink)
def test_nodes_of_an_uplink_never_meet(claims):
    offsets = assign(claims, {})
    assert not collide(claims, offsets)
    for claim in claims:
        assert offsets[claim.node] % math.gcd(3600, claim.interval) >= 6
        assert offsets[claim.node] % claim.step == 0


@settings(deadline=None, max_examples=tries(60))
@given(claims_of_an_uplink, st.integers(0, 3))
def test_a_node_that_comes_moves_no_other(claims, cut):
    few = claims[: max(1, len(claims) - 1 - cut % len(claims))] or claims[:1]
    first = assign(few, {})
    deployed = {claim.node: Schedule(claim.interval, first[claim.node]) for claim in few}
    try:
        later = assign(claims, deployed)
    except DoesNotFitError:  # seldom: who is there may lie so that no gap is long enough
        reject()
    assert {claim.node: later[claim.node] for claim in few} == first
    assert not collide(claims, later)


@settings(deadline=None, max_examples=tries(60))
@given(claims_of_an_uplink, st.data())
def test_whatever_part_of_a_change_is_carried_out_nothing_overlaps(claims, data):
    """--limit, or nodes that are down: some nodes have their new slots, the others still their old ones."""
    old = assign(claims, {})
    deployed = {claim.node: Schedule(claim.interval, old[claim.node]) for claim in claims}
    changed = [
        Claim(c.node, c.uplink, data.draw(st.sampled_from([c.interval, 3600])), c.length, c.step) for c in claims
    ]
    try:
        new = assign(changed, deployed)
    except DoesNotFitError:
        return
    reached = [data.draw(st.booleans()) for _ in claims]
    mixed = [after if done else before for before, after, done in zip(claims, changed, reached, strict=True)]
    assert not collide(mixed, {c.node: (new if done else old)[c.node] for c, done in zip(mixed, reached, strict=True)})


def test_a_node_that_goes_over_to_cron_moves_to_a_full_minute_and_nobody_else_moves():
    claims = [Claim("pi", "line", 3600, 212), Claim("pod", "line", 3600, 272)]
    old = {name: Schedule(3600, offset) for name, offset in assign(claims, {}).items()}
    odd = {**old, "pod": Schedule(3600, old["pod"].offset + (7 if old["pod"].offset % 60 == 0 else 0))}
    offsets = assign([claims[0], Claim("pod", "line", 3600, 272, 60)], odd)
    assert offsets["pi"] == old["pi"].offset
    assert offsets["pod"] % 60 == 0


def test_nodes_of_cron_are_served_first():
    """Two full minutes are all that a third node leaves; it comes after them, wherever it stands in the inventory."""
    claims = [Claim("pi", "line", 300, 60), *(Claim(f"pod{i}", "line", 300, 100, 60) for i in range(2))]
    assert not collide(claims, assign(claims, {}))


def test_two_that_fill_the_minute():
    claims = [Claim("a", "line", 60, 25), Claim("b", "line", 60, 25)]
    offsets = assign(claims, {})
    assert not overlap((claims[0], offsets["a"]), (claims[1], offsets["b"]))


def test_too_many_nodes_are_named():
    with pytest.raises(
        DoesNotFitError, match="uplink 'line': 3 nodes \\(a, b, c\\) need 25 s each and do not fit into 60 s"
    ):
        assign([Claim(name, "line", 60, 25) for name in "abc"], {})


@pytest.mark.parametrize("step", [1, 60])
def test_nodes_with_lines_of_their_own_do_not_wait_for_each_other(step):
    claims = [Claim(f"n{i}", f"only n{i}", 3600, 212, step) for i in range(200)]
    offsets = assign(claims, {})
    assert len({offset // 60 for offset in offsets.values()}) > 14  # spread over the hour, not all at once


@given(
    st.integers(0, 7200),
    st.integers(5, 300),
    st.lists(st.tuples(st.sampled_from([600, 900, 1800, 3600]), st.integers(0, 599), st.integers(5, 300)), max_size=5),
)
def test_a_free_moment_meets_nobody_or_is_the_own_slot(now, length, others):
    own = schedule.Schedule(3600, 1234)
    slots = [(schedule.Schedule(interval, offset), takes) for interval, offset, takes in others]
    moment = schedule.next_free(now, length, own, slots)
    assert now <= moment <= now + 3600
    meets = [
        (other, slot)
        for other, takes in slots
        for slot in other.between(moment - 4000, moment + 4000)
        if slot < moment + length and moment < slot + takes
    ]
    assert not meets or moment == own.next_after(now)
    if not slots:
        assert moment == now
