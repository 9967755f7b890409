"""Build the collection speedtest.telemetry: python galaxy/build.py FOLDER writes its tarball there.

What goes into it is listed here, and only files that git knows: an inventory of one's own, with its secrets, never
does. The layout is the checkout's, so that plugins find what they need where they always do. What is added is the
release artifact of the nodes: who installs a collection need not be allowed to write beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plugins.lookup import release  # noqa: E402  (found only after the line above)

CONTENTS = (
    *("CHANGELOG.md", "LICENSE", "README.md", "galaxy.yml", "docs/**.md", "docs/pictures"),
    *("dashboards", "docker", "inventory/homelab", "meta", "playbooks", "plugins", "requirements", "roles"),
    *("share", "src", "tests/sanity"),
)
# ways to the collection itself, which an installed one does not need
LEFT_OUT = ("playbooks/collections",)


def contents() -> list[str]:
    """The files of the collection, and links; paths from the checkout's root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *CONTENTS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return [name for name in listed.split("\0") if name and name not in LEFT_OUT]


def stage(folder: Path) -> None:
    """Make a copy of what the collection has, with what links lead to in their place."""
    for name in contents():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    release.release(release.source_version(), folder / "dist")


def build(folder: Path) -> Path:
    """Build it, the same bytes from the same files; returns the path of the tarball."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "telemetry"
        stage(source)
        galaxy = Path(sys.executable).with_name("ansible-galaxy")
        subprocess.run(
            [galaxy, "collection", "build", source, "--output-path", work], stdout=subprocess.DEVNULL, check=True
        )
        (made,) = Path(work).glob("*.tar.gz")
        folder.mkdir(parents=True, exist_ok=True)
        tarball = folder / made.name
        tarball.write_bytes(release.build(release.unpack(made.read_bytes())))
    return tarball


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
