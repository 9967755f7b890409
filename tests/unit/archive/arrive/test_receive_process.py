"""receive as a process of its own: its answer whatever comes, in bounded memory and time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from datetime import datetime, timezone

import pytest
from builders import ROOT
from deliveries import LIMITS, lines_like, raw_line, row

from speedtest_logger.archive.arrive import standing
from speedtest_logger.archive.format import layout

MEASURED = """
import sys
from speedtest_logger.archive.arrive import receive
BEFORE
code = receive.main(sys.argv[1:])
status = open("/proc/self/status").read()
print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


def process(archive, payload, before=""):
    """Run receive on its own: its answer, and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("BEFORE", before), "--node", "mallory", "--root", str(archive.root)],
        input=payload,
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "src")},
        timeout=300,
    )
    assert done.stdout.count(b"\n") == 1, done.stderr
    return json.loads(done.stdout), int(done.stderr.split()[-1]) / 1000


@pytest.fixture
def roomy(archive):
    (archive.fleet / "limits.env").write_text('SPEEDTEST_LIMIT_FREE_MB="1"\nSPEEDTEST_LIMIT_LOW_DISK_MB="1"\n')
    return archive


def current(**changes):
    """A record of a minute ago by the real clock."""
    return row(datetime.now(timezone.utc).timestamp() - 60, node="mallory", **changes)


def test_whatever_comes_a_receive_stays_below_100_mb(roomy):
    answer, peak = process(roomy, (b"\xff" * 31_999 + b"\n") * 2000)
    assert answer["refused"] == "no_records"
    assert layout.bytes_in(roomy.quarantine / "mallory") < 200_000
    assert_small("no objects", peak)
    texts = ("server_name", "server_host", "server_country", "isp", "result_url")
    runs = [str(uuid.UUID(int=n)) for n in range(10_000)]
    answer, peak = process(roomy, b"".join(lines_like(current(**dict.fromkeys(texts, "x" * 1000)), {"run_id": runs})))
    assert answer["accepted"] == runs
    assert_small("large records", peak)
    words = bytes(1_000_000)
    record = current(raw_sha256=hashlib.sha256(words).hexdigest())
    bombs = lines_like(raw_line(record, words), {"raw_of": runs})
    answer, peak = process(
        roomy, b"".join(map(b"".join, zip(lines_like(record, {"run_id": runs}), bombs, strict=True)))
    )
    assert answer["refused"] == "too_large"
    assert_small("bombs", peak)


def assert_small(what, peak):
    print(f"{what}: {peak:.0f} MB")
    assert peak < 100


WAITS = """
import select, signal
def take(self, line):
    if 0 < signal.alarm(1) <= 10:  # what is left of the time that it has
        select.select([], [], [])
receive.Delivery.take = take
"""
WORKS = """
import resource, signal
def take(self, line):
    if resource.getrlimit(resource.RLIMIT_CPU)[0] == 10:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_CPU, (1, 20))
        while True:
            pass
receive.Delivery.take = take
"""


def test_what_needs_more_memory_or_time_than_it_may_is_refused_and_charged(roomy):
    (roomy.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_SECONDS=10\nSPEEDTEST_LIMIT_FREE_MB=1\n")
    line = json.dumps(current()).encode()
    for before, words in (
        ("receive.Delivery.take = lambda self, line: bytearray(400_000_000)", "more than 256 MB of memory"),
        (WAITS, "the delivery took too long"),
        (WORKS, "the delivery took too long"),
    ):
        answer, _ = process(roomy, line, before)
        assert words in answer["message"]
    left = standing.load(roomy.state / "receive-mallory.json").bytes
    assert 3 * len(line) <= LIMITS.bytes_burst_mb * 1_000_000 - left + 32e6 * 60 / 3600
    assert left < LIMITS.bytes_burst_mb * 1_000_000
    assert process(roomy, line)[0]["accepted"]


def test_what_the_disk_refuses_is_answered_too(roomy):
    (roomy.inbox / "mallory").write_text("no folder")
    answer, _ = process(roomy, json.dumps(current()).encode())
    assert answer["refused"] == "storage"
