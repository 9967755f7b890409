"""What a measurement and a delivery cost a node and the archive host, beside the engine's own work.

Ratios against `python3 -c pass` and the start of speedtest-cli, all in one run. The release is built, unpacked and
compiled as on a node. Limits: measure at most 150 ms CPU and 30 MB RSS above the engine's own, receive of 100 records
150 ms CPU. The textfile for Prometheus may add 2 ms to a run, also where thousands of records wait.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
RUNS = 15
CPU_LIMIT_MS, RSS_LIMIT_MB = 150, 30
TEXTFILE_LIMIT_MS = 2
WAITING = 1_000  # records of a node that has not delivered for days
STUB = """#!/bin/sh
[ "$1" = --version ] && { echo 'iperf 3.12 (cJSON 1.7.15)'; exit 0; }
case "$*" in *-R*) cat FIXTURES/iperf3-3.12-download.json;; *) cat FIXTURES/iperf3-3.12-upload.json;; esac
"""


# A process starts with its parent's peak RSS on its account: so a parent that is as small as can be starts it.
LAUNCHER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)])
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), (used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss / 1024)
"""


TEXTFILE = """
import os, time
from speedtest_logger.log import Log
from speedtest_logger.node import cli, config, measure
settings = config.load(os.environ)
began = time.process_time()
cli.write_metrics(settings, Log(settings.log_file))
print((time.process_time() - began) * 1000)
"""


def cost(argv: list[str], environment: dict[str, str], stdin: bytes = b"") -> tuple[float, float]:
    """CPU (user and system, ms) and peak RSS (MB) of a program and all it waited for: the best of some runs."""
    best = (float("inf"), float("inf"))
    for _ in range(RUNS):
        launch = [PYTHON, "-I", "-S", "-c", LAUNCHER, *argv]
        done = subprocess.run(launch, input=stdin, stdout=subprocess.PIPE, env=environment, check=True)
        code, cpu, rss = done.stdout.split()
        if int(code) not in (0, 3):
            raise SystemExit(f"{argv} exited {int(code)}")
        best = min(best, (float(cpu), float(rss)))
    return best


def adding(release: Path, environment: dict[str, str]) -> float:
    """CPU (ms) that loading and writing the textfile adds to a process that has measured: the best of some runs."""
    argv, more = [PYTHON, "-c", TEXTFILE], {"PYTHONPATH": str(release)}
    return min(
        float(subprocess.run(argv, stdout=subprocess.PIPE, env=environment | more, check=True).stdout)
        for _ in range(RUNS)
    )


def install(folder: Path) -> Path:
    """The release as it lies on a node; returns its bin directory."""
    spec = importlib.util.spec_from_file_location("release", ROOT / "plugins/lookup/release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.release(module.source_version(), folder / "dist")
    release = folder / "release"
    release.mkdir()
    shutil.unpack_archive(found["path"], release)
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(release / "speedtest_logger")], check=True)
    return release / "bin"


def records(count: int) -> bytes:
    """A delivery of failed measurements."""
    sys.path.insert(0, str(ROOT / "src"))
    from speedtest_logger.node import measure
    from speedtest_logger.node.config import load

    settings = load({"SPEEDTEST_NODE": "attic"})
    rows = (measure.begin(settings, None, time.time() - 10 - n).to_row() for n in range(count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def main() -> int:
    """Print the costs, their ratios and whether the limits hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = install(folder)
        stub = folder / "iperf3"
        stub.write_text(STUB.replace("FIXTURES", str(ROOT / "tests/fixtures")))
        stub.chmod(0o755)
        for part in ("inbox", "archive", "quarantine", "state"):
            (folder / "archive" / part).mkdir(parents=True)
        plain = {"PATH": os.environ["PATH"]}
        node = {
            **plain,
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(folder / "state"),
            "SPEEDTEST_LOG_FILE": str(folder / "log"),
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1",
            "SPEEDTEST_OWN_SERVER_ALLOWED": "true",
            "SPEEDTEST_IPERF3_PROGRAM": str(stub),
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
        }
        empty = cost([PYTHON, "-c", "pass"], plain)
        peer = cost(["/usr/bin/speedtest-cli", "--version"], plain)
        engine = cost(["/bin/sh", "-c", f"{stub} -R; {stub}"], plain)
        measuring = cost([str(programs / "speedtest-logger"), "measure"], node)
        idle_push = cost(
            [str(programs / "speedtest-logger"), "push"],
            {**node, "SPEEDTEST_STATE_DIR": str(folder / "idle"), "SPEEDTEST_ARCHIVE_HOST": "archive.example.org"},
        )
        (folder / "metrics").mkdir()
        textfile = {**node, "SPEEDTEST_METRICS_DIR": str(folder / "metrics")}
        outbox = folder / "state/outbox"
        few, of_few = len(list(outbox.iterdir())), adding(programs.parent, textfile)
        for number in range(WAITING):
            shutil.copy(next(outbox.iterdir()), outbox / f"{number}.csv")
        of_many = adding(programs.parent, textfile)
        payload = records(100)
        receive_argv = [str(programs / "speedtest-receive"), "--node", "attic", "--root", str(folder / "archive")]
        receiving = cost(receive_argv, plain, payload)
    print(f"{'':<34}{'CPU ms':>9}{'RSS MB':>9}{'x python3':>11}{'x speedtest-cli':>17}")
    for label, (cpu, rss) in (
        ("python3 -c pass", empty),
        ("speedtest-cli --version", peer),
        ("the engine (a stub)", engine),
        ("measure", measuring),
        ("push, outbox empty", idle_push),
        ("receive, 100 records", receiving),
    ):
        print(f"{label:<34}{cpu:>9.0f}{rss:>9.1f}{cpu / empty[0]:>11.1f}{cpu / peer[0]:>17.2f}")
    above = measuring[0] - engine[0]
    verdicts = [
        (f"measure above the engine's own: {above:.0f} ms CPU (limit {CPU_LIMIT_MS})", above <= CPU_LIMIT_MS),
        (
            f"measure: {measuring[1]:.1f} MB peak RSS, the engine included (limit {RSS_LIMIT_MB})",
            measuring[1] <= RSS_LIMIT_MB,
        ),
        (f"receive: {receiving[0]:.0f} ms CPU (limit {CPU_LIMIT_MS})", receiving[0] <= CPU_LIMIT_MS),
        *(
            (
                f"textfile, {waiting:,} records wait: {cpu:.1f} ms CPU added to measure, {cpu / TEXTFILE_LIMIT_MS:.2f} "
                f"of its limit ({TEXTFILE_LIMIT_MS} ms)",
                cpu <= TEXTFILE_LIMIT_MS,
            )
            for waiting, cpu in ((few, of_few), (WAITING, of_many))
        ),
    ]
    for text, holds in verdicts:
        print(("ok    " if holds else "MISSED ") + text)
    return 0 if all(holds for _, holds in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
