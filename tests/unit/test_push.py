"""push: only what the archive receipted is released. The connection is replaced by receive itself, in this process."""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import replace

import pytest

from speedtest_logger.actions import measure, push
from speedtest_logger.archive import receive
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.spool import Spool

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path / "archive")
    for folder in (layout.inbox, layout.archive, layout.quarantine, layout.state):
        folder.mkdir(parents=True)
    return layout


@pytest.fixture
def node(settings):
    here = settings(archive_host="archive.example.org", push_batch_records="3")
    Spool(here.state_dir).prepare()
    return here


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
        spool.write(measure.begin(node, None, 1_700_000_000 + number))


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
    monkeypatch.setitem(globals(), "LIMITS", replace(LIMITS, oldest_days=1))
    delivery = run(node)
    assert (delivery.accepted, delivery.rejected) == (0, 2)
    reasons = list((node.state_dir / "rejected").glob("*.reason"))
    assert len(reasons) == 2
    assert "too_old" in reasons[0].read_text()


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
        assert released.wait(30)
        raise DeliveryError("the archive is away")

    monkeypatch.setattr(push, "send", fail_in_first)
    first = threading.Thread(target=run_in_vain)
    first.start()
    assert started.wait(30)
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


def test_a_record_that_is_dropped_while_others_are_delivered_stops_nothing(node, archive, link, monkeypatch):
    fill(node, 2)
    listed = Spool.waiting

    def dropped_after_listing(spool):
        found = listed(spool)
        for file in list(found)[:1]:
            file.unlink()
        monkeypatch.setattr(Spool, "waiting", listed)
        return found

    monkeypatch.setattr(
        push, "locked", lambda *_, **__: monkeypatch.setattr(Spool, "waiting", dropped_after_listing) or True
    )
    assert run(node).accepted == 1
