"""The change feed: nothing that later lines touched is passed over, whatever became of the line of a cursor."""

from __future__ import annotations

import hashlib

import pytest
from builders import DAY, FIRST, fresh, put, slot
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.care import prune, repair
from speedtest_logger.archive.format.facts import Facts
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.ledger.entry import Accepted, Entry, Made, Pruned, Restored, Rewritten
from speedtest_logger.archive.read import changes
from speedtest_logger.errors import UsageError

JANUARY, MARCH = (f"location=home/year=2026/month=0{month}/speedtest.parquet" for month in (1, 3))


@pytest.fixture
def clock(monkeypatch):
    """The time; a new day has the manifest condense the one before."""
    now = [FIRST + 400.0 * DAY]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def last(layout, cursor=None):
    return list(changes.since(layout, cursor))[-1]


def told(layout, cursor=None):
    return [(change.verb, change.months, change.gone) for change in changes.since(layout, cursor)]


def test_each_change_names_its_days_and_a_new_month_as_a_whole(layout, clock):
    assert told(layout) == []
    put(layout, slot("attic", FIRST))
    put(layout, slot("attic", FIRST + 4 * DAY), slot("attic", FIRST + 5 * DAY))
    put(layout, slot("attic", FIRST + 4 * DAY), slot("attic", FIRST + 60 * DAY))  # the first of them came before
    days = ("2026-01-05", "2026-01-06")
    assert [(change.verb, change.gone) for change in changes.since(layout)] == [("ingest", ())] * 3
    assert [change.months for change in changes.since(layout)] == [{JANUARY: None}, {JANUARY: days}, {MARCH: None}]
    first, second, third = changes.since(layout)
    assert list(changes.since(layout, first.cursor)) == [second, third]
    assert list(changes.since(layout, second.cursor)) == [third]
    assert list(changes.since(layout, third.cursor)) == []


def test_a_cursor_outlives_the_sealing_of_its_day(layout, clock):
    put(layout, slot("attic", FIRST))
    put(layout, slot("attic", FIRST + DAY))
    put(layout, slot("attic", FIRST + 2 * DAY))
    first, second, third = changes.since(layout)
    clock[0] += DAY
    put(layout, slot("attic", FIRST + 9 * DAY))
    today = ("ingest", {JANUARY: ("2026-01-10",)}, ())
    assert not (layout.manifest / "open.jsonl").read_text().count("\n") > 1
    for inside in (first, second):  # nothing tells what it had seen of that day: whole months are named
        assert told(layout, inside.cursor) == [("ingest", {JANUARY: None}, ()), today]
    assert told(layout, third.cursor) == [today]
    assert told(layout) == [("ingest", {JANUARY: None}, ()), today]
    sealed = next(changes.since(layout))
    assert told(layout, sealed.cursor) == [today]
    clock[0] += DAY
    put(layout, slot("attic", FIRST + 10 * DAY))
    clock[0] += DAY
    put(layout, slot("attic", FIRST + 11 * DAY))
    later = [("ingest", {JANUARY: (f"2026-01-{day}",)}, ()) for day in (10, 11, 12)]
    for cursor in (third.cursor, sealed.cursor):
        assert told(layout, cursor) == later
    assert told(layout, second.cursor) == [("ingest", {JANUARY: None}, ()), *later]


def test_what_was_pruned_is_gone_and_comes_again_as_a_whole(layout, clock):
    put(layout, slot("attic", FIRST))
    before = last(layout).cursor
    prune.prune(layout, clock[0], 0, None)
    assert told(layout, before) == [("prune", {}, (JANUARY,))]
    put(layout, slot("attic", FIRST + DAY))
    assert told(layout, before) == [("prune", {}, (JANUARY,)), ("ingest", {JANUARY: None}, ())]
    clock[0] += DAY
    put(layout, slot("attic", FIRST + 60 * DAY))
    sealed, today = told(layout)
    assert sealed == ("ingest,prune", {JANUARY: None}, ())
    assert today == ("ingest", {MARCH: None}, ())


def test_what_was_accepted_or_restored_is_named_as_a_whole(layout, clock, tmp_path):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + DAY))
    content = (layout.archive / JANUARY).read_bytes()
    good = tmp_path / "good.parquet"
    good.write_bytes(content)
    before = last(layout).cursor
    (layout.archive / JANUARY).unlink()
    repair.put_back(layout, JANUARY, good)
    assert told(layout, before) == [("restore", {JANUARY: None}, ())]
    before = last(layout).cursor
    (layout.archive / JANUARY).unlink()
    repair.accept(layout, JANUARY, "the disk took it")
    assert told(layout, before) == [("accept", {}, (JANUARY,))]
    put(layout, slot("attic", FIRST))
    before = last(layout).cursor
    (layout.archive / JANUARY).write_bytes(content)
    repair.accept(layout, JANUARY, "it is the better one")
    assert told(layout, before) == [("accept", {JANUARY: None}, ())]


def test_a_cursor_of_another_chain_is_refused_in_plain_words(layout, clock, tmp_path):
    other = Layout(tmp_path / "other")
    other.prepare()
    for number in range(3):
        put(layout, slot("attic", FIRST + number * DAY))
        put(other, slot("shed", FIRST + number * DAY))
    words = r"the cursor is of line \d of another manifest, or of this one before it was restored: begin without one"
    for change in changes.since(other):
        with pytest.raises(UsageError, match=words):
            list(changes.since(layout, change.cursor))
    ahead = last(layout).cursor
    open_file = layout.manifest / "open.jsonl"
    before = open_file.read_bytes()
    open_file.write_bytes(b"".join(before.splitlines(keepends=True)[:2]))  # as a restored one, of an hour ago
    with pytest.raises(UsageError, match=words):
        list(changes.since(layout, ahead))
    put(layout, slot("attic", FIRST + 20 * DAY))  # and it went on: line 3 is another one
    with pytest.raises(UsageError, match=words):
        list(changes.since(layout, ahead))
    for number in range(3):
        clock[0] += DAY
        put(layout, slot("attic", FIRST + (30 + number) * DAY))
        put(other, slot("shed", FIRST + (30 + number) * DAY))
    clock[0] += DAY
    strange = [change.cursor for change in changes.since(other)]
    for number in range(3):
        put(layout, slot("attic", FIRST + (40 + number) * DAY))
        clock[0] += DAY
        for cursor in strange:
            with pytest.raises(UsageError, match=words):
                list(changes.since(layout, cursor))
    for text in ("12", "x", f"1-{'0' * 64}", f"1-{'0' * 64}-{'0' * 63}g"):
        with pytest.raises(UsageError, match="is no cursor: begin without one"):
            list(changes.since(layout, text))


def test_a_day_that_is_sealed_while_somebody_reads_is_not_passed_over(layout, clock):
    put(layout, slot("attic", FIRST))
    put(layout, slot("attic", FIRST + DAY))
    reading = changes.since(layout)
    first = next(reading)
    clock[0] += DAY
    put(layout, slot("attic", FIRST + 2 * DAY))
    rest = list(reading)
    assert [change.months for change in rest] == [{JANUARY: ("2026-01-02",)}]
    assert told(layout, rest[-1].cursor) == [("ingest", {JANUARY: ("2026-01-03",)}, ())]
    assert told(layout, first.cursor)[0] == ("ingest", {JANUARY: None}, ())


def test_a_sealed_day_that_a_crash_left_open_comes_once(layout, clock):
    put(layout, slot("attic", FIRST))
    left = (layout.manifest / "open.jsonl").read_bytes()
    cursor = last(layout).cursor
    clock[0] += DAY
    put(layout, slot("attic", FIRST + DAY))
    (layout.manifest / "open.jsonl").write_bytes(left)
    assert told(layout) == [("ingest", {JANUARY: None}, ())]
    assert told(layout, cursor) == []
    assert set(manifest.state(layout)[JANUARY].days) == {"2026-01-01"}
    assert manifest.state(layout)[JANUARY].altered is None


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


DAYS = st.sets(st.integers(1, 5), min_size=1, max_size=2)
LINES = st.lists(
    st.tuples(
        st.sampled_from(["made", "rewritten", "pruned", "accepted", "restored"]),
        st.dictionaries(st.sampled_from([JANUARY, MARCH]), DAYS, min_size=1),
        st.sampled_from([60, 60, 60, DAY]),
    ),
    min_size=1,
    max_size=12,
)
KINDS = {
    "made": Made(),
    "rewritten": Rewritten("0" * 64),
    "accepted": Accepted(),
    "restored": Restored("1" * 64),
}


GONE = "gone"


def since_it_was_gone(told):
    """What was told of a month after it went for the last time: who follows has nothing of it then."""
    return told[len(told) - told[::-1].index(GONE) :] if GONE in told else told


@given(lines=LINES)
def test_who_follows_from_any_cursor_hears_of_every_day_that_later_lines_touched(tmp_path_factory, lines):
    layout, now = fresh(tmp_path_factory), FIRST * 1.0
    cursors: list[tuple[int, str | None]] = [(0, None)]
    touched = []
    with pytest.MonkeyPatch.context() as patch:
        for number, (kind, months, seconds) in enumerate(lines, 1):
            now += seconds
            patch.setattr("time.time", lambda now=now: now)
            files = {}
            for name, days in months.items():
                held = {f"{name[19:23]}-{name[30:32]}-{day:02d}": (1, sha256(f"{number} {day}")) for day in days}
                facts = Facts(sha256(f"{number} {name}"), 1, 1, held)
                files[name] = Entry(None, (Pruned(),)) if kind == "pruned" else Entry(facts, (KINDS[kind],))
            manifest.append(layout, kind, files)
            touched.append({name: entry.facts.days.keys() if entry.facts else GONE for name, entry in files.items()})
            cursors.append((number, last(layout).cursor))
            for seen, cursor in cursors:
                heard = list(changes.since(layout, cursor))
                for name in {name for line in touched[seen:] for name in line}:
                    theirs = [line[name] for line in touched[seen:] if name in line]
                    named = [GONE if name in c.gone else c.months[name] for c in heard if name in {*c.gone, *c.months}]
                    assert (named[-1] is GONE) == (theirs[-1] is GONE)
                    days, days_named = since_it_was_gone(theirs), since_it_was_gone(named)
                    assert None in days_named or set().union(*days) <= set().union(*days_named), (seen, name)
                assert (heard[-1].cursor if heard else cursor) == cursors[-1][1]
