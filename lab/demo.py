"""The demonstration: real machines in the lab, the real site.yml, and what the archive holds after two minutes.

python3 -m lab.demo         make demo
python3 -m lab.demo down    make demo-down
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.shell import LabError, run, say

ROOT = Path(__file__).resolve().parents[1]
LAB = "demo"
RATES = {"attic": (200, 50), "porch": (100, 50), "shed": (90, 50)}  # the garden pays for 150
SUITES = {"attic": "bookworm", "porch": "trixie", "shed": "trixie+docker"}
FOLDER = ROOT / ".cache" / "demo"
CONNECTION = FOLDER / "lab.yml"
REPORT = FOLDER / "report.html"
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
WANTED_RECORDS = 3  # below the plan make a line slow
DASHBOARD_PORT = 8000
WAIT_SECONDS = 300
TOLERANCE = 0.10
COLUMNS = (
    "node",
    "runs by",
    "its line, Mbit/s",
    "measured, Mbit/s",
    "latency, ms",
    "tests",
    "delivered",
    "archived",
    "lost",
)
STORY = """
Three machines measured their lines each minute and delivered to an archive on a fourth; a fifth answered the tests.
Each line was limited to a known rate (down/up), so that what was measured (medians) can be compared with it:
"""
LOOK_AROUND = """
The fleet stays up and goes on measuring. To look around:
  .venv/bin/python -m lab list demo                                  the nodes
  .venv/bin/python -m lab ssh demo shed sudo speedtest-logger status
  .venv/bin/python -m lab ssh demo shed sudo docker ps
  .venv/bin/python -m lab ssh demo archive sudo speedtest-archive coverage
  .venv/bin/python -m lab ssh demo archive sudo speedtest-archive query \\
    '"SELECT node, started_at, status, engine, download_bps FROM records ORDER BY started_at"'
  .venv/bin/ansible-playbook -i lab/inventory/hosts.yml -i .cache/demo/lab.yml playbooks/status.yml
  .venv/bin/python -m lab cut demo shed                              pull its cable; `restore` plugs it in
To remove it: make demo-down
"""
DASHBOARD = """
The dashboard, live, with no key, until the demo is removed (which line is slow, and since when?):
  http://{here}/{picture}
From another machine: ssh -N -L 8000:{here} root@<this machine>, then http://127.0.0.1:8000/ there.
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
    """Run site.yml; what matters of its output is shown, all of it returned and kept in the folder."""
    return play("site.yml", *options)


def play(playbook: str, *options: str) -> str:
    """Run a playbook on the demo's machines. Raises LabError with its last words."""
    inventories = ["-i", "lab/inventory/hosts.yml", "-i", str(CONNECTION)]
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), *inventories, playbook, *options]
    lines = []
    log = FOLDER / f"{Path(playbook).stem}.log"
    with log.open("w") as kept, subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            kept.write(line)
            if line.startswith(("PLAY", "fatal", "[ERROR]")) or "changed=" in line:
                print(line, end="", flush=True)
    if process.returncode:
        raise LabError(f"{playbook} failed, all of it is in {log}:\n" + "".join(lines[-40:]))
    return "".join(lines)


def up() -> None:
    """Boot the machines and run site.yml twice."""
    say("demo: 1/4 machines")
    lab("wheels", "requirements/archive.txt", "requirements/dashboard.txt")
    nodes = [f"{name}:{SUITES[name]}:{down}/{up}" for name, (down, up) in RATES.items()]
    print(lab("up", LAB, "target:trixie", "archive:bookworm", *nodes), end="")
    FOLDER.mkdir(parents=True, exist_ok=True)
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
        medians = [(entry[f"median_{way}_bps"] or 0) / 1e6 for way in ("download", "upload")]
        for way, median, rate in zip(("download", "upload"), medians, rates, strict=True):
            if abs(median - rate) > TOLERANCE * rate:
                problems.append(f"{node}: {way} median {median:.1f} Mbit/s is not within 10 % of {rate}")
        latency = entry["median_latency_ms"]
        rows.append(
            [
                node,
                {"systemd": "systemd timer", "compose": "container"}[state["runtime"]],
                "/".join(map(str, rates)),
                "/".join(f"{median:.1f}" for median in medians),
                "-" if latency is None else f"{latency:.2f}",
                str(measured),
                str(measured - state["outbox_records"]),
                str(entry["records"]),
                str(entry["coverage"]["missed"]),
            ]
        )
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


def report() -> str:
    """Fetch the report of the line in the garden; says where it is."""
    play("playbooks/report.yml", "-e", "location=garden", "-e", "last=1h", "-e", f"file={REPORT}")
    return f"its report: {REPORT}{picture_of(REPORT.as_uri(), 'report.png')}"


def dashboard() -> str:
    """Forward the dashboard's port to this machine; says where it is."""
    here = lab("forward", LAB, "archive", str(DASHBOARD_PORT), "--background").strip()
    return DASHBOARD.format(here=here, picture=picture_of(f"http://{here}/", "dashboard.png"))


def picture_of(page: str, name: str) -> str:
    """Open a page in a browser without a window and keep what it shows; says where, or why not."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return " (no Chromium here to make a picture of it: apt install chromium)"
    # root may run it without its own sandbox only; the pages are this checkout's
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1400"]
    run(browser, *options, "--virtual-time-budget=5000", f"--screenshot={FOLDER / name}", page)
    return f", as a picture {FOLDER / name}"


def main() -> int:
    """Run the demonstration or remove it."""
    try:
        if sys.argv[1:] == ["down"]:
            lab("down", LAB)
            return 0
        up()
        wait_for_records()
        rows, problems = table()
        where, seen = report(), dashboard()
    except LabError as error:
        say(f"demo: {error}")
        return 1
    print(STORY)
    show(rows)
    print(f"\n{where}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(seen + LOOK_AROUND)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
