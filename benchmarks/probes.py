"""What probes cost a node: CPU as a share of a core, files written a minute, beside `python3 -c pass`, in one run.

The release runs as on a node, compiled, with ping, dns and http against this machine; irtt where it is installed. Each
run is a process of its own, as a timer starts it. Limits: 0.3 % of a core at a run a minute, a write a minute.
Needs root.
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
RUNS = 15
EVERY_SECONDS, FIVE_MINUTES = 60, 300
INSIDE = "BENCHMARK_HAS_ITS_NETWORK"
CPU_LIMIT_PCT, WRITES_LIMIT = 0.3, 1.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve() -> tuple[int, int]:
    """Ports of a web server and a name server of this process."""
    web = socket.create_server(("127.0.0.1", 0))
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))

    def pages() -> None:
        while True:
            client, _ = web.accept()
            with client:
                client.recv(4096)
                client.sendall(ANSWER)

    def answers() -> None:
        while True:
            asked, peer = names.recvfrom(4096)
            names.sendto(asked[:2] + b"\x81\x80" + asked[4:], peer)

    for each in (pages, answers):
        threading.Thread(target=each, daemon=True).start()
    return web.getsockname()[1], names.getsockname()[1]


def cpu_ms(argv: list[str], environment: dict[str, str]) -> float:
    """CPU of a program and all that it waited for, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def files_of(folder: Path) -> set[str]:
    """Names of the files below a folder."""
    return {file.name for file in folder.rglob("*") if file.is_file()}


def main() -> int:
    """Measure, print, and say whether the limits hold."""
    web, names = serve()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        here = Path(folder)
        shutil.copytree(ROOT / "src/speedtest_logger", here / "lib/speedtest_logger")
        compileall.compile_dir(here / "lib", quiet=1)
        (here / "run").mkdir()
        probes = ["ping", "dns", "http", *(["irtt"] if shutil.which("irtt") else [])]
        if "irtt" in probes:
            server = stack.enter_context(subprocess.Popen(["irtt", "server"], stdout=subprocess.DEVNULL))
            stack.callback(server.terminate)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(here / "lib"),
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(here / "state"),
            "SPEEDTEST_RUNTIME_DIR": str(here / "run"),
            "SPEEDTEST_LOG_FILE": str(here / "diag.log"),
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
            "SPEEDTEST_INTERVAL_SECONDS": "86400",
            "SPEEDTEST_PROBES": " ".join(probes),
            "SPEEDTEST_PING_TARGETS": "127.0.0.1 127.0.0.2 127.0.0.3",
            "SPEEDTEST_DNS_TARGETS": f"example.org@127.0.0.1:{names}",
            "SPEEDTEST_HTTP_TARGETS": f"http://127.0.0.1:{web}/",
            "SPEEDTEST_IRTT_TARGETS": "127.0.0.1",
        }
        start = sorted(cpu_ms([PYTHON, "-c", "pass"], environment) for _ in range(RUNS))[RUNS // 2]
        probe = [PYTHON, "-m", "speedtest_logger", "probe"]
        cost = sorted(cpu_ms(probe, environment) for _ in range(RUNS))[RUNS // 2]
        answers = [json.loads(line) for line in (here / "run/probes.jsonl").read_text(encoding="utf-8").splitlines()]
        failed = sum(not answer["answer"]["times_ms"] for answer in answers)
        share = 100 * cost / 1000 / EVERY_SECONDS
        written = files_of(here / "state")
        began = [{**answer, "began": answer["began"] - FIVE_MINUTES} for answer in answers]
        (here / "run/probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in began), encoding="utf-8")
        subprocess.run(probe, env=environment, check=True)
        results = files_of(here / "state") - written
        writes = len(results) * EVERY_SECONDS / FIVE_MINUTES
        print(f"probes: {', '.join(probes)}; {len(answers)} answers of {RUNS} runs waited in memory, {failed} failed")
        print(f"python3 -c pass {start:6.1f} ms CPU")
        print(f"a run           {cost:6.1f} ms CPU, {cost / start:.1f} times as much")
        print(f"share of a core {share:6.3f} % at a run every {EVERY_SECONDS} s, limit {CPU_LIMIT_PCT} %")
        print(f"on the disk after {RUNS} runs: {', '.join(written)}; after five minutes: {', '.join(sorted(results))}")
        print(f"writes a minute {writes:6.2f}, limit {WRITES_LIMIT:g}")
        return int(share > CPU_LIMIT_PCT or failed > 0 or writes > WRITES_LIMIT or written != {"probe.lock"})


if __name__ == "__main__":
    if INSIDE not in os.environ:  # a network of its own, in which every group may send echo requests
        allow = 'ip link set lo up; echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range; exec "$@"'
        argv = ["unshare", "--net", "sh", "-c", allow, "sh", sys.executable, *sys.argv]
        sys.exit(subprocess.run(argv, env={**os.environ, INSIDE: "1"}, check=False).returncode)
    sys.exit(main())
