"""A node says how it is to an archive that understands it, and to no other."""

from __future__ import annotations

import io
import json
import time

import pytest

from speedtest_logger import __version__
from speedtest_logger.archive.arrive import receive
from speedtest_logger.log import Log
from speedtest_logger.node import greeting, measure, push
from speedtest_logger.node.spool import Spool

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)


@pytest.fixture
def sent(archive, monkeypatch):
    """What goes up; with `earlier` the archive is of a version that knows no hello."""

    class Sent(list):
        earlier = False

    seen = Sent()

    def send(settings, lines):
        seen.append([json.loads(line) for line in lines.splitlines()])
        receipt = receive.receive(archive, settings.node, io.BytesIO(lines), LIMITS)
        if seen.earlier:
            assert receipt.pop("knows")
        return receipt

    monkeypatch.setattr(push, "send", send)
    return seen


def deliver(node, count, start=[0]):  # noqa: B006  # it counts on from one call to the next
    spool = Spool(node.state_dir)
    for _ in range(count):
        start[0] += 1
        spool.write(measure.begin(node, None, time.time() - 10_000 + start[0]))
    return push.push(node, Log(node.log_file))


def hellos(sent):
    return [[line["hello"] for line in lines if "hello" in line] for lines in sent]


def test_the_first_receipt_says_whether_a_hello_is_understood(node, archive, sent):
    assert deliver(node, 4).accepted == 4
    assert [len(said) for said in hellos(sent)] == [0, 1]
    sent.clear()
    before = time.time()
    assert deliver(node, 7).accepted == 7
    assert [said["outbox"]["records"] for [said] in hellos(sent)] == [4, 1, 0]
    assert [said["outbox"]["bytes"] > 0 for [said] in hellos(sent)] == [True, True, False]
    for [said] in hellos(sent):
        assert (said["version"], said["runtime"]) == (__version__, node.runtime)
        assert before - 1 <= said["clock"] <= time.time()
        assert said["disk_free"] > 0
    kept = json.loads((archive.state / "nodes/attic.json").read_text())
    assert (kept["version"], kept["outbox"]["records"]) == (__version__, 0)
    assert abs(kept["clock_offset"]) < 5


def test_a_node_that_pulls_says_how_it_is_and_one_that_is_pushed_to_does_not(
    node, archive, sent, tmp_path, monkeypatch
):
    state = tmp_path / "state.json"
    monkeypatch.setattr(greeting, "CONVERGED", state)
    deliver(node, 1)
    deliver(node, 1)
    assert "converged" not in hellos(sent)[-1][0]
    said = {"applied": 7, "at": 1.5, "changed": 2, "version": "1.2.3", "error": ""}
    state.write_text(json.dumps({"accepted": 9, **said}))
    deliver(node, 1)
    assert hellos(sent)[-1][0]["converged"] == said
    for damaged in ("", "{", "[]", "7", "x" * 5000):
        state.write_text(damaged)
        deliver(node, 1)
        assert "converged" not in hellos(sent)[-1][0]


def test_an_archive_of_an_earlier_version_gets_none(node, archive, sent):
    sent.earlier = True
    for _ in range(2):
        assert deliver(node, 2).accepted == 2
    assert hellos(sent) == [[], []]
    # one that is upgraded, and goes back
    sent.earlier = False
    deliver(node, 1)
    sent.earlier = True
    sent.clear()
    for _ in range(2):
        assert deliver(node, 1).accepted == 1
    assert [len(said) for said in hellos(sent)] == [1, 0]


@pytest.mark.parametrize("knows", [None, "hello", {"hello": 1}, [["hello"]], [7]])
def test_a_receipt_may_say_anything_of_what_the_archive_knows(node, sent, knows):
    Spool(node.state_dir).write_state("archive", {"knows": knows})
    assert deliver(node, 1).accepted == 1
    assert hellos(sent) == [[]]


def test_a_look_at_the_connection_says_hello(node, archive, sent):
    push.hello(node, Log(None))
    push.hello(node, Log(None))
    assert [len(said) for said in hellos(sent)] == [0, 1]
    assert json.loads((archive.state / "nodes/attic.json").read_text())["version"] == __version__
