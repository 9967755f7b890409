"""The folder in which the nodes' bundles lie, with the releases and images that they name."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from plugins.converge.bundle import file_name, split
from plugins.desired.bundles import BundleError, Node, image_of, payload, public_key, release_file, release_of, signed
from plugins.desired.roles import Wanted
from speedtest_logger.files import write_durably

NAMED = re.compile(rb'"file":"(speedtest-logger-[A-Za-z0-9._+-]+)"')
SERIAL = re.compile(rb'"serial":(\d{1,18})\b')


def serial_after(folder: Path, node: str, now: float) -> int:
    """The next serial of a node: the time, or one more than that of the bundle that lies there."""
    try:
        found = SERIAL.search(split((folder / file_name(node)).read_bytes())[1])
    except FileNotFoundError:
        return int(now)
    return max(int(now), int(found[1]) + 1 if found else 0)


def written(
    folder: Path, nodes: list[Node], key: Path, valid_seconds: float, now: float
) -> tuple[list[str], list[str]]:
    """Write the bundles of nodes and what they name; the names of both. Raises BundleError, OSError."""
    mine = public_key(key)
    payloads = {}
    for node in nodes:
        name = str(node.logger.values["node_name"])
        if mine not in [" ".join(str(signer).split()[:2]) for signer in node.logger.values["pull_signers"]]:
            raise BundleError(
                f"{name}: speedtest_logger_pull_signers has not the public key of speedtest_pull_signing_key: after "
                "such a bundle the node would believe none of this key; name the old and the new key while one "
                "replaces the other"
            )
        payloads[name] = payload(node, serial_after(folder, name, now), now + valid_seconds)
    bundles = signed(payloads, key) if payloads else {}
    folder.mkdir(parents=True, exist_ok=True)
    named = {served(folder, source, name) for node in nodes for source, name in files_of(node.logger)}
    for name, content in bundles.items():  # last: what a bundle names is there
        write_durably(folder / file_name(name), content, 0o644)
    return [file_name(name) for name in bundles], sorted(named)


def kept_files(folder: Path) -> list[str]:
    """The releases and images that bundles in the folder name; what no bundle names any more is removed."""
    named = {name.decode() for file in folder.glob("*.bundle") for name in NAMED.findall(file.read_bytes())}
    for file in folder.glob("speedtest-logger-*.tar.gz"):
        if file.name not in named:
            file.unlink()
    return sorted(named)


def packed(folder: Path, files: list[str]) -> Path:
    """Bundles of the folder as one file, for one copy."""
    archive = folder / ".packed.tar"
    with tarfile.open(archive, "w") as made:
        for name in files:
            made.add(folder / name, name, recursive=False)
    return archive


def files_of(wanted: Wanted) -> Iterator[tuple[Path, str]]:
    """What a node fetches besides its bundle: its release, its image where it loads one, and their names there."""
    yield release_file(wanted), release_of(wanted)["file"]
    if any("load" in item for item in wanted.desired.get("images", [])):
        yield Path(wanted.values["image_archive"]), image_of(wanted)["file"]


def served(folder: Path, source: Path, name: str) -> str:
    """A file in the folder under the name that bundles have for it; that name."""
    if not (folder / name).exists():
        temporary = folder / f".{name}.tmp"
        shutil.copyfile(source, temporary)
        temporary.chmod(0o644)
        temporary.replace(folder / name)
    return name
