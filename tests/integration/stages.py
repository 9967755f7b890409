"""A node and an archive whose programs are killed, and what is found of their records afterwards."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import forks
import pyarrow as pa
import pytest
from builders import REPLAY_IPERF3, ROOT
from pyarrow import dataset
from tries import some

from speedtest_logger.node import config, measure
from speedtest_logger.node.spool import Spool, record_from_csv

KILLER = ROOT / "tests/killer.py"
LOGGER, RECEIVE, ARCHIVE = (
    "speedtest_logger.node.cli",
    "speedtest_logger.archive.arrive.receive",
    "speedtest_logger.archive.cli",
)
INGEST = ("ingest",)
FOLDERS = ("node", "archive", "repository")  # of a stage


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


def everything_arrived(stage, sent, where):
    """After the fault: push what waits, ingest once more, and count."""
    if stage.outbox():
        stage.here(LOGGER, "push", "--force")
    assert stage.outbox() == set(), where
    stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
    assert sorted(stage.archived()) == sorted(sent), where
    assert stage.inbox() == [], where
