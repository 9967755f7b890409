"""Answers that are kept: for a second where they are quick, until they have been made again where they take long."""

from __future__ import annotations

import threading

import pytest

from speedtest_logger.dashboard.figures import kept
from speedtest_logger.dashboard.figures.kept import FRESH_SECONDS, SHARE, Kept


class Clock:
    """Time that goes on only when it is told to, and a count of how often something was made."""

    def __init__(self):
        self.now, self.takes, self.made = 1000.0, 0.0, 0

    def make(self):
        self.made += 1
        self.now += self.takes
        return self.made


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(kept.time, "monotonic", lambda: clock.now)
    return clock


def test_a_quick_answer_is_made_again_after_a_second_and_never_ahead(clock):
    answers = Kept(clock.make)
    answers.ahead()
    assert (answers.get().answer, clock.made) == (1, 1)
    clock.now += FRESH_SECONDS + 0.1
    answers.ahead()
    assert clock.made == 1
    assert answers.get().answer == 2


def test_a_slow_one_is_made_ahead_and_costs_a_tenth_of_the_time(clock):
    clock.takes = 4.0
    answers = Kept(clock.make)
    for _ in range(400):
        answers.ahead()
        before = clock.made
        assert answers.get().answer == before, "nobody waits"
        clock.now += 1
    spent = clock.made * clock.takes
    assert spent / (clock.now - 1000) == pytest.approx(1 / (SHARE + 1), rel=0.1)


def test_without_anybody_who_makes_it_ahead_a_slow_one_is_as_fresh_as_any(clock):
    clock.takes = 4.0
    answers = Kept(clock.make)
    answers.get()
    clock.now += FRESH_SECONDS + 0.1
    assert answers.get().answer == 2


def test_whoever_makes_it_ahead_and_dies_does_not_leave_it_for_ever(clock):
    clock.takes = 4.0
    answers = Kept(clock.make)
    answers.ahead()
    clock.now += 2 * SHARE * clock.takes + 0.1
    assert answers.get().answer == 2


def test_who_asks_while_it_is_made_has_that_one():
    begun, may_end, made = threading.Event(), threading.Event(), []

    def make():
        begun.set()
        may_end.wait(60)
        made.append(1)
        return len(made)

    answers, heard = Kept(make), []
    asking = [threading.Thread(target=lambda: heard.append(answers.get().answer)) for _ in range(3)]
    for each in asking:
        each.start()
    begun.wait(60)
    may_end.set()
    for each in asking:
        each.join(60)
    assert heard == [1, 1, 1]
