"""kill -9 and a full disk at every change of the disk, on both sides: nothing is lost, nothing is there twice."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

import forks
import pyarrow as pa
import pytest
from builders import REPLAY_IPERF3, ROOT
from pyarrow import dataset
from tries import some

from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.node import config, measure
from speedtest_logger.node.spool import Spool, record_from_csv

KILLER = Path(__file__).with_name("killer.py")
LOGGER, RECEIVE, ARCHIVE = (
    "speedtest_logger.node.cli",
    "speedtest_logger.archive.arrive.receive",
    "speedtest_logger.archive.cli",
)
INGEST = ("ingest",)
FOLDERS = ("node", "archive", "repository")  # of a stage
pytestmark = pytest.mark.sampled


class Stage:
    """A node and an archive in one temporary directory, and the programs that work on them."""

    def __init__(self, folder: Path, program) -> None:
        self.folder = folder
        self.node, self.archive = folder / "node", folder / "archive"
        for name in ("inbox", "archive", "quarantine", "state"):
            (self.archive / name).mkdir(parents=True)
        path = program("iperf3", REPLAY_IPERF3)
        ssh = folder / "bin/ssh"
        ssh.write_text(
            f"#!/bin/sh\nexec {sys.executable} {KILLER} ${{KILL_RECEIVE:-0}} {RECEIVE} --node attic "
            f"--root {self.archive}\n"
        )
        ssh.chmod(0o755)
        self.environment = {
            "PATH": path,
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(folder),  # what is killed leaves its temporary files
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(self.node),
            "SPEEDTEST_LOG_FILE": str(folder / "diag.log"),
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1:9",
            "SPEEDTEST_OWN_SERVER_ALLOWED": "true",
            "SPEEDTEST_ARCHIVE_HOST": "archive.example.org",
            "SPEEDTEST_ARCHIVE_RAW": "true",
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
            "SPEEDTEST_INTERVAL_SECONDS": "86400",
            "SPEEDTEST_OFFSET_SECONDS": str(int(time.time()) % 86_400),
            "SPEEDTEST_START_TOLERANCE_SECONDS": "3600",
        }

    def run(self, module: str, *arguments: str, kill: int = 0, **environment: str) -> tuple[int, int]:
        """Run a program, killed before its Nth change of the disk; returns exit code and number of changes."""
        argv = [str(kill), module, *arguments]
        code, said = forks.run(argv, {**self.environment, **environment}, self.folder / "output")
        assert code in (0, 4, 5, -signal.SIGKILL), said
        found = re.search(r"changes=(\d+)", said)
        return code, int(found[1]) if found else 0

    def here(self, module: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """A program that is not killed, in this process; returns exit code and what it printed."""
        umask, said = os.umask(0o022), io.TextIOWrapper(io.BytesIO())
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.setattr(tempfile, "tempdir", None)  # as TMPDIR says now
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            try:
                code = importlib.import_module(module).main([*arguments])
            finally:
                os.umask(umask)
        said.seek(0)
        return code, said.read()

    def fill(self, count: int) -> set[str]:
        """Put records into the outbox, with raw output beside each; returns their run_ids."""
        settings = config.load({k: v for k, v in self.environment.items() if k.startswith("SPEEDTEST_")})
        spool = Spool(self.node)
        spool.prepare()
        for number in range(count):
            record = measure.begin(settings, None, time.time() - 1000 - number * 40 * 86_400)
            words = record.run_id.encode()
            spool.write_raw(record.run_id, "iperf3", words)
            spool.write(replace(record, engine="iperf3", raw_sha256=hashlib.sha256(words).hexdigest()))
        return self.outbox()

    def unfinished(self) -> bool:
        """Whether a restore was interrupted."""
        return (self.archive / "work/restore").exists()

    def outbox(self) -> set[str]:
        return {record_from_csv(file.read_bytes()).run_id for file in Spool(self.node).waiting()}

    def inbox(self) -> list[str]:
        return [
            json.loads(line)["run_id"]
            for file in sorted((self.archive / "inbox").glob("*/*.jsonl"))
            for line in file.read_text().splitlines()
        ]

    def archived(self) -> list[str]:
        return everything_in(self.archive / "archive")["run_id"].to_pylist()

    def words(self) -> list[str]:
        """Raw output in the archive: here each run's is its run_id."""
        table = everything_in(self.archive / "raw")
        runs: list[str] = table["run_id"].to_pylist()
        assert [content.decode() for content in table["content"].to_pylist()] == runs
        return runs


def everything_in(folder: Path) -> pa.Table:
    """All that anybody finds who reads all Parquet files there."""
    nothing = pa.table({"run_id": pa.array([], pa.string()), "content": pa.array([], pa.binary())})
    if not list(folder.rglob("[!.]*.parquet")):
        return nothing
    return dataset.dataset(folder, format="parquet", partitioning="hive").to_table()


@pytest.fixture(scope="module", autouse=True)
def imported_once():
    forks.start()


@pytest.fixture
def stages(tmp_path, program):
    """Make a fresh stage for every point of the walk."""

    def fresh() -> Stage:
        for name in FOLDERS:
            shutil.rmtree(tmp_path / name, ignore_errors=True)  # not there yet for the first
        return Stage(tmp_path, program)

    return fresh


def walk(stages, act, every=4):
    """act(stage, N) for N = 0 (count only), then for points, in the gate some; returns how many points there were."""
    points = act(stages(), 0)
    assert points > 3
    for number in some(range(1, points + 1), every):
        act(stages(), number)
    return points


def prepared(stages, prepare):
    """Stages as `prepare` left the first one, and what it returned: what is the same for every point is done once."""
    first = stages()
    found = prepare(first)
    kept = first.folder / "prepared"
    for name in FOLDERS:
        if (first.folder / name).exists():
            shutil.copytree(first.folder / name, kept / name, symlinks=True)

    def another() -> Stage:
        stage = stages()
        shutil.copytree(kept, stage.folder, symlinks=True, dirs_exist_ok=True)
        return stage

    return another, found


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


def everything_arrived(stage, sent, where):
    """After the fault: push what waits, ingest once more, and count."""
    if stage.outbox():
        stage.here(LOGGER, "push", "--force")
    assert stage.outbox() == set(), where
    stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
    assert sorted(stage.archived()) == sorted(sent), where
    assert stage.inbox() == [], where


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


def all_is_as_the_manifest_says(stage):
    assert verify.verify(Layout(stage.archive)) == []


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_ingest(stages, disk_full):
    def prepare(stage):
        sent = stage.fill(2)
        stage.here(LOGGER, "push", "--force")
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        _, points = stage.run(ARCHIVE, "--root", str(stage.archive), *INGEST, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()  # right at this instant, with what the crash left
        assert len(readable) == len(set(readable))
        assert set(readable) | set(stage.inbox()) == sent, f"lost at {number}"
        everything_arrived(stage, sent, f"killed at {number}")
        assert sorted(stage.words()) == sorted(sent), f"words lost or doubled at {number}"
        all_is_as_the_manifest_says(stage)
        return points

    assert walk(stages, act) > 20


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_import(stages, disk_full):
    def act(stage, number):
        file = stage.folder / "old.csv"
        file.write_text(
            "sponsor,server name,distance,timestamp,ping,download,upload\n"
            + "".join(f"a,b,1,2024-0{month}-01T00:00:00Z,10,1e8,5e7\n" for month in (1, 2))
        )
        words = ("--root", str(stage.archive), "import", "--node", "attic", "--location", "home", str(file))
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()
        assert len(readable) == len(set(readable))
        stage.here(ARCHIVE, *words)
        assert len(stage.archived()) == len(set(stage.archived())) == 2
        all_is_as_the_manifest_says(stage)
        return points

    walk(stages, act)


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_prune(stages, disk_full):
    def prepare(stage):
        stage.fill(4)
        stage.here(LOGGER, "push", "--force")
        stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)

    stages, _ = prepared(stages, prepare)

    def act(stage, number):
        words = ("--root", str(stage.archive), "prune", "--older-than", "1d", "--yes")
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()
        assert len(readable) == len(set(readable))
        stage.here(ARCHIVE, *words)
        assert set(stage.archived()) <= set(readable)
        assert 0 < len(stage.archived()) < 4
        all_is_as_the_manifest_says(stage)
        return points

    walk(stages, act)


def with_restic(stage, restic):
    stage.environment["PATH"] = f"{restic}:{stage.environment['PATH']}"
    stage.environment["RESTIC_REPOSITORY"] = str(stage.folder / "repository")
    stage.environment["RESTIC_PASSWORD"] = "example"


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
@pytest.mark.parametrize("killed", ["backup", "restore"])
def test_backup_and_restore(stages, restic, killed, disk_full):
    verbs = ("backup", "restore")

    def prepare(stage):
        with_restic(stage, restic)
        sent = stage.fill(2)
        stage.here(LOGGER, "push", "--force")
        stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
        sent |= stage.fill(1)
        stage.here(LOGGER, "push", "--force")  # one waits in the inbox
        for verb in verbs[: verbs.index(killed)]:
            assert stage.here(ARCHIVE, "--root", str(stage.archive), verb)[0] == 0
            all_is_as_the_manifest_says(stage)
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        with_restic(stage, restic)
        points = 0
        for verb in verbs[verbs.index(killed) :]:
            if verb == "restore":
                shutil.rmtree(stage.archive)
                (stage.archive / "archive").mkdir(parents=True)
            words = ("--root", str(stage.archive), verb)
            if verb == killed:
                _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
            if verb != killed or (number and (verb == "backup" or not stage.archived() or stage.unfinished())):
                assert stage.here(ARCHIVE, *words)[0] == 0
            all_is_as_the_manifest_says(stage)
        everything_arrived(stage, sent, f"killed at {number}")
        return points

    assert walk(stages, act, every=14) > 6


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_a_month_from_a_backup(stages, restic, disk_full):
    def prepare(stage):
        with_restic(stage, restic)
        sent = stage.fill(1)
        for verb in ("ingest", "backup"):
            stage.here(LOGGER, "push", "--force")
            assert stage.here(ARCHIVE, "--root", str(stage.archive), verb)[0] == 0
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        with_restic(stage, restic)
        (month,) = (stage.archive / "archive").glob("*/*/*/*.parquet")
        month.write_bytes(month.read_bytes()[:-1])
        name = str(month.relative_to(stage.archive / "archive"))
        words = ("--root", str(stage.archive), "restore", "--file", name)
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        code, said = stage.here(ARCHIVE, *words)
        assert code == 0 or "is as the manifest says" in said, said
        all_is_as_the_manifest_says(stage)
        everything_arrived(stage, sent, f"killed at {number}")
        assert not (stage.archive / "work/restore-month").exists()
        return points

    assert walk(stages, act, every=14) > 6


def test_a_crash_leaves_no_temporary_file_for_ever(stages):
    stage = stages()
    stage.fill(1)
    stage.here(LOGGER, "push", "--force")
    stage.run(ARCHIVE, "--root", str(stage.archive), *INGEST, kill=3)
    left = [*stage.archive.rglob(".*.tmp")]
    for file in left:
        os.utime(file, (time.time() - 7200, time.time() - 7200))
    stage.fill(1)
    stage.here(LOGGER, "push", "--force")
    stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
    assert not [*stage.archive.rglob(".*.tmp")]
