"""What the machine must have before a lab can run on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab.shell import LabError, run, step, succeeds

PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "tc": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
CGROUP = Path("/sys/fs/cgroup")
# A systemd needs several of these, and all machines of this kernel share them: with 128 of them 51 did not boot.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 8192


def missing_programs() -> dict[str, str]:
    """Programs that are not on PATH, with the Debian package that brings each."""
    return {program: package for program, package in PROGRAMS.items() if shutil.which(program) is None}


def kernel_problems() -> list[str]:
    """What the kernel or the machine's privileges lack, in words."""
    problems = []
    if os.geteuid() != 0:
        problems.append("not root: run as root (network namespaces, mounts and cgroups need it)")
    if shutil.which("modprobe"):
        succeeds(["modprobe", "overlay"])  # where it is built in there is nothing to load
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        problems.append("the kernel has no overlayfs: load the module 'overlay'")
    if not CGROUP.is_dir() or not os.access(CGROUP, os.W_OK):
        problems.append(f"{CGROUP} is missing or read-only: nodes need a cgroup of their own")
    return problems


def prepare() -> None:
    """Install missing programs with apt where that is possible; raise LabError naming all that is still missing."""
    problems = kernel_problems()
    packages = sorted(set(missing_programs().values()))
    if packages and not problems and shutil.which("apt-get"):
        with step(f"install {', '.join(packages)} on this machine"):
            run("apt-get", "-qq", "update")
            run("apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages)
    problems += [f"{program} is missing: install {package}" for program, package in missing_programs().items()]
    if problems:
        raise LabError("this machine cannot run a lab:\n  - " + "\n  - ".join(problems))
    if int(INOTIFY.read_text(encoding="ascii")) < INOTIFY_INSTANCES and os.access(INOTIFY, os.W_OK):
        INOTIFY.write_text(f"{INOTIFY_INSTANCES}\n", encoding="ascii")


def cgroup_dirs(name: str) -> list[Path]:
    """The cgroup of one node: under the named systemd hierarchy (v1, hybrid), under the unified one, or both.

    The name is to be the machine's only one: a lab of another directory may have the same name, never the same number.
    """
    roots = [root for root in (CGROUP / "systemd", CGROUP / "unified") if root.is_dir()]
    return [root / "speedtest-lab" / name for root in roots or [CGROUP]]
