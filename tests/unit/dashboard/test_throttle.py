"""Guessing is slow, from one address and for one name; what is known of attempts has a bound."""

from __future__ import annotations

import pytest
from dashboards import Clock
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.dashboard.throttle import Buckets, Throttle, network_of


def test_an_address_has_five_attempts_and_then_one_each_half_minute():
    clock = Clock()
    throttle = Throttle(clock)
    assert [throttle.attempt("192.0.2.1", f"name{n}") for n in range(5)] == [0.0] * 5
    assert throttle.attempt("192.0.2.1", "x") == 30
    assert throttle.attempt("192.0.2.2", "x") == 0
    clock.now += 29
    assert throttle.attempt("192.0.2.1", "x") == pytest.approx(1)
    clock.now += 1
    assert throttle.attempt("192.0.2.1", "x") == 0
    assert throttle.attempt("192.0.2.1", "x") > 29


def test_a_name_is_guessed_slowly_from_everywhere():
    clock = Clock()
    throttle = Throttle(clock)
    tried = [throttle.attempt(f"192.0.2.{n}", "eva") for n in range(100)]
    assert tried[:30] == [0.0] * 30
    assert all(tried[30:])
    assert throttle.attempt("198.51.100.1", "bob") == 0
    day = 0
    for n in range(86_400 // 10):
        clock.now += 10
        day += throttle.attempt(f"198.51.{n % 250}.{n % 249}", "eva") == 0
    assert day <= 86_400 / 60 + 1


def test_who_knows_the_password_is_never_stopped():
    throttle = Throttle(Clock())
    for _ in range(100):
        assert throttle.attempt("192.0.2.1", "eva") == 0
        throttle.right("192.0.2.1", "eva")


def test_an_ipv6_customer_is_one_address():
    throttle = Throttle(Clock())
    tried = [throttle.attempt(f"2001:db8:1:2::{n:x}", f"name{n}") for n in range(1, 11)]
    assert tried == [0.0] * 5 + [30.0] * 5
    assert throttle.attempt("2001:db8:1:3::1", "x") == 0
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")


def test_what_is_known_has_a_bound():
    buckets = Buckets(burst=1, seconds=1, most=10, clock=Clock())
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets._left) == 10
    assert buckets.wait("999") == 1


@given(st.text(max_size=50))
def test_any_text_has_a_network(text):
    assert isinstance(network_of(text), str)
