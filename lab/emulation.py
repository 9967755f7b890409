"""Arm on this machine: programs of arm64 and armv7 run under qemu-user, and a Debian of theirs to run them in.

The kernel's list of interpreters (binfmt_misc) is the whole machine's. Entries have names of this project's own, are
there only while they are used, and go again however that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import images
from lab.shell import LabError, run, step, succeeds

SUITE = "trixie"
# What a node of the least kind has: no systemd, no sshd; a measurement needs no more.
INCLUDE = "python3,iperf3,openssh-client,ca-certificates"
RECIPE = "extracted 1"  # changes with what `extract` does
BINFMT = Path("/proc/sys/fs/binfmt_misc")
LOCK = Path("/run/speedtest-lab-emulation")
# The 20 bytes that an ELF file of little-endian Arm begins with; `\xfe`: programs and shared objects alike.
MAGIC = r"\x7fELF\x{bits}\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x{machine}\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
DEVICES = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9)}
FLAGS = "OCF"  # open the file, keep its credentials, and the interpreter is held open: chroots need no copy of it


@dataclass(frozen=True)
class Architecture:
    """One that is emulated: Debian's name, the name of its binfmt entry, qemu's program, the ELF header's figures.

    `cpu` is the processor that qemu plays, `machine` what uname says there.
    """

    debian: str
    entry: str
    program: str
    bits: str
    elf: str
    cpu: str
    machine: str

    @property
    def rule(self) -> str:
        """The line that registers it."""
        magic = MAGIC.replace("{bits}", self.bits).replace("{machine}", self.elf)
        return f":{self.entry}:M::{magic}:{MASK}:{shutil.which(self.program)}:{FLAGS}"

    def is_registered(self) -> bool:
        """Whether the kernel knows it."""
        return (BINFMT / self.entry).exists()


ARCHITECTURES = {
    "arm64": Architecture("arm64", "speedtest-aarch64", "qemu-aarch64-static", "02", "b7", "cortex-a72", "aarch64"),
    "armv7": Architecture("armhf", "speedtest-armv7", "qemu-arm-static", "01", "28", "cortex-a7", "armv7l"),
}
PACKAGE = "qemu-user-static"
EXTRACT = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"'


def prepare() -> None:
    """Install qemu where it is missing. Raises LabError where this kernel cannot emulate."""
    if "binfmt_misc" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        succeeds(["modprobe", "binfmt_misc"])
        if "binfmt_misc" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
            raise LabError("this kernel has no binfmt_misc: load the module 'binfmt_misc'")
    if not all(shutil.which(each.program) for each in ARCHITECTURES.values()):
        with step(f"install {PACKAGE} on this machine"):
            run("apt-get", "-qq", "update")
            run("apt-get", "-qq", "-y", "--no-install-recommends", "install", PACKAGE)


@contextmanager
def emulated(*names: str) -> Iterator[None]:
    """Programs of these architectures run on this machine until the end of the block, however it ends.

    SIGTERM ends it like an exception. Where several run at the same time the last one removes the entries; those of a
    run that was killed with SIGKILL go with the next.
    """
    prepare()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with LOCK.open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                mount()
                for name in names:
                    register(ARCHITECTURES[name])
                yield
            finally:
                if is_last(users):
                    clear()
    finally:
        signal.signal(signal.SIGTERM, before)


def is_last(users: IO[str]) -> bool:
    """Whether nobody else emulates."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clear() -> None:
    """Remove this project's entries, and the mount where no others are there."""
    for architecture in ARCHITECTURES.values():
        if architecture.is_registered():
            (BINFMT / architecture.entry).write_text("-1", encoding="ascii")
    if {each.name for each in BINFMT.iterdir()} == {"register", "status"}:
        run("umount", str(BINFMT))


def mount() -> None:
    """Have binfmt_misc mounted."""
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))


def register(architecture: Architecture) -> None:
    """Make an entry where there is none."""
    if not architecture.is_registered():
        (BINFMT / "register").write_text(architecture.rule, encoding="ascii")


def image_dir(name: str) -> Path:
    """Where the Debian of an architecture lies; the name changes with the recipe."""
    recipe = hashlib.sha256(f"{SUITE} {name} {INCLUDE} {RECIPE}".encode()).hexdigest()[:12]
    return images.HOME / "images" / f"{SUITE}-{name}-{recipe}"


def build(name: str) -> Path:
    """Return the Debian of an architecture, building it first where it is not there yet (a minute, 180 MB)."""
    final = image_dir(name)
    if final.is_dir():
        return final
    with step(f"build the {SUITE} base image for {name} (once, about a minute)"):
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=images.HOME) as packages:
            download(ARCHITECTURES[name].debian, Path(packages), f"--include={INCLUDE}")
            extract(Path(packages), partial)
        partial.rename(final)
    return final


def download(architecture: str, place: Path, *options: str) -> None:
    """A minimal Debian's packages, as debootstrap finds and verifies them."""
    images.debootstrap(SUITE, place, f"--arch={architecture}", "--download-only", *options)


def build_container_base(name: str) -> Path:
    """What images are built from, of an architecture; it is to be emulated while this runs."""
    return images.container_base(name, lambda root: install(ARCHITECTURES[name].debian, root))


def install(architecture: str, root: Path) -> None:
    """A minimal Debian, installed by this machine's own dpkg: nothing but the packages' scripts is emulated."""
    with tempfile.TemporaryDirectory(dir=images.HOME) as packages:
        download(architecture, Path(packages))
        extract(Path(packages), root)
        for device, (major, minor) in DEVICES.items():
            os.mknod(root / "dev" / device, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        found = sorted(map(str, (Path(packages) / "var/cache/apt/archives").glob("*.deb")))
        (root / "var/lib/dpkg/status").touch()
        # to it they are of a foreign architecture, whose dependencies packages of all architectures do not mean
        dpkg = ("dpkg", f"--root={root}", "--force-architecture", "--force-depends")
        for step_of_it in (("--unpack", *found), ("--configure", "--pending")):
            run("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", *dpkg, *step_of_it)


def extract(packages: Path, root: Path) -> None:
    """Their files, unpacked by this machine's own programs, and accounts: nothing of them has been run or configured.

    Emulated, dpkg would take half an hour for the same files.
    """
    found = sorted((packages / "var/cache/apt/archives").glob("*.deb"))
    first = [each for each in found if each.name.startswith("base-files_")]  # it has the links /bin, /lib
    for package in (*first, *(each for each in found if each not in first)):
        run("/bin/sh", "-c", EXTRACT, "sh", str(package), str(root))
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
