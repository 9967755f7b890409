"""Build the collection speedtest.telemetry: python galaxy/build.py FOLDER writes its tarball there.

What goes into it is listed here, and only files that git knows: an inventory of one's own, with its secrets, never
does. The layout is the checkout's, so that plugins find what they need where they always do. What is added is the
release artifact of the nodes: who installs a collection need not be allowed to write beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


def copies() -> Iterator[tuple[str, str]]:
    """What is copied and where to. In a link's place is what git knows of where it leads; outside it may not lead."""
    names = contents()
    for name in names:
        if not (ROOT / name).is_symlink():
            yield name, name
            continue
        target = (ROOT / name).resolve().relative_to(ROOT).as_posix()
        yield from ((each, name + each.removeprefix(target)) for each in names if each.startswith(f"{target}/"))


def stage(folder: Path) -> None:
    """Make a copy of what the collection has, and the artifact."""
    for name, copy in copies():
        (folder / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / copy)
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
        tarball.write_bytes(release.build(in_order(release.unpack(made.read_bytes()))))
    return tarball


def in_order(files: dict[str, tuple[bytes, bool]]) -> dict[str, tuple[bytes, bool]]:
    """The same with a list of files that has the tarball's order, not the disk's.

    Who installs it unpacks by that list, and at each step back begins anew at the tarball's start.
    """
    listed, manifest = (json.loads(files[name][0]) for name in ("FILES.json", "MANIFEST.json"))
    listed["files"].sort(key=lambda file: file["name"])
    text = json.dumps(listed, indent=True).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(text).hexdigest()
    return {**files, "FILES.json": (text, False), "MANIFEST.json": (json.dumps(manifest, indent=True).encode(), False)}


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
