"""Archive hosts that share an archive in a real object store: each delivery counts once, whoever is out, and when."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest
from builders import DAY, FIRST, ROOT, SERVICE, as_stored, slot, stored

from speedtest_logger.archive.arrive import handover, receive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.shared import gate, lease, turn
from speedtest_logger.archive.shared.objects import INBOX, LEASE
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import DeliveryError, RefusedError, SpeedtestError, StorageError
from speedtest_logger.sinks import delta, table
from speedtest_logger.sinks.objects import Objects

FORKS = multiprocessing.get_context("forkserver")
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)
# an account that there is not cannot read every Python: what is imported later is imported before
MAIN = (
    "import sys, encodings.idna, zoneinfo, duckdb, pyarrow.dataset; from speedtest_logger.archive.shared import turn; "
    "from speedtest_logger.archive.cli import main; sys.exit(main())"
)
PATIENT, AT_ONCE = 1e9, 0.0  # how long a host waits for a lease that is not renewed


@pytest.fixture(scope="module", autouse=True)
def imported_once():
    """Dozens of processes are started here: none imports Arrow anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
        FORKS.set_forkserver_preload([turn.__name__])
        forkserver.ensure_running()


@pytest.fixture
def host(tmp_path, place):
    """A host of a name."""

    def made(name, patience=PATIENT, at=None):
        layout = Layout(tmp_path / name)
        layout.prepare()
        return turn.Host(layout, at or place(), name, 2, patience)

    return made


@contextmanager
def gate_of(host, objects=None):
    """The service beside a host's receive."""
    with socket.socket(socket.AF_UNIX) as listening:
        path = host.layout.root / "gate"
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        listening.listen()
        served = gate.Gate(objects or host.objects, listening)
        (host.layout.fleet / handover.FILE).write_text(f'{handover.VARIABLE}="{path}"\n')
        thread = threading.Thread(target=served.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            served.shutdown()
            thread.join()
            (host.layout.fleet / handover.FILE).unlink()


def deliver(host, *rows, node="attic"):
    """What the forced command does; returns the receipt."""
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return receive.receive(host.layout, node, io.BytesIO(lines), LIMITS)


def delivered(host, *rows, node="attic"):
    with gate_of(host):
        return deliver(host, *rows, node=node)["accepted"]


def in_table(place):
    there = place.existing()
    assert table.broken_links(there) == []
    rows = [row for part in table.partitions(there) for row in part.select(["node", "run_id"]).to_pylist()]
    return sorted((row["node"], row["run_id"]) for row in rows)


def holds(host, *rows):
    """The table, and the host's own archive, have each of these once and nothing else."""
    assert in_table(host.place) == sorted((row["node"], row["run_id"]) for row in rows)
    assert stored(host.layout) == as_stored(*rows)
    assert table.compared(host.place.existing(), host.layout) == []


def rows_of(count, node="attic", first=FIRST):
    return [slot(node, first + number * DAY) for number in range(count)]


def test_a_receipt_follows_the_object_and_any_host_takes_any_nodes(host):
    a, b = host("a"), host("b")
    rows = rows_of(4)
    assert len(delivered(a, *rows[:2])) == len(delivered(b, *rows[2:])) == 2
    assert not list(a.layout.inbox.glob("*/*"))
    assert len(a.objects.listed(INBOX)) == 2
    assert (a.turn().leads, b.turn().leads) == (True, False)
    holds(a, *rows)
    holds(b, *rows)
    assert a.objects.listed(INBOX) == []


def test_no_store_no_receipt_and_nothing_is_kept(host, place):
    a = host("a")
    nowhere = Objects(place("http://127.0.0.1:9"), retry_seconds=1)
    with gate_of(a, nowhere), pytest.raises(RefusedError) as error:
        deliver(a, *rows_of(1))
    assert error.value.reason == handover.UNREACHABLE
    (a.layout.fleet / handover.FILE).write_text(f'{handover.VARIABLE}="{a.layout.root}/nobody"\n')
    with pytest.raises(RefusedError):
        deliver(a, *rows_of(1))
    assert not list(a.layout.inbox.glob("*/*"))
    assert a.objects.listed(INBOX) == []


def test_a_lost_receipt_and_fail_over_count_once(host):
    a, b = host("a"), host("b")
    rows = rows_of(3)
    delivered(a, *rows)  # and its answer is lost
    delivered(b, *rows)
    a.turn()
    holds(a, *rows)
    assert b.turn().followed.added == 3
    holds(b, *rows)


@pytest.mark.parametrize("spoiled", ["drop", "deafen"])
def test_an_answer_that_is_lost_between_gate_and_store(host, place, between, spoiled):
    a = host("a")
    seen = set()

    def once(_count, head):
        request = head.split(b" ")[1]
        return "pass" if request in seen else seen.add(request) or spoiled

    between.begin(once)
    with gate_of(a, Objects(place(between.address))):
        assert len(deliver(a, *rows_of(2))["accepted"]) == 2
    assert seen
    a.turn()
    holds(a, *rows_of(2))


def test_another_takes_over_and_the_stale_holder_is_fenced(host):
    a, b = host("a"), host("b", AT_ONCE)
    first, second, third = rows_of(3)
    delivered(a, first)
    a.turn()
    b.turn()  # sees the lease
    delivered(a, second)
    stale, mine = lease.take(a.objects, a.layout, "a", PATIENT)
    assert mine
    a.bring_inbox()
    ingest.ingest(a.layout)  # and here it stops for a while
    time.sleep(0.01)
    b.keep_up()
    assert not lease.take(b.objects, b.layout, "b", PATIENT)[1]
    assert b.turn().leads
    with pytest.raises(DeliveryError, match="written by b"):
        delta.Publisher(a.layout, a.place, 2, stale.writer).publish()
    delivered(a, third)
    assert not a.turn().leads
    assert b.turn().leads
    a.turn()
    for each in (a, b):
        holds(each, first, second, third)


def test_a_commit_between_looking_and_adopting_fences_who_adopts(host):
    a, b = host("a"), host("b")
    delivered(a, *rows_of(1))
    a.turn()
    looked = b.place.existing()
    delivered(a, *rows_of(2)[1:])
    a.turn()
    with pytest.raises(DeliveryError, match="nothing of this publish"):
        delta.Publisher(b.layout, b.place, 2, "b#2").adopt(looked)
    holds(a, *rows_of(2))


def test_what_only_a_stale_host_has_comes_back_through_the_inbox(host):
    a, b = host("a"), host("b", AT_ONCE)
    first, lost = rows_of(2)
    delivered(a, first)
    a.turn()
    b.turn()
    delivered(a, lost)
    a.bring_inbox()
    ingest.ingest(a.layout)
    a.objects.delete([item.name for item in a.objects.listed(INBOX)])  # only its archive has it now
    turn.forget(a.layout)
    assert b.turn().leads
    outcome = a.turn()
    assert (outcome.leads, outcome.followed.given_back) == (False, 1)
    b.turn()
    a.turn()
    for each in (a, b):
        holds(each, first, lost)


def taking_turns(host, said):
    """What a process of its own does."""
    try:
        host.turn()
    except SpeedtestError as error:
        said.write_text(str(error))
        sys.exit(1)


def test_killed_at_every_request_nothing_is_lost_and_nothing_there_twice(host, place, between, tmp_path):
    rows = [*rows_of(2), slot("porch", FIRST, "garden")]
    for number in range(1, 99):
        folder = f"killed-{number}"
        a, b = (host(f"{name}{number}", AT_ONCE, place(folder=folder)) for name in "ab")
        delivered(a, *rows[:2])
        delivered(b, rows[2], node="porch")
        running, begun = [], threading.Event()

        def kill(count, _head, number=number, running=running, begun=begun):
            if count != number:
                return "pass"
            begun.wait(60)
            running[0].kill()
            return "drop"

        between.begin(kill)
        before = turn.Host(a.layout, place(between.address, folder), a.name, 2, PATIENT)
        running.append(FORKS.Process(target=taking_turns, args=(before, tmp_path / "said")))
        running[0].start()
        begun.set()
        running[0].join(240)
        if running[0].exitcode == 0:
            break
        assert running[0].exitcode == -signal.SIGKILL
        b.turn()
        assert b.turn().leads
        holds(b, *rows)
        a.patience = PATIENT
        a.turn()
        holds(a, *rows)
    assert 8 < number < 98


def test_hosts_come_and_go_and_the_last_one_is_on_its_own_again(host):
    alone = host("a")
    rows = rows_of(5)
    deliver(alone, *rows[:2])  # a single host, as today
    ingest.ingest(alone.layout)
    delta.Publisher(alone.layout, alone.place, 2).publish()
    deliver(alone, rows[2])  # waits while it becomes one of several
    b = host("b")
    assert {alone.turn().holder, b.turn().holder} == {"a"}
    holds(b, *rows[:3])
    delivered(b, rows[3])
    with pytest.raises(StorageError, match="a takes the inbox in"):
        b.leave()
    alone.leave()
    assert alone.objects.get(LEASE)[0] == lease.Lease("", 1).to_bytes()
    deliver(alone, rows[4])
    ingest.ingest(alone.layout)
    delta.Publisher(alone.layout, alone.place, 2).publish()
    holds(alone, *rows)


def test_first_come_whoever_starts_first_what_one_host_had_is_not_lost(host):
    """A new host has the lease before the one whose archive it was: what was not published yet comes back."""
    old, new = host("old"), host("new")
    rows = rows_of(3)
    deliver(old, *rows[:2])
    ingest.ingest(old.layout)
    delta.Publisher(old.layout, old.place, 2).publish()
    deliver(old, rows[2])
    ingest.ingest(old.layout)
    assert new.turn().leads
    assert old.turn().followed.given_back == 1
    new.turn()
    old.turn()
    for each in (old, new):
        holds(each, *rows)


@pytest.fixture
def damaged(host):
    """A host that leads; a month of its garden cannot be read any more."""
    a = host("a")
    delivered(a, slot("apple", FIRST, "garden"), node="apple")
    a.turn()
    (month,) = a.layout.month_files()
    month.write_bytes(b"PAR1 and nothing that it means PAR1")
    return a


@pytest.mark.parametrize("budget", ["MOST_BYTES", "MOST_OBJECTS"])
def test_what_cannot_be_taken_in_uses_no_turn_up(damaged, monkeypatch, budget):
    """Turn by turn what waits for the damaged month stays, and all else is taken in."""
    a, stuck, rows = damaged, [slot("apple", FIRST + day * DAY, "garden") for day in range(1, 4)], rows_of(3)
    for row in stuck:
        delivered(a, row, node="apple")
    for row in rows:
        delivered(a, row)
    sizes = [item.size for item in a.objects.listed(INBOX)]
    monkeypatch.setattr(turn, budget, {"MOST_BYTES": max(sizes), "MOST_OBJECTS": 2}[budget])
    for _ in range(len(sizes)):
        with suppress(StorageError):
            a.turn()
    assert [item.name.split("/")[2] for item in a.objects.listed(INBOX)] == ["apple"] * 3
    assert {row["run_id"] for row in rows} <= {run for _, run in in_table(a.place)}


def test_what_is_none_of_ours_uses_no_turn_up(host, monkeypatch):
    a = host("a")
    monkeypatch.setattr(turn, "MOST_OBJECTS", 2)
    for number in range(3):
        a.objects.put_new(f"{INBOX}Aaa/{number}.txt", b"{}")
    delivered(a, *rows_of(1))
    a.turn()
    holds(a, *rows_of(1))


def test_a_turn_looks_at_some_of_a_long_inbox_and_the_next_one_goes_on_there(host, monkeypatch):
    a = host("a")
    for number in range(5):
        a.objects.put_new(f"{INBOX}Aaa/{number}.txt", b"{}")
    delivered(a, *rows_of(1))
    monkeypatch.setattr(turn, "MOST_LISTED", 2)
    assert [(a.turn().taken_in, a.outcome.waiting) for _ in range(3)] == [(0, 2), (0, 2), (1, 2)]
    holds(a, *rows_of(1))
    delivered(a, *rows_of(2))
    for _ in range(3):
        a.turn()
    holds(a, *rows_of(2))


@pytest.fixture
def reachable():
    """A folder that other accounts can get to."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def owned_by_service(folder):
    for path in folder.rglob("*"):
        os.chown(path, SERVICE.uid, SERVICE.gid)


def test_the_commands_that_units_run(place, reachable):
    """The service gets its socket from systemd; a turn begins as root, and what it writes is the archive's owner's."""
    a = turn.Host(Layout(reachable), place(), "a", 2)
    a.layout.prepare()
    owned_by_service(reachable)
    given = {**os.environ, **place().options}
    command = [sys.executable, "-c", MAIN, "--root", str(a.layout.root), "share"]
    path = reachable / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        inherit = 'exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        words = ["sh", "-c", inherit, "sh", *command, "--gate", place().address]
        with subprocess.Popen(words, stdin=listening, env=given) as serving:
            (a.layout.fleet / handover.FILE).write_text(f'{handover.VARIABLE}="{path}"\n')
            try:
                assert len(deliver(a, *rows_of(2))["accepted"]) == 2
                assert serving.poll() is None
            finally:
                serving.terminate()
    owned_by_service(reachable)
    done = subprocess.run([*command, "--host", "a", place().address], env=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["leads"], said["taken_in"], said["published"], said["waiting"]) == (True, 2, 2, 0)
    assert {found.stat().st_uid for found in a.layout.month_files()} == {SERVICE.uid}
    assert (a.layout.state / turn.STATE).stat().st_uid == SERVICE.uid
    holds(a, *rows_of(2))
