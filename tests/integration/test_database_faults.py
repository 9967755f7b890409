"""The PostgreSQL sink where a sync ends before its end: killed, cut off, alone with its lock, or without a server."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import psycopg
import pytest
from builders import DAY, FIRST, by_hand, put, slot, stored
from synced import ask, ask_nothing, fill, held, same, sync
from tries import some

from speedtest_logger.errors import DeliveryError, UsageError
from speedtest_logger.sinks import connection, postgresql
from speedtest_logger.sinks.connection import connected

STATEMENTS = ("execute", "executemany", "copy")


def die_before(number: int) -> None:
    """Kill -9 this process before its Nth word to the server, the pieces of a COPY included."""
    done = 0

    def counted(original):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for owner, names in ((psycopg.Cursor, STATEMENTS), (psycopg.Copy, ("write", "__exit__"))):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))


def killed(layout, into, number):
    """Sync in a process that dies at a word; whether it did."""
    pid = os.fork()
    if pid == 0:
        try:
            die_before(number)
            sync(layout, into)
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.sampled
@pytest.mark.parametrize("begun", some(["a later sync", "the first fill"], 2))
def test_killed_at_every_word_to_the_server_it_holds_each_record_once(layout, into, begun):
    fill(layout, days=2)
    if begun == "a later sync":
        sync(layout, into)
        put(layout, slot("attic", FIRST + 1800), by_hand("shed", 9, FIRST + DAY))
    put(layout, slot("attic", FIRST + 40 * DAY), slot("attic", FIRST + 70 * DAY))
    number = 0
    while killed(layout, into, number := number + 1):
        between = held_if_any(into)
        assert len(between) == len(set(between))
        assert set(between) <= set(stored(layout))
        if number % 9 == 0:  # the archive goes on meanwhile
            put(layout, slot("shed", FIRST + 40 * DAY + number * 60), slot("attic", FIRST + number * 77))
    assert number > 20
    same(layout, into)
    assert ask(into, "SELECT count(*) FROM speedtest.sink_month") == [(0,)]


def held_if_any(into):
    return held(into) if ask(into, "SELECT to_regclass('speedtest.records')")[0][0] else []


def test_a_first_fill_goes_on_with_the_month_that_it_was_at(layout, into):
    put(layout, *(slot("attic", FIRST + month * 31 * DAY) for month in range(6)))
    with connected(into) as session:
        sink = postgresql.Sink(layout, session)
        carried, original = [], sink._carry_out

        def carry(month, *rest):
            if len(carried) == 4:
                raise DeliveryError("the cable was pulled")
            original(month, *rest)
            carried.append(month)

        sink._carry_out = carry
        with pytest.raises(DeliveryError, match="the cable was pulled"):
            sink.sync()
    put(layout, slot("attic", FIRST + 1800))  # one of those that are done
    outcome = sync(layout, into)
    assert outcome.months == 3
    same(layout, into)


def test_a_server_that_no_longer_loads_timescaledb_is_filled_anew(layout, into, server):
    if not server.timescale:
        pytest.skip("this server has no TimescaleDB: make databases has one that does")
    fill(layout)
    sync(layout, into)
    server.stop()
    server.timescale = False
    server.start()
    try:
        for timescale in (True, False):
            with pytest.raises(UsageError, match="does not load TimescaleDB" if timescale else "--rebuild` fills it"):
                sync(layout, into, timescale=timescale)
        ask_nothing(into, "CREATE SCHEMA mine")
        sync(layout, into, rebuild=True, timescale=False)
        same(layout, into)
        assert ask(into, "SELECT extname FROM pg_extension WHERE extname = 'timescaledb'") == []
    finally:
        server.stop()
        server.timescale = True
        server.start()


def test_two_syncs_never_mix(layout, into):
    fill(layout)
    with connected(into) as session:
        session.take_lock()
        with pytest.raises(DeliveryError, match="another sync is at work in this database"):
            sync(layout, into)
    sync(layout, into)
    same(layout, into)


def test_tables_of_a_later_version_are_left_alone(layout, into):
    fill(layout)
    sync(layout, into)
    ask_nothing(into, "INSERT INTO speedtest.migration VALUES (999)")
    with pytest.raises(DeliveryError, match="of version 999, this program knows up to"):
        sync(layout, into)
    assert held(into) == stored(layout)


def test_a_server_that_stopped_answering_ends_the_sync_in_time(layout, into, server, monkeypatch):
    monkeypatch.setattr(connection, "GRACE_SECONDS", 0.5)
    fill(layout)
    sync(layout, into)
    put(layout, slot("attic", FIRST + 1800))
    with connected(replace(into, timeout=1)) as session:
        children = [session.connection.info.backend_pid]
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        resume = threading.Timer(60, os.kill, (children[0], signal.SIGCONT))
        resume.start()
        with pytest.raises(DeliveryError, match=r"the database has not answered for 1\.5 s"):
            postgresql.Sink(layout, session).sync()
        assert resume.is_alive()
        os.kill(children[0], signal.SIGCONT)
        resume.cancel()
    sync(layout, into)
    same(layout, into)


def test_a_dead_server_is_named_and_a_slow_one_is_not_waited_for(layout, into, server, tmp_path):
    fill(layout)
    sync(layout, into)
    put(layout, slot("attic", FIRST + 1800))
    with psycopg.connect(into.conninfo) as other:
        other.execute("LOCK TABLE speedtest.records IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeliveryError, match=r"the database: canceling statement due to (lock|statement) timeout"):
            sync(layout, into, timeout=1)
    server.stop()
    try:
        with pytest.raises(DeliveryError, match=r"the database: connection .*No such file or directory"):
            sync(layout, into)
    finally:
        server.start()
    sync(layout, into)
    same(layout, into)
