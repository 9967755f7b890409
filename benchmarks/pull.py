"""What a change costs the control machine: pushed to each node, and written into the nodes' bundles.

The lab's nodes are real: systemd, ssh. One run changes a setting on all of them by push, then enrols them, changes it
again in their bundles, and has all of them converge at once. CPU is the control machine's, of the playbook and its ssh;
what nodes do is not in it. The bundles of 50 nodes are written besides, most of which are only names: no bundle needs
its node.

    python benchmarks/pull.py        # 50 nodes: some minutes, 8 GB
    python benchmarks/pull.py 6      # fewer; the ratio is then of so many
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from converge import ANSIBLE, ROOT, SETTINGS, WORK, Cost, cost_of, lab, run

LAB = "benchmark-pull"
NODES, BUNDLES = 50, 50
WANTED = 20  # times less CPU than a push
PORT = 8099
SERVED = "/srv/speedtest-bundles"


def inventory(nodes: list[str], **variables: Any) -> list[str]:
    """The options that give Ansible an inventory of these nodes, with variables of all."""
    hosts = {"speedtest_archive": ["archive"], "speedtest_nodes": nodes}
    groups = {group: {"hosts": dict.fromkeys(names)} for group, names in hosts.items()}
    file = WORK / "pull.json"
    file.write_text(json.dumps({**groups, "all": {"vars": {**SETTINGS, **variables}}}), encoding="utf-8")
    return [ANSIBLE, "-i", str(file), "-i", str(WORK / "connection.yml"), "--forks", "20"]


def on(node: str, command: str) -> str:
    """What a command prints on a node."""
    return lab("ssh", LAB, node, f"sudo sh -c '{command}'")


def converged(node: str) -> dict[str, Any]:
    """A node's own run, and what it says of it."""
    said: dict[str, Any] = json.loads(on(node, "speedtest-converge run >/dev/null && speedtest-converge status"))
    return said


def owner() -> dict[str, Any]:
    """A key of the owner's, and what nodes that pull have."""
    key = WORK / "owner"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return {
        "speedtest_logger_converge": "pull",
        "speedtest_logger_pull_url": f"http://archive:{PORT}",
        "speedtest_logger_pull_signers": [key.with_suffix(".pub").read_text(encoding="utf-8").strip()],
        "speedtest_logger_pull_interval_seconds": 86_400,
        "speedtest_pull_signing_key": str(key),
        "speedtest_pull_dir": str(WORK / "bundles"),
        "speedtest_pull_served_dir": SERVED,
    }


def measured(names: list[str]) -> tuple[dict[str, Cost], float]:
    """Costs by what was done, and the seconds that all nodes took together to converge by themselves."""
    pull, more = owner(), [f"m{number:02}" for number in range(1, BUNDLES - len(names) + 1)]
    run([*inventory(names), "site.yml"])
    costs = {"push": cost_of([*inventory(names, speedtest_logger_push_interval="10min"), "playbooks/nodes.yml"])}
    run([*inventory(names, **pull), "playbooks/enrol.yml"])
    on("archive", f"mkdir -p {SERVED}; systemd-run --unit bundles python3 -m http.server -d {SERVED} {PORT}")
    changed = {**pull, "speedtest_logger_push_interval": "20min"}
    costs["bundle"] = cost_of([*inventory(names, **changed), "playbooks/bundle.yml"])
    began = time.monotonic()
    with ThreadPoolExecutor(len(names)) as pool:
        said = list(pool.map(converged, names))
    took = time.monotonic() - began
    assert all(each["error"] == "" and each["changed"] > 0 for each in said), said
    assert all(each["changed"] == 0 for each in map(converged, names[:3]))
    costs[f"bundle of {BUNDLES}"] = cost_of([*inventory([*names, *more], **changed), "playbooks/bundle.yml"])
    return costs, took


def main() -> int:
    """Print the costs and their ratio; exit 1 where it is not what is wanted."""
    names = [f"n{number:02}" for number in range(1, int((sys.argv[1:] or [NODES])[0]) + 1)]
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        lab("wheels", "requirements/archive.txt")
        lab("up", LAB, "archive:bookworm", *(f"{name}:trixie" for name in names))
        (WORK / "connection.yml").write_text(lab("inventory", LAB), encoding="utf-8")
        costs, took = measured(names)
    finally:
        lab("down", LAB)
    for what, each in costs.items():
        print(f"{what:<14} wall {each.wall:6.2f} s   CPU of the control machine {each.cpu:7.2f} s")
    ratio = costs["push"].cpu / costs["bundle"].cpu
    print(
        f"{len(names)} nodes: a push costs {ratio:.1f} times the CPU of writing bundles; load {os.getloadavg()[0]:.1f}"
    )
    print(f"all {len(names)} converged by themselves within {took:.1f} s, on the machine's own cores")
    return 0 if len(names) < NODES or ratio >= WANTED else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
