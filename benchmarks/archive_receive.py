"""Many nodes deliver at the same moment, over ssh and over https: receipts, waiting times, the host's cost.

usage: python benchmarks/archive_receive.py [NODES …]   (default 10 100 500)

An sshd of its own on loopback, a key and a forced command for each node, the release as on a host; then the same over
https, in ROUNDS rounds, for one costs too little to be measured: the receiver behind Caddy, as the roles have them,
and a new connection for each delivery. Clients and host share this machine's cores, so the waiting times are an upper
bound; the host is its sshd and all below it, or the receiver and Caddy. Everything is synchronised to the disk.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from fleet_data import SLOT_SECONDS, START, as_lines, node_table
from node_cost import PYTHON, ROOT, install

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.record import run_id_of_slot, utc_text

PORT = 22822
ROWS = 12  # an hour of five-minute slots
ROUNDS = 10  # over https
NOW = time.time()
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin forced-commands-only
MaxStartups 1000
LogLevel ERROR
"""


def keys(folder: Path, root: Path, programs: Path, nodes: int) -> None:
    """A key for each node, which can only deliver."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    lines = []
    for number in range(nodes):
        file = folder / f"key-{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        public = " ".join(file.with_suffix(".pub").read_text().split()[:2])
        command = f"{PYTHON} -I {programs}/speedtest-receive --root {root} --node node-{number:04d}"
        lines.append(f'restrict,command="{command}" {public}\n')
    (folder / "authorized_keys").write_text("".join(lines))


def payload(number: int, ago: int = 1) -> bytes:
    """A node's last hour, or an earlier one, as a delivery that receive takes: slots, each with its run's id."""
    table = node_table(number, int(NOW - START) // SLOT_SECONDS - ago * ROWS - 1, ROWS)
    slots = [utc_text(at.timestamp()) for at in table["scheduled_at"].to_pylist()]
    runs = [run_id_of_slot(f"node-{number:04d}", slot) for slot in slots]
    return as_lines(table.set_column(table.column_names.index("run_id"), "run_id", pa.array(runs)))


def deliver(folder: Path, number: int, payload: bytes, together: threading.Barrier) -> tuple[float, dict]:
    """Seconds until the receipt, and the receipt."""
    argv = ["ssh", "-F", "none", "-i", str(folder / f"key-{number}"), "-p", str(PORT), "-o", "BatchMode=yes"]
    argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    together.wait()
    began = time.perf_counter()
    done = subprocess.run([*argv, "127.0.0.1"], input=payload, capture_output=True, check=False, timeout=300)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return seconds, json.loads(done.stdout)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of all that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def memory_below(pid: int) -> float:
    """Memory of a process and all below it, MB, what they share counted once (proportional set size)."""
    below, total = [pid], 0
    while below:
        current = below.pop()
        try:
            for task in Path(f"/proc/{current}/task").iterdir():
                below += map(int, (task / "children").read_text().split())
            rollup = Path(f"/proc/{current}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total / 1024


def measure(nodes: int, folder: Path, programs: Path) -> tuple[str, float]:
    """One moment at which so many nodes deliver; also the CPU seconds of one delivery."""
    place = folder / str(nodes)
    place.mkdir()
    layout = Layout(place / "archive")
    layout.prepare()
    keys(place, layout.root, programs, nodes)
    (place / "sshd_config").write_text(CONFIG.format(port=PORT, folder=place))
    payloads = [payload(number) for number in range(nodes)]
    host = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", place / "sshd_config"])
    peak = [0.0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            peak[0] = max(peak[0], memory_below(host.pid))

    watcher = threading.Thread(target=watch)
    try:
        time.sleep(1)
        watcher.start()
        together = threading.Barrier(nodes)
        began = time.perf_counter()
        with ThreadPoolExecutor(nodes) as pool:
            waits = list(pool.map(lambda n: deliver(place, n, payloads[n], together), range(nodes)))
        wall = time.perf_counter() - began
        cpu = cpu_of(host.pid)
    finally:
        over.set()
        watcher.join()
        host.terminate()
        host.wait()
    receipted = sum(len(receipt["accepted"]) for _, receipt in waits)
    ingest.ingest(layout)
    stored = open_archive(layout.root).query("SELECT count(*) AS n FROM records").to_pylist()[0]["n"]
    assert receipted == stored == nodes * ROWS, (receipted, stored)
    seconds = sorted(wait for wait, _ in waits)
    p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    return (
        f"{nodes:>4} nodes: {receipted:>5} records receipted, {stored:>5} archived; receipt after "
        f"p50 {statistics.median(seconds):5.2f} s, p99 {p99:5.2f} s; {wall:5.1f} s in all; "
        f"host CPU {1000 * cpu / nodes:4.0f} ms per delivery, peak {peak[0]:5.0f} MB"
    ), cpu / nodes


def measure_https(nodes: int, folder: Path, programs: Path) -> tuple[str, float]:
    """ROUNDS moments at which so many nodes deliver; also the CPU seconds of one delivery."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT), str(ROOT / "src")]
    from front import NAME, Receiver

    place = folder / f"https-{nodes}"
    place.mkdir()
    host = Receiver(place)
    names = [f"node-{number:04d}" for number in range(nodes)]
    host.know(*names)
    waits: list[float] = []
    try:
        host.start(program=[str(PYTHON), "-IS", str(programs / "speedtest-receive-http")])
        host.start_front()

        def once(number: int, content: bytes, together: threading.Barrier) -> int:
            together.wait()
            began = time.perf_counter()
            with host.connected(120) as stream:
                connection = http.client.HTTPSConnection(NAME, host.port)
                connection.sock = stream
                token = host.tokens[names[number]]
                headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}
                connection.request("POST", "/deliver", gzip.compress(content), headers)
                receipt = json.loads(connection.getresponse().read())
            waits.append(time.perf_counter() - began)
            return len(receipt["accepted"])

        before = [cpu_of(process.pid) for process in (host.service, host.front)]
        began, receipted = time.perf_counter(), 0
        with ThreadPoolExecutor(nodes) as pool:
            for number in range(ROUNDS):
                payloads = [payload(each, number + 1) for each in range(nodes)]
                together = threading.Barrier(nodes)
                jobs = [pool.submit(once, each, payloads[each], together) for each in range(nodes)]
                receipted += sum(job.result() for job in jobs)
        wall = time.perf_counter() - began
        after = [cpu_of(process.pid) for process in (host.service, host.front)]
        memory = sum(memory_below(process.pid) for process in (host.service, host.front))
    finally:
        host.stop()
    ingest.ingest(host.layout)
    stored = open_archive(host.layout.root).query("SELECT count(*) AS n FROM records").to_pylist()[0]["n"]
    assert receipted == stored == nodes * ROWS * ROUNDS, (receipted, stored)
    receiver, front = (1000 * (b - a) / nodes / ROUNDS for a, b in zip(before, after, strict=True))
    each, seconds = (receiver + front) / 1000, sorted(waits)
    p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    return (
        f"{nodes:>4} nodes: {receipted:>5} records receipted, {stored:>5} archived; receipt after "
        f"p50 {statistics.median(seconds):5.2f} s, p99 {p99:5.2f} s; {wall:5.1f} s in all; "
        f"host CPU {1000 * each:4.1f} ms per delivery (receiver {receiver:.1f}, front {front:.1f}): "
        f"{1 / each:,.0f} deliveries/s/core, {memory:5.0f} MB"
    ), each


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [10, 100, 500]
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-"))
    folder.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    try:
        programs = install(folder)
        for nodes in counts:
            said, ssh = measure(nodes, folder, programs)
            print("ssh  ", said, flush=True)
            said, https = measure_https(nodes, folder, programs)
            print("https", said)
            print(f"{nodes:>4} nodes: https takes 1/{ssh / https:.0f} of ssh's CPU", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
