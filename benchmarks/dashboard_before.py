"""What questions cost by the archive as it was before there was a dashboard, which its goal was set by.

Its source is taken from the project's own history. It runs in a process of its own and reads today's archive, whose
files are still as it knows them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dashboard_fleet import PLACE, RUNS

PROJECT = Path(__file__).parent.parent
FIRST = "src/speedtest_logger/dashboard/app.py"  # the dashboard's first commit added it
ASKED = """
import json, sys, time
from pathlib import Path
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import Archive

archive, runs, found = Archive(Layout(Path(sys.argv[1]))), int(sys.argv[2]), []
for node, location, start, statements in json.load(sys.stdin):
    narrowed, best = archive.only(node, location, start), float("inf")
    for _ in range(runs):
        used = time.process_time()
        for statement in statements:
            narrowed.query(statement)
        best = min(best, time.process_time() - used)
    found.append(best)
print()  # DuckDB may have drawn a bar for what took long
print(json.dumps(found))
"""

Asked = tuple[str | None, str | None, float, list[str]]  # node, location, start (Unix time, s), statements


def costs_before(root: Path, questions: list[Asked]) -> list[float]:
    """The CPU (s) of each question, the best of RUNS."""
    argv = [sys.executable, "-c", ASKED, str(root), str(RUNS)]
    environment = {**os.environ, "PYTHONPATH": str(source() / "src")}
    done = subprocess.run(
        argv, input=json.dumps(questions), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    costs: list[float] = json.loads(done.stdout.splitlines()[-1])
    return costs


def source() -> Path:
    """The source of the commit before the dashboard's first one."""
    first = _git("log", "--diff-filter=A", "--format=%H", "--", FIRST).decode().split()[-1]
    folder = PLACE / "before" / first
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", folder], input=_git("archive", f"{first}^", "src"), check=True)
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", PROJECT, *arguments], stdout=subprocess.PIPE, check=True).stdout
