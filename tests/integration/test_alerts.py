"""speedtest-alerts as the timer runs it, on real services: killed anywhere, nothing is lost, nothing is told twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import forks
import pytest
from aiosmtpd.controller import Controller
from builders import ROOT, put, slot, write_schedule
from ports import free_port

from speedtest_logger.alerts import cli, state
from speedtest_logger.alerts.state import State
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.record import utc_text

INTERVAL = 300
ALERTS = "speedtest_logger.alerts.cli"


class Webhook:
    """A service that takes messages: what it got, in order; one that is `down` refuses."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, str]] = []
        self.down, self.refused = False, 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(503 if hook.down else 200)
                self.end_headers()
                hook.refused += hook.down
                if not hook.down:
                    hook.got.append((self.headers["X-Speedtest-Message"], content["title"], content["message"]))

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/?cto=60&rto=60"

    def titles(self) -> list[str]:
        return [title for _, title, _ in self.got]

    def once(self) -> list[str]:
        """The titles, each message's once, however often it came."""
        return [title for _, title in dict.fromkeys((name, title) for name, title, _ in self.got)]


class Mailbox:
    """A mail server that keeps what it gets."""

    def __init__(self, port: int) -> None:
        self.got: list = []
        self.controller = Controller(self, hostname="127.0.0.1", port=port, ready_timeout=60)
        self.controller.start()
        self.url = f"mailto://127.0.0.1:{port}/?from=speedtest@example.org&to=owner@example.org"

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802  (aiosmtpd's name)
        self.got.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox(free_port())
    yield made
    made.controller.stop()


class Fleet:
    """An archive whose line went down three slots ago, watched since long before."""

    def __init__(self, folder, *urls: str, seen: float | None = None, **more) -> None:
        self.layout = Layout(folder)
        self.layout.prepare()
        seen = time.time() if seen is None else seen
        now = int(seen) // INTERVAL * INTERVAL
        self.first, self.last = now - 24 * INTERVAL, now - INTERVAL
        entry = {"interval_seconds": INTERVAL, "offset_seconds": 0, "location": "home", "valid_to": None}
        write_schedule(self.layout, attic=[{**entry, "valid_from": utc_text(self.first)}])
        put(self.layout, *(self.row(at) for at in range(self.first, self.last - 3 * INTERVAL, INTERVAL)))
        put(self.layout, *(self.row(at, down=True) for at in range(self.last - 3 * INTERVAL, self.last, INTERVAL)))
        (self.layout.root / state.FOLDER).mkdir()
        state.save(self.layout, State(began=seen - 9999, evaluated=seen - 20, listening_since=seen - 9999))
        self.settings = folder / "alerts.json"
        places = [{"name": f"place-{number}", "url": url, **more} for number, url in enumerate(urls)]
        self.settings.write_text(json.dumps({"destinations": places, "grace_seconds": INTERVAL}))

    @staticmethod
    def row(at: int, *, down: bool = False):
        nothing = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None}
        return slot("attic", at, **(nothing if down else {}))

    def recover(self) -> None:
        put(self.layout, self.row(self.last))

    def run(self, *more: str) -> subprocess.CompletedProcess:
        """As the timer runs it."""
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
        command = [sys.executable, "-m", "speedtest_logger.alerts", *self.words(*more)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def run_here(self, *more: str) -> int:
        """The same in this process, which has imported everything; returns the exit code."""
        return cli.main(self.words(*more))

    def killed(self, deadly: int, **environment: str) -> tuple[int | None, str]:
        """The same, killed before a change of the disk; returns exit code and what it said."""
        argv = [str(deadly), ALERTS, *self.words()]
        return forks.run(argv, {**os.environ, **environment}, self.layout.root / "said")

    def words(self, *more: str) -> list[str]:
        return ["--root", str(self.layout.root), "--settings", str(self.settings), "run", *more]


def test_a_line_that_is_down_is_told_once_by_mail_and_webhook_and_once_more_when_it_is_back(tmp_path, webhook, mailbox):
    fleet = Fleet(tmp_path, webhook.url, mailbox.url)
    assert fleet.run().returncode == 0
    assert [fleet.run_here() for _ in range(2)] == [0, 0]
    assert webhook.titles() == ["home: line down"]
    fleet.recover()
    assert fleet.run().returncode == 0
    assert [fleet.run_here() for _ in range(2)] == [0, 0]
    assert webhook.titles() == ["home: line down", "home: line down is over"]
    assert [mail["Subject"] for mail in mailbox.got] == webhook.titles()
    assert [mail["X-Speedtest-Message"] for mail in mailbox.got] == [
        name.replace("place-0", "place-1") for name, *_ in webhook.got
    ]
    began = utc_text(fleet.last - 3 * INTERVAL)
    assert f"since {began[:10]} {began[11:16]} UTC: the line is down: no_route" in webhook.got[0][2]
    assert ", 15 min: the line is down" in webhook.got[1][2]


def test_killed_at_every_change_of_the_disk_nothing_is_lost_and_nothing_told_twice(tmp_path, webhook):
    forks.start()
    changes = int(Fleet(tmp_path / "count", webhook.url).killed(0)[1].rpartition("changes=")[2])
    assert changes > 8
    assert webhook.once() == ["home: line down"]
    twice = 0
    for deadly in range(1, changes + 1):
        webhook.got.clear()
        fleet = Fleet(tmp_path / str(deadly), webhook.url)
        assert fleet.killed(deadly)[0] == -9, deadly
        fleet.run_here()
        fleet.recover()
        fleet.run_here()
        fleet.run_here()
        assert webhook.once() == ["home: line down", "home: line down is over"], deadly
        twice += len(webhook.got) > 2
        for name, count in Counter(name for name, *_ in webhook.got).items():
            texts = [text for other, _, text in webhook.got if other == name]
            assert count == 1 or (count == 2 and "may have reached you already" in texts[1]), (deadly, texts)
    assert twice <= 4, "only where it ends between the service's answer and its own note"


def test_a_dead_destination_holds_up_nobody_and_gets_all_in_order_as_one_later(tmp_path, webhook):
    dead = Webhook()
    dead.down = True
    fleet = Fleet(tmp_path, dead.url, webhook.url)
    assert "not_delivered to=place-0" in fleet.run().stderr
    fleet.recover()
    fleet.run_here()
    assert webhook.titles() == ["home: line down", "home: line down is over"]
    assert dead.got == []
    assert "127.0.0.1" not in fleet.run().stderr
    dead.down = False
    fleet.run_here()
    assert dead.got == [], "it is tried again later, or when somebody says so"
    fleet.run("--now")
    assert dead.titles() == [f"2 messages since {utc_text(time.time())[:10]}" + dead.titles()[0][27:]]
    text = dead.got[0][2]
    began = utc_text(fleet.last - 3 * INTERVAL)
    assert text.index("] home: line down\n") < text.index("] home: line down is over")
    assert f"since {began[:10]} {began[11:16]} UTC" in text
    fleet.run_here()
    assert len(dead.got) == 1
    dead.server.shutdown()
    dead.server.server_close()


class Clock:
    """A time that is set, in the place of the module: the command has no other clock."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


def test_a_destination_that_is_dead_for_an_hour_gets_all_in_order_and_is_not_tried_all_the_time(
    tmp_path, webhook, mailbox, monkeypatch
):
    """Every minute of that hour the timer's command runs; the line goes down and comes back twice."""
    dead = Webhook()
    dead.down = True
    clock = Clock(int(time.time()) // INTERVAL * INTERVAL - 90 * 60 + 30)
    fleet = Fleet(tmp_path, dead.url, webhook.url, mailbox.url, seen=clock.now)
    monkeypatch.setattr(cli, "time", clock)
    is_down = {0: True, 5: False, 30: True, 45: False}  # from these minutes on
    ingested = fleet.layout.state / "ingest.json"
    told: list[tuple[int, str]] = []  # minute, title
    revived = None
    for minute in range(75):
        if minute % 5 == 0:
            down = is_down[max(each for each in is_down if each <= minute)]
            put(fleet.layout, fleet.row(fleet.last + minute * 60, down=down))
        ingested.write_text(json.dumps({**json.loads(ingested.read_bytes()), "at": utc_text(clock.now)}))
        dead.down = minute < 61
        fleet.run_here()
        told += [(minute, title) for title in webhook.titles()[len(told) :]]
        assert [mail["Subject"] for mail in mailbox.got] == webhook.titles(), "both at once"
        revived = revived or (minute if dead.got else None)
        clock.now += 60
    assert [minute for minute, _ in told] == [0, 5, 35, 45], "others are told while one is dead"
    assert [title for _, title in told[:3]] == ["home: line down", "home: line down is over", "home: line down"]
    assert 6 <= dead.refused <= 10, "in an hour, and not every minute"
    assert revived is not None
    assert 61 <= revived <= 71
    ((_, title, text),) = dead.got
    began = clock.now - 75 * 60
    stamps = [utc_text(began + 60 * minute).replace("T", " ")[:16] for minute, _ in told]
    assert title == f"4 messages since {stamps[0]} UTC"
    headings = [line for line in text.splitlines() if line.startswith("[")]
    assert headings == [f"[{stamp} UTC] {title}" for stamp, (_, title) in zip(stamps, told, strict=True)]
    dead.server.shutdown()
    dead.server.server_close()


def test_an_archive_that_is_not_filled_is_told_and_nothing_else(tmp_path, webhook):
    fleet = Fleet(tmp_path, webhook.url)
    ingested = fleet.layout.state / "ingest.json"
    content = json.loads(ingested.read_bytes())
    ingested.write_text(json.dumps({**content, "at": utc_text(time.time() - 600)}))
    fleet.run_here()
    fleet.run_here()
    assert webhook.titles() == ["archive: archive is not filled"]
    fleet.recover()
    fleet.run_here()  # it is filled again; whether lines were down meanwhile is seen when enough time has gone
    assert webhook.titles() == ["archive: archive is not filled", "archive: archive is not filled is over"]
    assert state.load(fleet.layout).listening_since is not None
    fleet.run_here()
    assert len(webhook.got) == 2


def test_a_full_disk_loses_no_finding(tmp_path, webhook):
    fleet = Fleet(tmp_path, webhook.url)
    forks.start()
    code, said = fleet.killed(1, DISK_FULL="1")
    assert code == 5, said
    assert "No space left" in said
    assert webhook.got == []
    fleet.run_here()
    assert webhook.titles() == ["home: line down"]


def test_a_heartbeat_follows_each_good_evaluation(tmp_path, webhook):
    class Watcher(BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self.asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Watcher)
    Thread(target=server.serve_forever, daemon=True).start()
    fleet = Fleet(tmp_path, webhook.url)
    content = json.loads(fleet.settings.read_bytes())
    content["heartbeat_url"] = f"http://127.0.0.1:{server.server_port}/ping"
    fleet.settings.write_text(json.dumps(content))
    assert fleet.run().returncode == 0
    assert fleet.run_here() == 0
    assert Watcher.asked == ["/ping", "/ping"]
    state.file_of(fleet.layout).write_text("{")
    assert fleet.run_here() == 5
    assert Watcher.asked == ["/ping", "/ping"]
    server.shutdown()
    server.server_close()
