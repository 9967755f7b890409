"""What the nodes' bundles say, signed, and the folder in which they lie: what plugins/converge takes on the node."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from plugins.converge.bundle import LISTS, MOST_BYTES, NAMESPACE, file_name, payload_of, split
from plugins.desired.roles import Wanted
from plugins.desired.things import Desired
from plugins.lookup.release import release as artifact_of
from speedtest_logger.files import write_durably
from speedtest_logger.inventory import roles

CREDENTIALS = re.compile(r"//[^/@\s'\"]*:[^/@\s'\"]+@")
RELEASE = re.compile(rb'"file":"([A-Za-z0-9._+-]+)"')
SERIAL = re.compile(rb'"serial":(\d{1,18})\b')
SIGN_SECONDS = 300
# What is left of another runtime goes when a node is enrolled, which is a push.
OF_CONTAINERS = ("absent_projects", "absent_images")
SIGNED_AT_ONCE = 1000  # a command line has an end


class BundleError(Exception):
    """A bundle cannot be made."""


def secrets(wanted: Wanted) -> list[str]:
    """What of a node's is secret: whoever fetches a bundle reads all of it, so that none of this may be in one."""
    table = next(each for each in roles.ROLES if each.name == wanted.module.ROLE)
    prefix = f"{wanted.module.ROLE}_"
    found = [one.name for one in table.inputs if one.secret and wanted.values.get(one.name.removeprefix(prefix))]
    for item in wanted.desired.get("files", []):
        if item.get("secret") or CREDENTIALS.search(item["content"]):
            found.append(item["path"])
    return found


def desired_of(wanted: Wanted) -> Desired:
    """The lists of host_state as a node can carry them out by itself. Raises BundleError.

    The link to the release keeps the way back: the one to the release before is set with it.
    """
    if found := secrets(wanted):
        raise BundleError(
            f"{', '.join(found)}: a bundle is no secret, so that this cannot be in one; use converge: push"
        )
    if unknown := sorted(set(wanted.desired) - LISTS - set(OF_CONTAINERS)):
        raise BundleError(f"a node cannot carry out by itself: {', '.join(unknown)}")
    n = wanted.names
    links = [
        {**item, "previous": n["previous"]} if item["path"] == n["current"] else item
        for item in wanted.desired["links"]
    ]
    made = [{name: item[name] for name in ("path", "digest")} for item in wanted.desired["releases"]]
    kept = {name: items for name, items in wanted.desired.items() if name not in OF_CONTAINERS}
    return {**kept, "links": links, "releases": made}


def payload(wanted: Wanted, serial: int, valid_until: float) -> bytes:
    """What is signed for a node. Raises BundleError."""
    v, version = wanted.values, wanted.names["wanted"]
    artifact = Path(artifact_of(version, Path(v["artifact_dir"]))["path"]).read_bytes()
    said = {
        "node": str(v["node_name"]),
        "serial": serial,
        "valid_until": int(valid_until),
        "version": str(version),
        "settings": f"{v['config_dir']}/logger.env",
        "release": {
            "file": served_name(version, artifact),
            "sha256": hashlib.sha256(artifact).hexdigest(),
            "bytes": len(artifact),
        },
        "desired": plain(desired_of(wanted)),
    }
    made = payload_of(said)
    if len(made) > MOST_BYTES // 2:
        raise BundleError(f"it has {len(made)} bytes, {MOST_BYTES // 2} are the most")
    return made


def plain(value: Any) -> Any:
    """Ansible's own kinds of text and numbers as those of Python."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def served_name(version: str, artifact: bytes) -> str:
    """A release's name where bundles are served: another content is another file."""
    return f"speedtest-logger-{version}-{hashlib.sha256(artifact).hexdigest()[:12]}.tar.gz"


def serial_after(folder: Path, node: str, now: float) -> int:
    """The next serial of a node: the time, or one more than that of the bundle that lies there."""
    try:
        found = SERIAL.search(split((folder / file_name(node)).read_bytes())[1])
    except FileNotFoundError:
        return int(now)
    return max(int(now), int(found[1]) + 1 if found else 0)


def signed(payloads: dict[str, bytes], key: Path) -> dict[str, bytes]:
    """Each node's bundle. Raises BundleError."""
    nodes, made = list(payloads), {}
    for first in range(0, len(nodes), SIGNED_AT_ONCE):
        made.update(signed_at_once({node: payloads[node] for node in nodes[first : first + SIGNED_AT_ONCE]}, key))
    return made


def signed_at_once(payloads: dict[str, bytes], key: Path) -> dict[str, bytes]:
    """Bundles that one call of `ssh-keygen -Y sign` signs. Raises BundleError."""
    with tempfile.TemporaryDirectory(prefix="speedtest-bundles-") as made:
        files = {node: Path(made) / node for node in payloads}
        for node, content in payloads.items():
            files[node].write_bytes(content)
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, *map(str, files.values())]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SIGN_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BundleError(f"{key}: nothing was signed: {error}") from error
        if done.returncode:
            raise BundleError(f"{key}: nothing was signed: {done.stderr.strip().rpartition(chr(10))[2]}")
        return {node: file.with_name(f"{node}.sig").read_bytes() + payloads[node] for node, file in files.items()}


def public_key(key: Path) -> str:
    """The public half of the key that signs. Raises BundleError."""
    file = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    try:
        return " ".join(file.read_text(encoding="utf-8").split()[:2])
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}; it is the public half of speedtest_pull_signing_key") from error


def written(folder: Path, wanted: list[Wanted], key: Path, valid_seconds: float, now: float) -> list[str]:
    """Write the bundles of nodes and the releases that they name; the files' names. Raises BundleError, OSError."""
    mine = public_key(key)
    payloads = {}
    for each in wanted:
        node = str(each.values["node_name"])
        if mine not in [" ".join(str(signer).split()[:2]) for signer in each.values["pull_signers"]]:
            raise BundleError(
                f"{node}: speedtest_logger_pull_signers has not the public key of speedtest_pull_signing_key: after "
                "such a bundle the node would believe none of this key; name the old and the new key while one "
                "replaces the other"
            )
        payloads[node] = payload(each, serial_after(folder, node, now), now + valid_seconds)
    bundles = signed(payloads, key) if payloads else {}
    folder.mkdir(parents=True, exist_ok=True)
    releases = {served(folder, each) for each in wanted}  # first: what a bundle names is there
    for node, content in bundles.items():
        write_durably(folder / file_name(node), content, 0o644)
    return [*sorted(releases), *map(file_name, bundles)]


def kept_releases(folder: Path) -> list[str]:
    """The releases that bundles in the folder name; what no bundle names any more is removed."""
    named = {found[1].decode() for file in folder.glob("*.bundle") if (found := RELEASE.search(file.read_bytes()))}
    for file in folder.glob("speedtest-logger-*.tar.gz"):
        if file.name not in named:
            file.unlink()
    return sorted(named)


def packed(folder: Path, files: list[str]) -> Path:
    """Some files of the folder as one, for one copy."""
    archive = folder / ".packed.tar"
    with tarfile.open(archive, "w") as made:
        for name in files:
            made.add(folder / name, name, recursive=False)
    return archive


def served(folder: Path, wanted: Wanted) -> str:
    """A node's release in the folder; its name there."""
    artifact = Path(artifact_of(wanted.names["wanted"], Path(wanted.values["artifact_dir"]))["path"])
    name = served_name(wanted.names["wanted"], artifact.read_bytes())
    if not (folder / name).exists():
        temporary = folder / f".{name}.tmp"
        shutil.copyfile(artifact, temporary)
        temporary.chmod(0o644)
        temporary.replace(folder / name)
    return name
