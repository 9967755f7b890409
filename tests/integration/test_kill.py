"""kill -9 at every change of the disk, on a node and on the way to the archive: nothing is lost, nothing twice."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from stages import ARCHIVE, INGEST, KILLER, LOGGER, RECEIVE, everything_arrived, prepared, walk

from speedtest_logger.node.spool import Spool, record_from_csv

pytestmark = pytest.mark.sampled


def test_measure(stages):
    def act(stage, number):
        code, points = stage.run(LOGGER, "measure", kill=number)
        assert (code == -signal.SIGKILL) == bool(number)
        stage.here(LOGGER, "measure")  # the next start, within the slot's tolerance
        records = [record_from_csv(file.read_bytes()) for file in Spool(stage.node).waiting()]
        slots = [record.scheduled_at for record in records if record.scheduled_at]
        assert len(slots) == 1, f"killed at {number}: {records}"
        assert records[0].status == "ok"
        history = {record_from_csv(file.read_bytes()).run_id for file in stage.node.glob("results/*/*/*/*.csv")}
        assert history == {record.run_id for record in records}
        return points

    assert walk(stages, act) > 10


def test_measure_that_is_killed_and_not_tried_again_leaves_its_record_at_the_next_slot(stages):
    def act(stage, number):
        _, points = stage.run(LOGGER, "measure", kill=number)
        later = {
            "SPEEDTEST_INTERVAL_SECONDS": "43200",
            "SPEEDTEST_OFFSET_SECONDS": str((int(time.time()) - 1) % 43_200),
        }
        stage.here(LOGGER, "measure", **later)
        records = [record_from_csv(file.read_bytes()) for file in Spool(stage.node).waiting()]
        assert len({record.run_id for record in records}) == len(records) <= 2
        assert {record.reason for record in records} <= {None, "interrupted"}
        assert any(record.status == "ok" for record in records)
        return points

    walk(stages, act)


def test_measure_beyond_the_cap_counts_what_it_drops_exactly_once(stages):
    def act(stage, number):
        stage.environment["SPEEDTEST_OUTBOX_MAX_MB"] = str(3 * 4096 / 1e6)
        stage.fill(4)
        _, points = stage.run(LOGGER, "measure", kill=number)
        stage.here(LOGGER, "measure", SPEEDTEST_PAUSED="true")
        written = {record_from_csv(file.read_bytes()).run_id for file in stage.node.glob("results/*/*/*/*.csv")}
        records = [record_from_csv(file.read_bytes()) for file in Spool(stage.node).waiting()]
        (count,) = (record for record in records if record.reason == "outbox_dropped")
        assert int(count.message.split()[0]) == len(written - {record.run_id for record in records}), number
        return points

    walk(stages, act)


def test_push(stages):
    stages, sent = prepared(stages, lambda stage: stage.fill(3))

    def act(stage, number):
        _, points = stage.run(LOGGER, "push", "--force", kill=number)
        assert sent <= stage.outbox() | set(stage.inbox()), f"lost at {number}"
        everything_arrived(stage, sent, f"killed at {number}")
        return points

    walk(stages, act)


def test_lines_of_the_log(stages):
    """They are killed on their way as well: on the node, in receive, in ingest. Each is in the archive once."""

    def prepare(stage):
        stage.fill(1)
        stage.here(LOGGER, "push", "--force")  # the receipt says that the archive takes lines of a log
        stage.fill(1)
        older, log = (stage.folder / "node" / name for name in ("diag.log.1", "diag.log"))
        for file, numbers in ((older, range(1, 4)), (log, range(4, 7))):
            lines = [
                {"time": "2026-01-31T12:00:00.000Z", "level": "info", "event": "numbered", "number": number}
                for number in numbers
            ]
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return log

    stages, log = prepared(stages, prepare)
    steps = ("push", "receive", "ingest")

    def act(stage, number, killed):
        stage.environment["SPEEDTEST_LOG_FILE"] = str(log)
        kill = {step: number if step == killed else 0 for step in steps}
        _, pushing = stage.run(LOGGER, "push", "--force", kill=kill["push"], KILL_RECEIVE=str(kill["receive"]))
        _, ingesting = stage.run(ARCHIVE, "--root", str(stage.archive), *INGEST, kill=kill["ingest"])
        for _ in range(2):  # a record takes them along, or they go alone
            stage.here(LOGGER, "push", "--force")
            stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
        code, said = stage.here(
            ARCHIVE, "--root", str(stage.archive), "logs", "--from", "2026-01-01", "--format", "json"
        )
        rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        found = sorted(row["fields"]["number"] for row in rows if row["event"] == "numbered")
        assert (code, found) == (0, [1, 2, 3, 4, 5, 6]), f"{killed} killed at {number}: {said}"
        return {"push": pushing, "receive": 30, "ingest": ingesting}[killed]

    for killed in steps:
        assert walk(stages, partial(act, killed=killed), every=12) > 10


def test_receive(stages):
    stages, sent = prepared(stages, lambda stage: stage.fill(3))

    def act(stage, number):
        lines = b"".join(
            json.dumps(record_from_csv(file.read_bytes()).to_row()).encode() + b"\n"
            for file in Spool(stage.node).waiting()
        )
        done = subprocess.run(
            [sys.executable, str(KILLER), str(number), RECEIVE, "--node", "attic", "--root", str(stage.archive)],
            input=lines,
            capture_output=True,
            check=False,
            env=stage.environment,
            timeout=300,
        )
        if done.stdout:  # a receipt: then it must be there
            assert set(json.loads(done.stdout)["accepted"]) <= set(stage.inbox())
        everything_arrived(stage, sent, f"killed at {number}")
        found = re.search(rb"changes=(\d+)", done.stderr)
        return int(found[1]) if found else 0

    walk(stages, act)
