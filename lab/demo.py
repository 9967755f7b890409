"""The demonstration: real machines in the lab, the real site.yml, and what the archive holds after two minutes.

python3 -m lab.demo         make demo
python3 -m lab.demo down    make demo-down
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.shell import LabError, say

ROOT = Path(__file__).resolve().parents[1]
LAB = "demo"
RATES = {"attic": (200, 50), "porch": (100, 50), "shed": (150, 50)}
SUITES = {"attic": "bookworm", "porch": "trixie", "shed": "trixie+docker"}
CONNECTION = ROOT / ".cache" / "demo.yml"
WANTED_RECORDS = 2
WAIT_SECONDS = 300
TOLERANCE = 0.10
COLUMNS = (
    "node",
    "runtime",
    "measured",
    "delivered",
    "archived",
    "missing",
    "down Mbit/s",
    "shaped",
    "up Mbit/s",
    "shaped",
    "latency ms",
)
LOOK_AROUND = """
The fleet stays up and goes on measuring. To look around:
  .venv/bin/python -m lab list demo                                  the nodes
  .venv/bin/python -m lab ssh demo shed sudo speedtest-logger status
  .venv/bin/python -m lab ssh demo shed sudo docker ps
  .venv/bin/python -m lab ssh demo archive sudo speedtest-archive coverage
  .venv/bin/python -m lab ssh demo archive sudo speedtest-archive query \\
    '"SELECT node, started_at, status, engine, download_bps FROM records ORDER BY started_at"'
  .venv/bin/ansible-playbook -i lab/inventory/hosts.yml -i .cache/demo.yml playbooks/status.yml
  .venv/bin/python -m lab cut demo shed                              pull its cable; `restore` plugs it in
To remove it: make demo-down
"""


def lab(*words: str) -> str:
    """Run a verb of the lab; its talk is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"lab {words[0]} failed")
    return done.stdout


def on(node: str, command: str) -> Any:
    """JSON that a command prints on a node."""
    return json.loads(lab("ssh", LAB, node, command))


def site(*options: str) -> str:
    """Run site.yml; its output is shown and returned."""
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "lab/inventory/hosts.yml",
        "-i",
        str(CONNECTION),
        "site.yml",
        *options,
    ]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(("PLAY", "fatal", "[ERROR]")) or "changed=" in line:
                print(line, end="", flush=True)
    if process.returncode:
        raise LabError("site.yml failed:\n" + "".join(lines[-40:]))
    return "".join(lines)


def up() -> None:
    """Boot the machines and run site.yml twice."""
    say("demo: 1/4 machines")
    lab("wheels", "requirements/archive.txt")
    nodes = [f"{name}:{SUITES[name]}:{down}/{up}" for name, (down, up) in RATES.items()]
    print(lab("up", LAB, "target:trixie", "archive:bookworm", *nodes), end="")
    CONNECTION.parent.mkdir(exist_ok=True)
    CONNECTION.write_text(lab("inventory", LAB), encoding="utf-8")
    say("demo: 2/4 ansible-playbook site.yml")
    site()
    say("demo: 3/4 ansible-playbook site.yml again: nothing may change")
    changed = sum(int(count) for count in re.findall(r"changed=(\d+)", site()))
    if changed:
        raise LabError(f"the second run changed {changed} things")


def archived() -> dict[str, dict[str, Any]]:
    """What the archive holds of each node, the inbox ingested first."""
    lab("ssh", LAB, "archive", "sudo systemctl start speedtest-ingest.service")
    found: dict[str, dict[str, Any]] = on("archive", "sudo speedtest-archive fleet")["nodes"]
    return found


def wait_for_records() -> None:
    """Return when every node has two records in the archive; says how far it is."""
    say(f"demo: 4/4 a slot each minute; waiting for {WANTED_RECORDS} records of every node in the archive")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        counts = {node: archived().get(node, {}).get("records", 0) for node in RATES}
        say("demo:     " + ", ".join(f"{node} {count}" for node, count in counts.items()))
        if min(counts.values()) >= WANTED_RECORDS:
            return
        time.sleep(10)
    raise LabError(f"after {WAIT_SECONDS} s not every node has {WANTED_RECORDS} records: look with `make demo`'s hints")


def table() -> tuple[list[list[str]], list[str]]:
    """A row per node, and what is wrong with it: medians must lie within 10 % of the shaped rates."""
    found, rows, problems = archived(), [], []
    for node, rates in RATES.items():
        # status exits 1 while it has a problem to tell; the table wants its counts all the same
        state = on(node, "sudo speedtest-logger status --json || true")
        measured = int(lab("ssh", LAB, node, "sudo find /var/lib/speedtest-telemetry/results -name '*.csv' | wc -l"))
        entry = found[node]
        row = [
            node,
            state["runtime"],
            str(measured),
            str(measured - state["outbox_records"]),
            str(entry["records"]),
            str(entry["coverage"]["missed"]),
        ]
        for way, rate in zip(("download", "upload"), rates, strict=True):
            median = (entry[f"median_{way}_bps"] or 0) / 1e6
            row += [f"{median:.1f}", str(rate)]
            if abs(median - rate) > TOLERANCE * rate:
                problems.append(f"{node}: {way} median {median:.1f} Mbit/s is not within 10 % of {rate}")
        latency = entry["median_latency_ms"]
        rows.append([*row, "-" if latency is None else f"{latency:.2f}"])
    return rows, problems


def show(rows: list[list[str]]) -> None:
    """Aligned columns."""
    widths = [max(len(row[i]) for row in [list(COLUMNS), *rows]) for i in range(len(COLUMNS))]
    for row in [list(COLUMNS), *rows]:
        print(
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def main() -> int:
    """Run the demonstration or remove it."""
    try:
        if sys.argv[1:] == ["down"]:
            lab("down", LAB)
            return 0
        up()
        wait_for_records()
        rows, problems = table()
    except LabError as error:
        say(f"demo: {error}")
        return 1
    print()
    show(rows)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(LOOK_AROUND)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
