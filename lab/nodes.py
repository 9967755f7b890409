"""One node: an overlay over its image, booted by systemd-nspawn in a cgroup of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from lab import host, images, network, prepared, wheels
from lab.lab import Lab, Node
from lab.shell import LabError, run, succeeds

BOOT_SECONDS = 180
BOOT_SECONDS_A_NODE = 4
ASK_SECONDS = 10
STOP_SECONDS = 60
NSPAWN_ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}  # systemd 257 refuses to boot without it on cgroup v1
# A Docker Engine inside writes to /proc/sys, makes mounts and namespaces, and needs every capability for its own root.
DOCKER_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes", "SYSTEMD_SECCOMP": "0"}
DOCKER_DIRECTORIES = ("/var/lib/docker", "/var/lib/containerd")  # overlayfs on overlayfs does not work
CONTAINER_BASE = "/opt/lab-images/container-base.tar"
# No registry can be reached: whenever Docker starts, it finds the base image that it would pull.
BASE_IMAGE = "debian:trixie-slim"
BASE_IMAGE_DROP_IN = f"""[Service]
ExecStartPost=-/bin/sh -c 'docker image inspect {BASE_IMAGE} || docker image import {CONTAINER_BASE} {BASE_IMAGE}'
"""
# Images are built on the node's network: there they find the Python packages that they would download.
WHEELS_UNIT = f"""[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /opt/lab-wheels {images.WHEELS_PORT}
"""

PYTHON_PACKAGES = "usr/lib/python3/dist-packages"
START_MODULE_CACHE = "import sys; len(sys.orig_argv) == 1 and __import__('module_cache')\n"

REBOOTING = 'rc=133; while [ "$rc" = 133 ]; do "$@"; rc=$?; done'  # nspawn --keep-unit exits 133 to be started again


def directory(lab: Lab, node: Node) -> Path:
    """Where a node's overlay, console and pid file lie."""
    return lab.directory / "nodes" / node.name


def root(lab: Lab, node: Node) -> Path:
    """The node's root filesystem, mounted."""
    return directory(lab, node) / "root"


def create(lab: Lab, node: Node) -> None:
    """Make a node's filesystem and network; it does not run yet."""
    over = [prepared.build(node.suite, docker=node.docker)] if node.prepared else []
    mount(lab, node, [*over, images.build(node.suite)])
    personalize(lab, node)
    connect(lab, node)


def mount(lab: Lab, node: Node, below: list[Path]) -> None:
    """A node's root filesystem: what it writes over layers that stay as they are."""
    home = directory(lab, node)
    for part in ("upper", "work", "root"):
        (home / part).mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={':'.join(map(str, below))},upperdir={home}/upper,workdir={home}/work"
    run("mount", "-t", "overlay", "overlay", "-o", layers, str(root(lab, node)))


def connect(lab: Lab, node: Node) -> None:
    """A node's network, and its line's rates."""
    network.attach(lab.number, node.index, node.name)
    network.shape(lab.number, node.index, node.name, node.down_mbit, node.up_mbit)


def personalize(lab: Lab, node: Node) -> None:
    """Host name, host key, the lab's login key, names of the other nodes, and the wheels that the lab holds."""
    top = root(lab, node)
    (top / "etc/hostname").write_text(node.name + "\n", encoding="utf-8")
    hosts = "".join(f"{lab.address(other)} {other.name}\n" for other in lab.nodes)
    (top / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}", encoding="utf-8")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node.name, "-f", str(top / "etc/ssh/ssh_host_ed25519_key"))
    ssh = top / "home/ops/.ssh"
    ssh.mkdir(mode=0o700)
    shutil.copy(lab.key_file.with_suffix(".pub"), ssh / "authorized_keys")
    owner = (top / "home/ops").stat()
    for path in (ssh, ssh / "authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)
    if node.docker:
        drop_in = top / "etc/systemd/system/docker.service.d/lab.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(BASE_IMAGE_DROP_IN, encoding="utf-8")
        unit = top / "etc/systemd/system/lab-wheels.service"
        unit.write_text(WHEELS_UNIT, encoding="utf-8")
        (unit.parent / "multi-user.target.wants" / unit.name).symlink_to(f"../{unit.name}")
    (top / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /opt/lab-wheels\n", encoding="utf-8")


def cache_modules(lab: Lab, node: Node) -> None:
    """Let the node keep what Python compiled of Ansible's modules."""
    packages = root(lab, node) / PYTHON_PACKAGES
    shutil.copy(Path(__file__).with_name("module_cache.py"), packages)
    (packages / "module_cache.pth").write_text(START_MODULE_CACHE, encoding="utf-8")


def start(lab: Lab, node: Node) -> None:
    """Boot a node; returns at once."""
    argv = [
        "systemd-nspawn",
        "--quiet",
        "--keep-unit",
        "--register=no",
        "--boot",
        "--console=passive",
        f"--machine={lab.name}-{node.name}",
        f"--hostname={node.name}",
        f"--directory={root(lab, node)}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        f"--network-namespace-path=/run/netns/{network.namespace(lab.number, node.name)}",
    ]
    wheels.directory().mkdir(parents=True, exist_ok=True)
    argv.append(f"--bind-ro={wheels.directory()}:/opt/lab-wheels")
    if node.docker:
        argv += docker_options(lab, node)
    cgroups = host.cgroup_dirs(f"lab{lab.number}-{node.name}")
    for cgroup in cgroups:
        cgroup.mkdir(parents=True, exist_ok=True)
    enter = "".join(f"echo $$ > {cgroup}/cgroup.procs; " for cgroup in cgroups)
    with (directory(lab, node) / "console.log").open("ab") as console:
        process = (
            subprocess.Popen(  # the shell enters the cgroup and starts nspawn, again after each reboot from inside
                ["/bin/sh", "-c", enter + REBOOTING, "sh", *argv],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, **NSPAWN_ENVIRONMENT, **(DOCKER_ENVIRONMENT if node.docker else {})},
            )
        )
    (directory(lab, node) / "pid").write_text(str(process.pid), encoding="utf-8")


def docker_options(lab: Lab, node: Node) -> list[str]:
    """What nspawn must be told so that Docker runs inside: capabilities, and directories on a real filesystem."""
    options = ["--capability=all", f"--bind-ro={images.build_container_base()}:{CONTAINER_BASE}"]
    for inside in DOCKER_DIRECTORIES:
        outside = directory(lab, node) / Path(inside).name
        outside.mkdir(exist_ok=True)
        options.append(f"--bind={outside}:{inside}")
    return options


def running_pid(lab: Lab, node: Node) -> int | None:
    """The pid of the shell around the node's nspawn, None when it does not run (a pid that was reused is not ours)."""
    file = directory(lab, node) / "pid"
    if not file.exists():
        return None
    pid = int(file.read_text(encoding="utf-8"))
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return pid if f"--machine={lab.name}-{node.name}".encode() in command else None


def wait_ssh(lab: Lab, node: Node) -> None:
    """Return once ssh answers and systemd has finished booting; raise LabError with the console's end."""
    seconds = BOOT_SECONDS + BOOT_SECONDS_A_NODE * len(lab.nodes)  # they boot at the same time
    deadline = time.monotonic() + seconds
    # systemd 257 has been seen to leave who waits waiting, where the boot ended just as that began: ask again
    probe = [*lab.ssh(node), f"timeout {ASK_SECONDS} systemctl is-system-running --wait"]
    while (left := deadline - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                probe, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=left
            )
            if done.stdout.strip() in ("running", "degraded"):
                return
        time.sleep(0.3)
    console = (directory(lab, node) / "console.log").read_text(encoding="utf-8", errors="replace")[-1500:]
    raise LabError(f"node {node.name} did not boot within {seconds} s; its console ends:\n{console}")


def stop(lab: Lab, node: Node, *, kill: bool = False) -> None:
    """Shut a node down (SIGTERM asks nspawn for an orderly power-off), or pull the plug with kill."""
    pid = running_pid(lab, node)
    if pid is None:
        return
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
        os.kill(int(child), signal.SIGKILL if kill else signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while running_pid(lab, node) is not None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        reap(pid)
    kill_cgroup(lab, node)


def reap(pid: int) -> None:
    """Collect an nspawn that this very process started, so that it does not linger as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def kill_cgroup(lab: Lab, node: Node) -> None:
    """End what is left in the node's cgroup, which holds only the node's own processes, and remove the cgroup."""
    for cgroup in host.cgroup_dirs(f"lab{lab.number}-{node.name}"):
        if not cgroup.is_dir():
            continue
        note_cpu(cgroup)
        deadline = time.monotonic() + STOP_SECONDS
        while (pids := pids_below(cgroup)) and time.monotonic() < deadline:
            for pid in pids:
                if succeeds(["kill", "-9", str(pid)]):
                    reap(pid)
            time.sleep(0.1)
        for below in sorted(cgroup.rglob("*/"), reverse=True):
            if below.is_dir():
                below.rmdir()
        cgroup.rmdir()


def note_cpu(cgroup: Path) -> None:
    """Tell lab.scenarios, where it asks, how many seconds of CPU the processes of a node have used."""
    parts, usage = os.environ.get("SPEEDTEST_SCENARIO_PARTS"), cgroup / "cpu.stat"  # the unified hierarchy has it
    if parts and usage.exists():
        found = dict(line.split() for line in usage.read_text(encoding="utf-8").splitlines())
        with Path(parts).open("a", encoding="utf-8") as file:
            file.write(f"nodes {int(found['usage_usec']) / 1e6:.1f}\n")


def pids_below(cgroup: Path) -> list[int]:
    """All processes in a cgroup and its children."""
    files = [cgroup / "cgroup.procs", *cgroup.rglob("cgroup.procs")]
    return sorted({int(pid) for file in files if file.exists() for pid in file.read_text().split()})


def destroy(lab: Lab, node: Node) -> None:
    """Remove everything a node consists of; whatever is already gone is fine."""
    stop(lab, node, kill=True)
    kill_cgroup(lab, node)
    network.detach(lab.number, node.index, node.name)
    mounted = root(lab, node)
    while os.path.ismount(mounted):
        run("umount", "--recursive", "--lazy", str(mounted))
    shutil.rmtree(directory(lab, node), ignore_errors=True)
