"""PostgreSQL of another release of Debian, run on this machine: `python3 -m lab.postgresql` prints its folder.

Its packages lie in the release's base image. They are unpacked, not installed, and its programs are started by that
release's own loader, with its libraries: nothing of this machine is changed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lab import host, images
from lab.lab import registry_lock
from lab.shell import LabError, run, step

SUITE, VERSION = "trixie", "17"
PACKAGES = (f"postgresql-{VERSION}", f"postgresql-{VERSION}-timescaledb")
HERE = Path("/usr/lib/postgresql")  # this machine's own
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
INSTALLED = re.compile(r"^Inst (\S+) ", re.MULTILINE)  # what apt would do
# A program finds what belongs to it (share, lib) from the name that it is called by.
PROGRAM = '#!/bin/sh\nexec {loader} --library-path {libraries} --argv0 "$0" {program} "$@"\n'


def folder() -> Path:
    """A folder like /usr/lib/postgresql, with that server and those of this machine; made where it is not there.

    Raises LabError.
    """
    host.prepare()
    with registry_lock(f"lock-{SUITE}"):
        image = images.build(SUITE)
        recipe = hashlib.sha256(f"{image.name} {Path(__file__).read_text(encoding='utf-8')}".encode()).hexdigest()[:12]
        root = image.with_name(f"postgresql-{SUITE}-{recipe}")
        if not root.is_dir():
            with step(f"unpack PostgreSQL {VERSION} of {SUITE}"):
                partial = root.with_name(f"{root.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)  # nothing there but after a build that was cut off
                unpack(image, partial)
                start_by_its_own_loader(image, partial, root)
                partial.rename(root)
    found = root / HERE.relative_to("/")
    for mine in HERE.glob("*/bin"):
        here = found / mine.parent.name
        if not here.exists():
            here.symlink_to(mine.parent)
    return found


def unpack(image: Path, root: Path) -> None:
    """The packages of server and extension, and each that they need and the image has not."""
    root.mkdir(parents=True)
    for package in packages(image):
        run("dpkg-deb", "--extract", str(package), str(root))


def packages(image: Path) -> Iterator[Path]:
    """The files in the image's cache of what apt would install. Raises LabError for one that is not there."""
    said = run("chroot", str(image), "apt-get", "-qq", "--simulate", "install", *PACKAGES)
    for name in INSTALLED.findall(said):
        found = list((image / "var/cache/apt/archives").glob(f"{name}_*.deb"))
        if not found:
            raise LabError(f"{name} is not in {image}/var/cache/apt/archives: remove {image}, and it is built anew")
        yield from found


def start_by_its_own_loader(image: Path, root: Path, final: Path) -> None:
    """Put a script in each program's place."""
    version = HERE.relative_to("/") / VERSION
    libraries = f"{final / LIBRARIES}:{image / LIBRARIES}"
    (root / version / "bin").rename(root / version / "programs")
    (root / version / "bin").mkdir()
    for program in sorted((root / version / "programs").iterdir()):
        script = root / version / "bin" / program.name
        started = final / version / "programs" / program.name
        script.write_text(PROGRAM.format(loader=image / LOADER, libraries=libraries, program=started), encoding="utf-8")
        script.chmod(0o755)


if __name__ == "__main__":
    try:
        print(folder())
    except LabError as error:
        sys.exit(f"lab: {error}")
