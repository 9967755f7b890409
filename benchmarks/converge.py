"""How long a run takes on converged nodes: ours, pyinfra, and Ansible's stock modules file by file.

All three hold the same desired state, the one that our own role computes for the same machines, and run one after the
other, best of some runs, with 3, 20 and 50 nodes. pyinfra and the stock modules are spared the release's files: an
advantage for them. CPU is that of the control machine; its nodes share it, so wall time has their part too.

    python benchmarks/converge.py          # 3, 20 and 50
    python benchmarks/converge.py 3
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "converge"
WORK = ROOT / ".cache" / "benchmark"
LAB = "benchmark"
SIZES = (3, 20, 50)
STOCK_UP_TO = 3  # with more nodes it is known that they take longest, and a run of theirs takes minutes
RUNS = 3
# wanted: of pyinfra's time with so many nodes, and seconds of CPU for each of many nodes
RATIOS = {3: 0.9, 20: 0.7, 50: 0.7}
CPU_A_NODE = 0.15
ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))
PYINFRA = [str(ROOT / ".venv-benchmark/bin/pyinfra"), "-y", str(HERE / "inventory.py"), str(HERE / "deploy.py")]
SETTINGS = {
    "managed_host_apt_cache_valid_seconds": 1_000_000_000,  # the lab has no way out
    "speedtest_logger_engines": ["iperf3"],
    "speedtest_logger_iperf3_servers": ["192.0.2.1"],
    "speedtest_logger_artifact_dir": str(WORK / "dist"),
    "speedtest_archive_artifact_dir": str(WORK / "dist"),
}


@dataclass
class Cost:
    """Wall and CPU seconds of a run."""

    wall: float
    cpu: float


def run(argv: list[str], **environment: str) -> str:
    """Run a program to its end; its words where it fails are ours. status.yml may find problems (2)."""
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode and not (done.returncode == 2 and argv[-1].endswith("status.yml")):
        raise SystemExit(f"{' '.join(argv)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def lab(*words: str) -> str:
    """A verb of the lab."""
    return run([sys.executable, "-m", "lab", *words])


def playbook(nodes: list[str], *words: str) -> list[str]:
    """A playbook's command line for the first nodes."""
    hosts = {"speedtest_archive": ["archive"], "speedtest_nodes": nodes}
    groups = {group: {"hosts": dict.fromkeys(names)} for group, names in hosts.items()}
    inventory = WORK / f"hosts-{len(nodes)}.json"
    inventory.write_text(json.dumps({**groups, "all": {"vars": SETTINGS}}), encoding="utf-8")
    return [ANSIBLE, "-i", str(inventory), "-i", str(WORK / "connection.yml"), "--forks", "20", *words]


def cost_of(argv: list[str], **environment: str) -> Cost:
    """One run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run(argv, **environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.monotonic() - began, cpu)


def cost(argv: list[str], **environment: str) -> Cost:
    """The best of some runs; the first, which may still change something, does not count."""
    run(argv, **environment)
    costs = [cost_of(argv, **environment) for _ in range(RUNS)]
    return Cost(min(each.wall for each in costs), min(each.cpu for each in costs))


def measure(nodes: list[str]) -> dict[str, Cost]:
    """What a run on so many nodes costs, by whose it is."""
    names = {"BENCHMARK_WORK": str(WORK), "BENCHMARK_NODES": " ".join(nodes)}
    costs = {
        "ours, site.yml": cost(playbook(nodes, "site.yml")),
        "ours, playbooks/status.yml": cost(playbook(nodes, "playbooks/status.yml")),
        "pyinfra": cost(PYINFRA, **names),
    }
    if len(nodes) <= STOCK_UP_TO:
        costs["Ansible's stock modules, pipelining"] = cost(playbook(nodes, str(HERE / "stock.yml")))
    return costs


def main() -> int:
    """Print the costs and their ratios; exit 1 where ours is not what is wanted."""
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    names = [f"n{number:02}" for number in range(1, max(sizes) + 1)]
    WORK.mkdir(parents=True, exist_ok=True)
    missed = []
    try:
        lab("wheels", "requirements/archive.txt")
        lab("up", LAB, "archive:bookworm", *(f"{name}:trixie" for name in names))
        (WORK / "connection.yml").write_text(lab("inventory", LAB), encoding="utf-8")
        run(playbook(names, "site.yml"))
        run(playbook(names, str(HERE / "dump.yml")))  # delivers something, too: who never has must show that it can
        for size in sizes:
            run(playbook(names[:size], "site.yml"))  # who has left the inventory has no access any more
            costs = measure(names[:size])
            missed += table(size, costs)
    finally:
        lab("down", LAB)
    print(*missed, sep="\n")
    return 1 if missed else 0


def table(size: int, costs: dict[str, Cost]) -> list[str]:
    """Print what was measured; what is not as it should be is returned in words."""
    pyinfra, ours, status = (costs[name] for name in ("pyinfra", "ours, site.yml", "ours, playbooks/status.yml"))
    print(f"{size} converged nodes, best of {RUNS} runs")
    for name, each in costs.items():
        ratio, share = each.wall / pyinfra.wall, each.cpu / size
        print(f"  {name:<36}{each.wall:>7.2f} s{ratio:>7.2f} x pyinfra   CPU{each.cpu:>7.2f} s, {share:.3f} a node")
    wanted = [
        (ours.wall / pyinfra.wall, RATIOS.get(size, 1.0), "x pyinfra's time"),
        (status.wall / ours.wall, 1.0, "x a run's time for status.yml"),
        *([(ours.cpu / size, CPU_A_NODE, "s of CPU a node")] if size >= min(SIZES[1:]) else []),
    ]
    return [f"{size} nodes: {seen:.2f} {words}, wanted {limit}" for seen, limit, words in wanted if seen > limit]


if __name__ == "__main__":
    sys.exit(main())
