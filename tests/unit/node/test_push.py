"""push: only what the archive receipted is released. The connection is replaced by receive itself, in this process."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from dataclasses import replace

import pytest
from builders import ROOT

from speedtest_logger.archive.arrive import receive
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import measure, outbox, push, status
from speedtest_logger.node.spool import Spool

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)


@pytest.fixture
def link(archive, monkeypatch):
    """The way to the archive; tests replace `send` to break it."""
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def send(settings, lines):
        return receive.receive(archive, settings.node, io.BytesIO(lines), LIMITS)

    monkeypatch.setattr(push, "send", send)
    return send


def fill(node, count):
    spool = Spool(node.state_dir)
    for number in range(count):
        spool.write(measure.begin(node, None, time.time() - 10_000 + number))


def archived(archive):
    return [
        json.loads(line)["run_id"] for file in archive.inbox.glob("*/*.jsonl") for line in file.read_text().splitlines()
    ]


def run(node, **options):
    return push.push(node, Log(node.log_file), **options)


def test_everything_is_delivered_in_batches_and_released(node, archive, link):
    fill(node, 8)
    waiting = {file.stem for file in Spool(node.state_dir).waiting()}
    delivery = run(node)
    assert (delivery.accepted, delivery.rejected, delivery.waiting) == (8, 0, 0)
    assert set(archived(archive)) == waiting
    assert len(list(archive.inbox.glob("attic/*.jsonl"))) == 3
    assert Spool(node.state_dir).read_state("last_receipt")["receipt"]


def test_an_empty_outbox_costs_no_connection(node, monkeypatch):
    monkeypatch.setattr(push, "send", lambda *_: pytest.fail("a connection was made"))
    assert run(node).accepted == 0
    assert not node.log_file.exists()


def test_a_lost_receipt_delivers_again_and_releases_once(node, archive, link, monkeypatch):
    fill(node, 2)
    tries = []

    def lose_first(settings, lines):
        receipt = link(settings, lines)
        tries.append(1)
        if len(tries) == 1:
            raise DeliveryError("the connection broke")
        return receipt

    monkeypatch.setattr(push, "send", lose_first)
    assert run(node).accepted == 2
    assert len(archived(archive)) == 4
    assert len(set(archived(archive))) == 2


def test_no_archive_no_release_and_a_rest(node, monkeypatch, link):
    fill(node, 2)

    def fail(*_):
        raise DeliveryError("no route to host")

    monkeypatch.setattr(push, "send", fail)
    with pytest.raises(DeliveryError):
        run(node)
    assert len(Spool(node.state_dir).waiting()) == 2
    monkeypatch.setattr(push, "send", link)
    assert run(node).waiting == 2  # it rests
    assert run(node, force=True).accepted == 2


def test_refused_records_are_put_aside_with_their_reason(node, archive, link, monkeypatch):
    fill(node, 2)
    monkeypatch.setattr(push, "send", refusing)
    delivery = run(node)
    assert (delivery.accepted, delivery.rejected) == (0, 2)
    reasons = list((node.state_dir / "rejected").glob("*.reason"))
    assert len(reasons) == 2
    assert reasons[0].read_text() == "other_location: x\n"


def test_a_forced_push_waits_for_the_one_that_runs(node, archive, link, monkeypatch):
    fill(node, 1)
    started, released = threading.Event(), threading.Event()

    def run_in_vain():
        with pytest.raises(DeliveryError):
            run(node)

    def fail_in_first(settings, lines):
        if threading.current_thread() is not first:
            return link(settings, lines)
        started.set()
        assert released.wait(120)
        raise DeliveryError("the archive is away")

    monkeypatch.setattr(push, "send", fail_in_first)
    first = threading.Thread(target=run_in_vain)
    first.start()
    assert started.wait(120)
    assert run(node).accepted == 0
    threading.Timer(0.2, released.set).start()
    assert run(node, force=True).accepted == 1
    first.join()


def test_a_file_that_is_no_record_blocks_nothing(node, archive, link):
    fill(node, 1)
    (node.state_dir / "outbox/torn.csv").write_bytes(b"schema_version,run_id\n1")
    assert run(node).accepted == 1
    assert (node.state_dir / "rejected/torn.csv").exists()
    assert not Spool(node.state_dir).waiting()


@pytest.mark.parametrize(
    "receipt",
    [
        {"receipt": "X", "node": "attic", "accepted": [], "rejected": {}},
        {"receipt": "X", "node": "attic", "accepted": ["other"], "rejected": {}},
    ],
)
def test_a_receipt_for_something_else_releases_nothing(node, link, monkeypatch, receipt):
    fill(node, 1)
    monkeypatch.setattr(push, "send", lambda *_: receipt)
    with pytest.raises(DeliveryError):
        run(node)
    assert len(Spool(node.state_dir).waiting()) == 1


def test_a_record_that_is_gone_before_it_was_read_stops_nothing(node, archive, link, monkeypatch):
    fill(node, 2)
    listed = outbox.listed

    def gone_after_listing(folder):
        found = listed(folder)
        monkeypatch.setattr(outbox, "listed", listed)
        (folder / found[0].name).unlink()
        return found

    monkeypatch.setattr(outbox, "listed", gone_after_listing)
    assert run(node).accepted == 1


def answering(monkeypatch, **answer):
    monkeypatch.setattr(push, "send", lambda *_: {"receipt": "X", "node": "attic", **answer})


@pytest.mark.parametrize(
    "answer",
    [
        {"accepted": {"a": 1}},
        {"accepted": "all"},
        {"rejected": ["a"]},
        {"later": [[[]]]},
        {"receipt": {"a": []}},
        {"receipt": None},
        {"node": ["attic"]},
        {"accepted": [["a"], {"b": 1}, None, 7]},
        {"accepted": None},
    ],
)
def test_an_odd_receipt_releases_nothing_and_ends_with_words(node, link, monkeypatch, answer):
    fill(node, 1)
    answering(monkeypatch, **answer)
    with pytest.raises(DeliveryError):
        run(node)
    assert len(Spool(node.state_dir).waiting()) == 1
    assert "receipt" in status.status(node)["failed_delivery"]["message"] or "node" in answer


def test_a_record_in_two_lists_of_a_receipt_is_taken_once(node, link, monkeypatch):
    fill(node, 1)
    ((file, _),) = Spool(node.state_dir).waiting().items()
    both = {file.stem: {"odd": ["\ud800\x1b[31m"]}}
    answering(monkeypatch, accepted=[file.stem, file.stem], rejected=both, later=both)
    assert vars(run(node)) == {"accepted": 1, "rejected": 0, "waiting": 0, "deferred": 0}


def test_what_an_archive_says_cannot_spoil_a_terminal_or_a_file(node, link, monkeypatch):
    fill(node, 1)
    ((file, _),) = Spool(node.state_dir).waiting().items()
    answering(monkeypatch, rejected={file.stem: "x: \ud800\x1b[31m\n" + "y" * 5000})
    assert run(node).rejected == 1
    reason = (Spool(node.state_dir).rejected / f"{file.name}.reason").read_text()
    assert reason == f"x:   [31m {'y' * (300 - 10)}\n"


@pytest.fixture
def ssh(node, tmp_path, monkeypatch):
    """A program in ssh's place."""

    def write(script):
        file = tmp_path / "bin/ssh"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")
        monkeypatch.setattr(push, "FIRST_WAIT_SECONDS", 0)

    return write


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("cat /dev/zero", "longer than"),
        ("cat /dev/zero >&2", "longer than"),
        ("exec sleep 60", "no answer from archive.example.org within 1 s"),
        ("head -c 200000 /dev/zero | tr '\\0' '['", "no receipt"),
        ("echo '[1]'", "refused the delivery"),
        ('echo \'{"refused": "rate_limited", "message": "later"}\'', "refused the delivery: rate_limited: later"),
        ('echo \'{"receipt": "X", "node": "porch"}\'', "knows this key as node 'porch', not 'attic'"),
        ("echo 'u@h: Permission denied (publickey).' >&2; exit 255", "does not know this node's key"),
        ("echo 'Host key verification failed.' >&2; exit 255", "is not the pinned one in /etc/"),
        ("echo 'ssh: connect to host h port 22: Connection refused' >&2; exit 255", "nothing listens on arch"),
        ("echo 'no such identity: /k: No such file' >&2; exit 255", "id_ed25519 is missing"),
    ],
)
def test_hello_says_in_plain_words_what_is_wrong(node, ssh, monkeypatch, script, words):
    ssh(script)
    quick = replace(node, push_timeout_seconds=1 if "sleep" in script else 30)
    with pytest.raises(DeliveryError, match=re.escape(words)):
        push.hello(quick, Log(None))


def test_hello_delivers_nothing_and_is_answered(node, archive, ssh):
    code = "import sys; from speedtest_logger.archive.arrive.receive import main; sys.exit(main())"
    ssh(f"PYTHONPATH={ROOT}/src exec {sys.executable} -c '{code}' --node attic --root {archive.root}")
    fill(node, 1)
    assert "archive.example.org answers node 'attic': receipt " in push.hello(node, Log(None))
    assert len(Spool(node.state_dir).waiting()) == 1
    with pytest.raises(DeliveryError, match="no archive host is set"):
        push.hello(replace(node, archive_host=None), Log(None))


def test_a_failed_delivery_is_named_at_once_until_one_succeeds(node, archive, link, monkeypatch):
    fill(node, 1)

    def fail(*_):
        raise DeliveryError("no route to host")

    monkeypatch.setattr(push, "send", fail)
    for _ in range(2):
        with pytest.raises(DeliveryError):
            run(node, force=True)
    (problem,) = (text for text in status.status(node)["problems"] if text.startswith("the last delivery failed at 20"))
    assert "no route to host (tried 2 times, next try at 20" in problem
    monkeypatch.setattr(push, "send", link)
    run(node, force=True)
    assert not any("delivery failed" in text for text in status.status(node)["problems"])


def test_refused_records_are_delivered_again_once_the_cause_is_gone(node, archive, link, monkeypatch):
    fill(node, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push, "send", refusing)
        assert run(node).rejected == 3
    spool = Spool(node.state_dir)
    (spool.rejected / "torn.csv").write_text("no record")
    assert "push --rejected" in status.status(node)["problems"][-1]
    assert run(node, force=True, rejected=True).accepted == 3
    assert sorted(file.name for file in spool.rejected.iterdir()) == ["torn.csv"]
    assert len(archived(archive)) == 3


def refusing(settings, lines):
    ids = [json.loads(line)["run_id"] for line in lines.splitlines()]
    return {"receipt": "X", "node": settings.node, "accepted": [], "rejected": dict.fromkeys(ids, "other_location: x")}
