"""What fires, what ends it, and what is told of whom."""

from __future__ import annotations

import pytest
from fleets import judged, told

SOON = {"clear": 2}  # tests that end it


@pytest.mark.parametrize(
    ("letters", "found"),
    [
        ("...xx..", [("line_down", None, 3, 5)]),
        ("...x.x.x..", []),
        ("...xsx..", [("line_down", None, 3, 6)]),  # a skipped slot neither makes nor ends it
        ("...--..", [("line_down", None, 3, 5)]),
        ("...-x-", [("line_down", None, 3, None)]),
        ("...ee..", []),  # that is the engine's
        ("...xexx.", [("line_down", None, 3, 7)]),
    ],
)
def test_a_line_with_one_node_is_down(letters, found):
    assert judged(told("attic", letters)) == found


def test_a_line_is_down_when_all_of_its_nodes_agree():
    assert judged(told("attic", "..xx.."), told("porch", "..xx..", 300)) == [("line_down", None, 2, 4)]
    assert judged(told("attic", "..xxxx"), told("porch", "......", 300)) == []


def test_a_node_that_only_skips_or_whose_engine_fails_has_no_say():
    down = [("line_down", None, 3, 6)]
    assert judged(told("attic", "...xxx."), told("porch", "sssssss", 300)) == down
    assert judged(told("attic", "...xxx."), told("porch", "eeeeee.", 300)) == [
        *down,
        ("failing_engine", "porch", 0, 6),
    ]


def test_a_node_is_silent_while_its_neighbour_speaks():
    assert judged(told("attic", "..----.."), told("porch", "." * 8, 300)) == [("silent_node", "attic", 2, 6)]
    assert judged(told("attic", "..----x."), told("porch", "." * 8, 300)) == [("silent_node", "attic", 2, 6)]


def test_what_was_missed_while_the_line_was_down_is_no_silence():
    assert judged(told("attic", "..----.."), told("porch", "..xxxx..", 300)) == [("line_down", None, 2, 6)]
    late = judged(told("attic", "..--------"), told("porch", "..xxxx....", 300))
    assert late == [("line_down", None, 2, 6), ("silent_node", "attic", 7, None)]


def test_tests_of_a_node_fail():
    assert judged(told("attic", "..eeeeee.")) == [("failing_engine", "attic", 2, 8)]
    assert judged(told("attic", "..eeeee.")) == []
    assert judged(told("attic", "..xxxxxx."), told("porch", "." * 9, 300)) == [("failing_engine", "attic", 2, 8)]


@pytest.mark.parametrize(
    ("letters", "found"),
    [
        ("000444000", [("below_plan", None, 3, 7)]),
        ("00044000", []),
        ("000440444000", [("below_plan", None, 6, 10)]),
        ("0004447777", [("below_plan", None, 3, None)]),  # 70 % is not below it, and not well above it either
        ("00044470700", [("below_plan", None, 3, 10)]),
        ("00044s4000", [("below_plan", None, 3, 8)]),
        ("000.44.4000", [("below_plan", None, 4, 9)]),  # a test that says nothing of the speed changes nothing
    ],
)
def test_a_line_is_below_its_plan(letters, found):
    assert judged(told("attic", letters), below_plan=SOON) == found


def test_a_line_about_its_limit_is_told_of_once():
    assert judged(told("attic", "000" + "6668" * 3 + "6688" * 3 + "8888")) == [("below_plan", None, 3, 28)]


def test_one_slow_node_of_three_is_told_of_as_a_node():
    letters = "000444444000"
    found = judged(told("attic", letters), told("porch", "0" * 12, 200), told("shed", "0" * 12, 400), below_plan=SOON)
    assert found == [("below_plan", "attic", 3, 10)]


def test_a_node_is_not_slow_alone_while_others_are_about_the_limit():
    assert judged(told("attic", "000666666666"), told("porch", "000777777777", 300)) == []


def test_nodes_that_agree_are_told_of_as_a_line():
    nodes = [told(name, "000444444000", 200 * place) for place, name in enumerate(("attic", "porch", "shed"))]
    assert judged(*nodes, below_plan=SOON) == [("below_plan", None, 3, 10)]


def test_nodes_that_recover_one_after_the_other_are_one_line():
    fast, slow = "000444444" + "0" * 9, "0004444444400000000"
    assert judged(told("attic", fast), told("porch", slow, 300)) == [("below_plan", None, 3, 14)]


def test_of_a_line_that_recovered_the_node_that_did_not_is_told():
    found = judged(told("attic", "000444000000000000"), told("porch", "000" + "4" * 15, 300))
    assert found == [("below_plan", None, 3, 12), ("below_plan", "porch", 3, None)]


def test_two_nodes_that_are_slow_at_the_same_time_do_not_make_a_line_unstable():
    slow = "000" + "4" * 8 + "0" * 5
    found = judged(told("attic", slow), told("porch", slow, 200), told("shed", "0" * 16, 400))
    assert [(rule, node) for rule, node, *_ in found] == [("below_plan", "attic"), ("below_plan", "porch")]


def test_a_line_that_comes_and_goes_is_unstable():
    found = judged(told("attic", "..xx.xx.xx." + "." * 20), unstable={"minutes": 100})
    assert [each[0] for each in found] == ["line_down", "line_down", "unstable", "line_down"]
    unstable = next(each for each in found if each[0] == "unstable")
    assert unstable[2:] == (3, 21)


def test_a_day_with_too_few_slots_is_told_the_day_after():
    day = "." * 144
    missing = "." * 20 + ".-" * 20 + "." * 84
    assert judged(told("attic", day + missing + day + "..")) == [("coverage_low", "attic", 144, 432)]


def test_what_a_silent_node_missed_is_not_told_again():
    found = judged(told("attic", "." * 50 + "-" * 60 + "." * 34 + ".."), told("porch", "." * 146, 300))
    assert found == [("silent_node", "attic", 50, 110)]


def test_a_rule_that_is_off_finds_nothing():
    assert judged(told("attic", "...xxxx."), line_down=False) == []
    assert judged(told("attic", "...xxxx."), line_down={"slots": 5}) == []
