"""A tree in a real object store: killed at each request, answers lost, several at once; and nothing unless asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import publishing
import pyarrow.dataset as ds
import pytest
from builders import DAY, FIRST, ROOT, put, slot, stored
from publishing import ended, plain, started
from stores import KEYS
from tries import some

from speedtest_logger.archive import cli
from speedtest_logger.sinks import tree
from speedtest_logger.sinks.objects import Objects


@pytest.fixture(scope="module", autouse=True)
def prepared():
    publishing.prepare()


@pytest.fixture
def layout(layout):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 31 * DAY), slot("porch", FIRST, "garden"))
    return layout


def is_right(layout, place):
    """All that somebody else's reader finds is the archive's, each run once."""
    filesystem, root = place.filesystem()
    rows = ds.dataset(f"{root}/uploads", filesystem=filesystem, partitioning="hive").to_table()
    found = Counter(zip(*(rows[name].to_pylist() for name in ("node", "run_id", "location")), strict=True))
    assert found == Counter(run[:3] for run in stored(layout))
    assert tree.Tree(layout, place).compared() == []
    return rows.num_rows


@pytest.mark.sampled
@pytest.mark.parametrize("arrives", [False, True])
def test_killed_at_a_request_nothing_is_lost_and_nothing_there_twice(layout, place, between, arrives):
    """Each kill has a tree of its own, which the next publish makes whole; the killed request arrived, or did not."""
    between.begin()
    assert ended(*started(plain, layout, place(between.address, f"whole-{arrives}")))[0] == 0
    requests = len(between.changes)
    assert (
        requests == 9
    )  # what is known to begin with, the same refused; a file and what is known, three times; at last
    for number in some(range(1 + arrives, requests + 1), 3):
        running = []
        begun = threading.Event()

        def kill(count, _head, number=number, running=running, begun=begun):
            if count != number:
                return "pass"
            begun.wait(60)
            running[0][0].kill()
            return "deafen" if arrives else "drop"

        folder = f"killed-{arrives}-{number}"
        between.begin(kill)
        running.append(started(plain, layout, place(between.address, folder)))
        begun.set()
        code, said = ended(*running[0])
        assert code == -signal.SIGKILL, said
        tree.Tree(layout, place(folder=folder)).publish()
        assert is_right(layout, place(folder=folder)) == 3


def test_answers_that_are_lost_cost_nothing(layout, place, between):
    met = set()

    def once(_count, head):
        request = head.split(b" ")[1].partition(b"?")[0]
        if request in met:
            return "pass"
        met.add(request)
        return "deafen"

    between.begin(once)
    codes = [ended(*started(plain, layout, place(between.address))) for _ in range(2)]
    assert len(met) == 4
    assert codes[-1][0] == 0, codes
    assert is_right(layout, place()) == 3


def test_several_at_once_put_each_run_there_once(layout, place):
    for day in range(2):
        late = [slot("attic", FIRST + 300 * (1 + day)), slot("shed", FIRST + (50 + day) * DAY, "yard")]
        put(layout, *late)
        for code, said in [
            ended(*each) for each in [started(plain, layout, place(), f"said-{number}") for number in range(3)]
        ]:
            assert code == 0, said
        assert is_right(layout, place()) == 3 + 2 * (day + 1)


def test_the_slower_of_two_looks_again(layout, place, between):
    """It holds a number's PUT back until another one, who knows of more, has the number."""
    tree.Tree(layout, place()).publish()
    put(layout, slot("attic", FIRST + 300))
    begun, go_on = threading.Event(), threading.Event()

    def hold(_count, head):
        if b"speedtest_002" in head.split(b"\r\n", 1)[0]:
            begun.set()
            go_on.wait(60)
        return "pass"

    between.begin(hold)
    slower = started(plain, layout, place(between.address))
    assert begun.wait(60)
    put(layout, slot("attic", FIRST + 600))
    assert vars(tree.Tree(layout, place()).publish())["records"] == 2
    go_on.set()
    assert ended(*slower) == (0, "")
    assert any(b"speedtest_002" in request for request in between.changes)
    assert is_right(layout, place()) == 5


def test_a_store_that_ignores_conditions_is_refused(layout, place, between):
    between.begin()
    between.careless = True
    code, said = ended(*started(plain, layout, place(between.address)))
    assert (code, "ignores If-None-Match" in said) == (1, True), said
    assert [item.name for item in Objects(place()).listed("")] == [tree.STATE]


def test_pyarrow_reads_it_as_the_how_to_types_it(layout, place):
    tree.Tree(layout, place()).publish()
    page = (ROOT / "docs/how-to/publish-to-an-object-store.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n([^`]*?uploads[^`]*)^```", page, re.MULTILINE)
    code = block.replace("s3://measurements/uploads", f"{place().address}/uploads")
    code = code.replace("http&endpoint_override=127.0.0.1:8333", f"http&endpoint_override={host_of(place())}")
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **KEYS}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert dict(re.findall(r"^(home|garden) +(\S+)$", done.stdout, re.MULTILINE)) == {
        "home": "100.0",
        "garden": "100.0",
    }


def host_of(place):
    return place.options["AWS_ENDPOINT_URL"].removeprefix("http://")


def test_who_asks_for_no_tree_has_no_object_more(layout, place, monkeypatch):
    for name, value in place().options.items():
        monkeypatch.setenv(name, value)
    address = place().address
    command = ["--root", str(layout.root), "publish"]
    assert cli.main([*command, f"{address}/records"]) == 0
    names = [item.name for item in Objects(place()).listed("")]
    assert [name for name in names if not name.startswith("records/")] == []
    assert cli.main([*command, "--tree", address, f"{address}/records"]) == 0
    assert is_right(layout, place()) == 3
    assert set(names) <= {item.name for item in Objects(place()).listed("")}
    assert cli.main([*command, "--maintain", f"{address}/records"]) == 0
    assert cli.main([*command, "--check", "--tree", address, f"{address}/records"]) == 0
