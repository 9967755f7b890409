"""Nodes on arm64 and armv7, emulated: `make arm`, which needs root and qemu, and takes long.

A node is a Debian of its architecture without systemd, in a network namespace behind a line of a known rate. Its
release is the artifact that every node gets. iperf3's server is outside, and so is
the archive host with its sshd.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import ROOT

from lab import emulation, images, network, nodes
from lab.cli import tear_down
from lab.host import prepare
from lab.lab import Lab, Node, allocate, registry_lock
from lab.shell import run
from plugins.keys import authorized_keys
from plugins.lookup import release
from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest

DOWN, UP = 20, 10  # Mbit/s: an emulated processor is the bottleneck soon
ACCOUNT, RECEIVER = 471, "speedtest-archive"
IPERF_PORT = 52011
HOME, SETTINGS, ARCHIVE = "opt/speedtest-telemetry", "etc/speedtest-telemetry", "srv/speedtest-archive"
SSHD = f"""
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /{SETTINGS}/authorized_keys
UsePAM no
PasswordAuthentication no
LogLevel ERROR
"""
KILLED = """
import os, signal
from lab import emulation
with emulation.emulated("arm64", "armv7"):
    assert {each.name for each in emulation.BINFMT.iterdir()} >= {"speedtest-aarch64", "speedtest-armv7"}
    END
"""


@dataclass
class Machines:
    """An emulated node, and an archive host of this machine's own architecture; neither runs systemd."""

    architecture: emulation.Architecture
    lab: Lab
    node: Node
    host: Node

    @property
    def root(self) -> Path:
        return nodes.root(self.lab, self.node)

    @property
    def archive(self) -> Layout:
        return Layout(nodes.root(self.lab, self.host) / ARCHIVE)

    @property
    def outside(self) -> str:
        return f"{network.subnet(self.lab.number)}.1"

    def run(self, *words: str) -> str:
        """Run a program of the node, in its network, as its account; it must succeed."""
        environment = ("env", "-i", f"QEMU_CPU={self.architecture.cpu}", f"PATH=/{HOME}/current/bin:/usr/bin:/bin")
        argv = [*inside(self.lab, self.node, f"--userspec={ACCOUNT}:{ACCOUNT}"), *environment, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        print(f"{self.node.name}: {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0
        return done.stdout

    def logger(self, *words: str) -> str:
        return self.run("speedtest-logger", "--env-file", f"/{SETTINGS}/logger.env", *words)


def inside(lab: Lab, node: Node, *options: str) -> list[str]:
    """What a command line begins with that runs in a machine's network and files."""
    space = network.namespace(lab.number, node.name)
    return ["ip", "netns", "exec", space, "chroot", *options, str(nodes.root(lab, node))]


@pytest.fixture(scope="module")
def _emulated() -> Iterator[None]:
    with emulation.emulated(*emulation.ARCHITECTURES):
        yield
    nothing_is_left()


def nothing_is_left() -> None:
    """None of this project's entries is there, unless somebody else emulates on this machine."""
    with emulation.LOCK.open("w") as users:
        alone = emulation.is_last(users)
    assert not alone or not [each for each in emulation.ARCHITECTURES.values() if each.is_registered()]


@pytest.fixture(scope="module", params=emulation.ARCHITECTURES)
def machine(request, _emulated, tmp_path_factory) -> Iterator[Machines]:
    prepare()
    with registry_lock(f"lock-{request.param}"):
        image = emulation.build(request.param)
    with registry_lock():
        images.build(emulation.SUITE)
    built = release.release(release.source_version(), tmp_path_factory.mktemp("release"))
    machines = [Node(request.param, emulation.SUITE, 1, DOWN, UP), Node("archive", emulation.SUITE, 2)]
    lab = allocate(f"{request.param}-{os.getpid()}", machines)
    try:
        network.create_bridge(lab.number)
        nodes.mount(lab, lab.nodes[0], [image])
        nodes.connect(lab, lab.nodes[0])
        nodes.create(lab, lab.nodes[1])
        for each in lab.nodes:
            run("mount", "--bind", "/dev", str(nodes.root(lab, each) / "dev"))
            run("mount", "-t", "proc", "proc", str(nodes.root(lab, each) / "proc"))
            install(nodes.root(lab, each), Path(built["path"]))
        made = Machines(emulation.ARCHITECTURES[request.param], lab, *lab.nodes)
        configure(made)
        yield made
    finally:
        tear_down(lab)


def install(root: Path, artifact: Path) -> None:
    """The release, as a machine has it."""
    place = root / HOME / "releases" / release.source_version()
    place.mkdir(parents=True)
    with tarfile.open(artifact) as packed:
        packed.extractall(place, filter="tar")
    (root / HOME / "current").symlink_to(f"releases/{place.name}")
    (root / SETTINGS).mkdir()


def configure(machine: Machines) -> None:
    """What the role does on a node: account, key, settings."""
    root, archive = machine.root, machine.lab.address(machine.host)
    with (root / "etc/passwd").open("a") as file:
        file.write(f"speedtest:x:{ACCOUNT}:{ACCOUNT}::/var/lib/speedtest-telemetry:/usr/sbin/nologin\n")
    settings = root / SETTINGS
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(settings / "id_ed25519"))
    host_key = (nodes.root(machine.lab, machine.host) / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (settings / "known_hosts").write_text(f"{archive} {host_key}")
    (settings / "logger.env").write_text(
        f"SPEEDTEST_NODE={machine.node.name}\nSPEEDTEST_LOCATION=home\nSPEEDTEST_ENGINES=iperf3\n"
        f"SPEEDTEST_IPERF3_SERVERS={machine.outside}:{IPERF_PORT}\nSPEEDTEST_DURATION_SECONDS=5\n"
        f"SPEEDTEST_MEASURE_TIMEOUT_SECONDS=120\nSPEEDTEST_LOG_FILE=/var/log/speedtest-telemetry/diag.log\n"
        f"SPEEDTEST_ARCHIVE_HOST={archive}\nSPEEDTEST_ARCHIVE_USER={RECEIVER}\nSPEEDTEST_ARCHIVE_RAW=true\n"
    )
    owned = [root / name for name in ("var/lib/speedtest-telemetry", "var/log/speedtest-telemetry")]
    for folder in owned:
        folder.mkdir()
    for path in (*owned, settings / "id_ed25519"):
        os.chown(path, ACCOUNT, ACCOUNT)


@pytest.fixture(scope="module")
def sshd(machine) -> Iterator[None]:
    """The archive host's sshd, with the line that the role writes for a node."""
    root = nodes.root(machine.lab, machine.host)
    enter = inside(machine.lab, machine.host)
    machine.archive.prepare()
    run(*enter, "useradd", "--system", "--home-dir", f"/{ARCHIVE}", "--shell", "/bin/sh", "--password", "*", RECEIVER)
    run(*enter, "chown", "--recursive", RECEIVER, f"/{ARCHIVE}")
    key = " ".join((machine.root / SETTINGS / "id_ed25519.pub").read_text().split()[:2])
    name, command = machine.node.name, f"/{HOME}/current/bin/speedtest-receive --root /{ARCHIVE}"
    (root / SETTINGS / "authorized_keys").write_text(authorized_keys("", {name: key}, [name], command))
    (root / SETTINGS / "sshd_config").write_text(SSHD)
    (root / "run/sshd").mkdir(exist_ok=True)
    with serving(*enter, "/usr/sbin/sshd", "-D", "-e", "-f", f"/{SETTINGS}/sshd_config"):
        yield


@pytest.fixture(scope="module")
def iperf3(machine) -> Iterator[None]:
    with serving("iperf3", "--server", "--bind", machine.outside, "--port", str(IPERF_PORT)):
        yield


@contextmanager
def serving(*argv: str) -> Iterator[None]:
    """A server until the end of the block."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        assert process.poll() is None, argv
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("end", ["raise SystemExit(1)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_what_the_kernel_was_told_goes_however_it_ends(end):
    done = subprocess.run([sys.executable, "-c", KILLED.replace("END", end)], cwd=ROOT, check=False)
    assert done.returncode in (1, 143)
    nothing_is_left()


def test_the_machine_is_of_its_architecture(machine):
    assert machine.run("uname", "-m").strip() == machine.architecture.machine
    told = "import platform, struct; print(platform.machine(), struct.calcsize('P') * 8)"
    bits = {"aarch64": 64, "armv7l": 32}[machine.architecture.machine]
    assert machine.run("python3", "-c", told).split() == [machine.architecture.machine, str(bits)]
    assert machine.run("dpkg", "--print-architecture").strip() == machine.architecture.debian


def test_its_settings_are_checked(machine):
    machine.logger("config", "check")


def test_it_measures_with_its_own_iperf3_and_delivers_over_ssh(machine, iperf3, sshd):
    machine.logger("measure", "--wait")
    waiting = list((machine.root / "var/lib/speedtest-telemetry/outbox").glob("*.csv"))
    assert len(waiting) == 1
    machine.logger("push", "--force")
    assert not waiting[0].exists()
    ingest.ingest(machine.archive)
    [row] = open_archive(machine.archive.root).query("SELECT * FROM records").to_pylist()
    print(row)
    assert (row["node"], row["status"], row["engine"], row["runtime"]) == (machine.node.name, "ok", "iperf3", "systemd")
    assert 0.6 * DOWN * 1e6 < row["download_bps"] < 1.05 * DOWN * 1e6
    assert 0.6 * UP * 1e6 < row["upload_bps"] < 1.05 * UP * 1e6
    assert machine.architecture.machine in raw_of(machine, row["run_id"])


def raw_of(machine: Machines, run_id: str) -> str:
    """What the archive keeps of the run as the engine printed it: iperf3 names the machine that it ran on."""
    [found] = open_archive(machine.archive.root).query(f"SELECT text FROM raw WHERE run_id = '{run_id}'").to_pylist()
    return str(found["text"])


def test_it_says_how_it_is(machine):
    state = json.loads(machine.logger("status", "--json"))
    assert state["outbox_records"] == 0
