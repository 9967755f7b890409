"""How long a run takes on three converged nodes: ours, pyinfra, and Ansible's stock modules file by file.

All three hold the same desired state, the one that our own role computes for the same three machines, and run one after
the other, best of some runs. pyinfra and the stock modules are spared the release's files: an advantage for them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "converge"
WORK = ROOT / ".cache" / "benchmark"
LAB = "benchmark"
NODES = ("attic", "porch", "shed")
RUNS = 3
INVENTORY = ["-i", str(ROOT / "lab/inventory/hosts.yml"), "-i", str(WORK / "connection.yml")]
# the demonstration has one of them in a container: here all three are alike
PLAYBOOK = [
    str(Path(sys.executable).with_name("ansible-playbook")),
    *INVENTORY,
    "-e",
    "speedtest_logger_runtime=systemd",
]
PYINFRA = [str(ROOT / ".venv-benchmark/bin/pyinfra"), "-y", str(HERE / "inventory.py"), str(HERE / "deploy.py")]


def run(argv: list[str], **environment: str) -> str:
    """Run a program to its end; its words where it fails are ours."""
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def lab(*words: str) -> str:
    """A verb of the lab."""
    return run([sys.executable, "-m", "lab", *words])


def prepare() -> None:
    """A fleet, converged by site.yml, and its desired state as JSON for the peers."""
    WORK.mkdir(parents=True, exist_ok=True)
    lab("wheels", "requirements/archive.txt")
    lab("up", LAB, "target:trixie", "archive:bookworm", "attic:bookworm", "porch:trixie", "shed:trixie")
    (WORK / "connection.yml").write_text(lab("inventory", LAB), encoding="utf-8")
    run([*PLAYBOOK, "site.yml"])
    shutil.copy(HERE / "dump.yml", WORK)
    templates = WORK / "templates"  # where a playbook's own are looked for: the role's
    templates.unlink(missing_ok=True)
    templates.symlink_to(ROOT / "roles/speedtest_logger/templates")
    run([*PLAYBOOK, str(WORK / "dump.yml")])


def best(argv: list[str], **environment: str) -> float:
    """Wall time in seconds, best of some runs; the first run, which may still change something, does not count."""
    run(argv, **environment)
    times = []
    for _ in range(RUNS):
        began = time.monotonic()
        run(argv, **environment)
        times.append(time.monotonic() - began)
    return min(times)


def main() -> int:
    """Print the times and their ratios; exit 1 when ours is not the fastest."""
    try:
        prepare()
        ours = best([*PLAYBOOK, "site.yml", "--limit", "speedtest_nodes"])
        pyinfra = best(PYINFRA, BENCHMARK_WORK=str(WORK))
        stock = best([*PLAYBOOK, str(HERE / "stock.yml")])
        desired = json.loads((WORK / "attic.json").read_text(encoding="utf-8"))
    finally:
        lab("down", LAB)
    things = sum(len(desired[name]) for name in ("packages", "accounts", "directories", "files", "links", "units"))
    print(f"three converged nodes, {things} managed things each, best of {RUNS} runs")
    for name, seconds in (
        ("ours, site.yml --limit speedtest_nodes", ours),
        ("pyinfra", pyinfra),
        ("Ansible's stock modules, pipelining", stock),
    ):
        print(f"{name:<42}{seconds:>7.2f} s{seconds / pyinfra:>8.2f} x pyinfra")
    return 0 if ours <= pyinfra else 1


if __name__ == "__main__":
    sys.exit(main())
