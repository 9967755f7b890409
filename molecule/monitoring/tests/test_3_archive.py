"""An archive that is not filled, old backups and an outbox that overflows are told of, and no more once mended."""

from __future__ import annotations

import json
import time

import pytest
from fleet import REST, on, quoted, wait_until
from prometheus import firing
from test_2_faults import seen, wait_for

from speedtest_logger.record import utc_text

STATE = "/srv/speedtest-archive"
STAMPS = {f"{STATE}/state/ingest.json": 16 * 60, f"{STATE}/backups/last.json": 49 * 3600}  # how old they become (s)
ARCHIVE = {
    ("SpeedtestArchiveLag", ""),
    ("SpeedtestBackupOld", ""),
    ("SpeedtestFinding", "ingest_stopped"),
    ("SpeedtestFinding", "backup"),
}
FIGURES = "/var/lib/speedtest-metrics/speedtest.prom"
TIMERS = "speedtest-logger.timer speedtest-push.timer"
STALE = {("SpeedtestExporterStale", "attic")}  # its exporter answers, and shows what nobody writes any more
DROPPING, GROWING = ("SpeedtestOutboxDropping", "porch"), ("SpeedtestOutboxGrowing", "porch")
RECORDS = 14  # a few more than the outbox holds


def grow_old(stamp: str, seconds: float) -> None:
    """As if what a stamp tells of had happened longer ago."""
    content = {**json.loads(on("archive", f"cat {stamp}")), "at": utc_text(time.time() - seconds)}
    on("archive", f"echo {quoted(json.dumps(content))} >{stamp}")


def pending() -> set[tuple[str, str]]:
    """Alerts that are not told of yet; the way from archive and porch is the one that is cut."""
    return firing("watch", state="pending")


@pytest.fixture(scope="module")
def at_fault():
    """Nothing is taken in or saved; porch cannot reach the archive, whose target it measures with; attic rests."""
    wait_until("nothing is wrong with the archive", lambda: seen(ARCHIVE | STALE) == set(), 60)
    assert DROPPING not in firing("watch")
    on("archive", "systemctl stop speedtest-ingest.timer speedtest-ingest.service speedtest-backup.timer")
    for stamp, seconds in STAMPS.items():
        grow_old(stamp, seconds)
    on("archive", "systemctl start speedtest-alerts.service")
    on("attic", f"{REST} && touch --date '-20 minutes' {FIGURES}")
    on("porch", "ip route add blackhole $(getent hosts archive | cut -d' ' -f1)")
    on("porch", f"for _ in $(seq {RECORDS}); do speedtest-logger measure --wait; done; true")


def test_an_archive_that_stands_still_and_an_outbox_that_overflows_are_told_of(at_fault):
    wait_for(ARCHIVE, 60)
    wait_until("so are records that are lost", lambda: DROPPING in firing("watch"), 60)
    wait_until("more and more records wait", lambda: GROWING in pending(), 60)
    wait_for(STALE, 180)


def test_what_is_mended_ends_here_too(at_fault):
    on("porch", "ip route del blackhole $(getent hosts archive | cut -d' ' -f1) && speedtest-logger push --force")
    on("archive", "systemctl start speedtest-ingest.timer speedtest-ingest.service speedtest-backup.timer")
    on("archive", "systemctl start speedtest-backup.service && systemctl start speedtest-alerts.service")
    on("attic", f"systemctl start {TIMERS} && speedtest-logger measure --wait")
    wait_until("all of these have ended", lambda: seen(ARCHIVE | STALE) == set(), 60)
    wait_until("nothing waits", lambda: GROWING not in pending(), 60)
    # lost records are told of for an hour after the last one
    wait_until("these are", lambda: DROPPING in firing("watch"), 30)
