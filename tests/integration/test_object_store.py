"""Publishing to a real object store: killed at every request, answers lost, two at once, no store, a wrong one."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import publishing
import pytest
from builders import DAY, FIRST, ROOT, put, slot
from publishing import ended, started
from stores import KEYS

from speedtest_logger.errors import StorageError
from speedtest_logger.sinks import delta, table
from speedtest_logger.sinks.place import Place


@pytest.fixture(scope="module", autouse=True)
def prepared():
    publishing.prepare()


@pytest.fixture
def layout(layout):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 31 * DAY), slot("porch", FIRST, "garden"))
    return layout


def publish(layout, place, **how):
    return delta.Publisher(layout, place, 2).publish(**how)


def is_right(layout, place):
    there = place.existing()
    assert (table.broken_links(there), table.compared(there, layout)) == ([], [])
    rows = [row for part in table.partitions(there) for row in part.select(["node", "run_id"]).to_pylist()]
    assert max(Counter(map(str, rows)).values()) == 1
    return len(rows)


def test_it_is_published(layout, place):
    publish(layout, place())
    assert is_right(layout, place()) == 3


def test_killed_at_every_request_nothing_is_lost_and_nothing_there_twice(layout, place, between):
    """Each kill has a table of its own, which the next publish makes whole."""
    for number in itertools.count(1):
        running = []
        begun = threading.Event()

        def kill(count, _head, number=number, running=running, begun=begun):
            if count != number:
                return "pass"
            begun.wait(60)
            running[0][0].kill()
            return "drop"

        between.begin(kill)
        running.append(started(publishing.table, layout, place(between.address, f"killed-{number}")))
        begun.set()
        code, said = ended(*running[0])
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        publish(layout, place(folder=f"killed-{number}"))
        assert is_right(layout, place(folder=f"killed-{number}")) == 3
    assert 10 < number < 99


@pytest.mark.parametrize("spoiled", ["drop", "deafen"])
def test_a_request_or_its_answer_that_is_lost_costs_nothing(layout, place, between, spoiled):
    publish(layout, place())
    put(layout, slot("attic", FIRST + 300), slot("attic", FIRST + 100 * DAY))
    met = set()

    def once(_count, head):
        request = head.split(b" ")[1].partition(b"?")[0]
        if request in met:
            return "pass"
        met.add(request)
        return spoiled

    between.begin(once)
    codes = [ended(*started(publishing.table, layout, place(between.address))) for _ in range(3)]
    assert met
    assert codes[-1][0] == 0, codes
    assert is_right(layout, place()) == 5


def test_of_two_at_once_one_takes_effect_at_a_time(layout, place):
    publish(layout, place())
    for day in range(4):
        put(layout, slot("attic", FIRST + (100 + day) * DAY), slot("shed", FIRST + (100 + day) * DAY, "yard"))
        for code, said in [
            ended(*each)
            for each in [started(publishing.table, layout, place(), f"said-{number}") for number in range(3)]
        ]:
            assert code == 0 or "somebody else" in said or "two publish" in said, said
        assert is_right(layout, place()) == 3 + 2 * (day + 1)


def test_a_store_that_ignores_conditions_is_refused(layout, place, between):
    between.begin()
    between.careless = True
    code, said = ended(*started(publishing.table, layout, place(between.address)))
    assert (code, "ignores If-None-Match" in said) == (1, True), said
    assert place().table() is None


def test_no_store_and_a_wrong_key_are_said(layout, place):
    with pytest.raises(StorageError):
        publish(layout, place("http://127.0.0.1:9"))
    wrong = Place(place().address, {**place().options, "AWS_SECRET_ACCESS_KEY": "another"})
    with pytest.raises(StorageError) as error:
        publish(layout, wrong)
    assert "another" not in str(error.value)


def test_engines_read_it_as_the_how_to_types_it(layout, place, address):
    publish(layout, place())
    page = (ROOT / "docs/how-to/publish-to-an-object-store.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    blocks = [
        block for block in found if not re.search("polars|daft|pyspark|uploads", block)
    ]  # those are too large for here
    assert len(blocks) == 2
    given = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}
    for block in blocks:
        code = block.replace("s3://measurements/records", place().address)
        done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {"home", "garden"} <= set(re.findall(r"\w+", done.stdout)), done.stdout
