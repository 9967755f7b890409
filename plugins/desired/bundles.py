"""What the nodes' bundles say, signed: what plugins/converge takes on the node."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from plugins.converge.bundle import FORMAT, LEAVING, LISTS, MOST_BYTES, MOST_IMAGE, NAMESPACE, payload_of
from plugins.desired import docker_host, speedtest_logger
from plugins.desired.roles import Wanted
from plugins.desired.things import Desired
from plugins.lookup.release import release as artifact_of
from speedtest_logger.inventory import roles

CREDENTIALS = re.compile(r"//[^/@\s'\"]*:[^/@\s'\"]+@")
ITSELF = "speedtest-converge"  # what takes a node off goes last
SIGN_SECONDS = 300
SIGNED_AT_ONCE = 1000  # a command line has an end


class BundleError(Exception):
    """A bundle cannot be made."""


@dataclass(frozen=True)
class Node:
    """What the roles want on one node: the logger's always, Docker's for a container, an exporter's for who asks it."""

    logger: Wanted
    docker: Wanted | None = None
    exporter: Wanted | None = None


def is_leaving(logger: Wanted) -> bool:
    """Whether a node is to be one no more."""
    return bool(logger.values["state"] == "absent")


def secrets(wanted: Wanted) -> list[str]:
    """What of a node's is secret: whoever fetches a bundle reads all of it, so that none of this may be in one."""
    table = next(each for each in roles.ROLES if each.name == wanted.module.ROLE)
    prefix = f"{wanted.module.ROLE}_"
    known = table.inputs if wanted.module is speedtest_logger else ()  # others' are of other hosts, of the same group
    found = [one.name for one in known if one.secret and wanted.values.get(one.name.removeprefix(prefix))]
    for kind, items in wanted.desired.items():
        found += [str(item.get("path", kind)) for item in items if isinstance(item, dict) and is_secret(item)]
    return found


def is_secret(item: dict[str, Any]) -> bool:
    """Whether a thing is a secret, or has a password in a text, of a server that it comes from for instance."""
    return bool(item.get("secret")) or has_password(item)


def has_password(value: Any) -> bool:
    """Whether a text, or one in lists and mappings, has a URL with a password."""
    if isinstance(value, (dict, list, tuple)):
        return any(map(has_password, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and bool(CREDENTIALS.search(value))


def desired_of(wanted: Wanted) -> Desired:
    """The lists of host_state as a node can carry them out by itself. Raises BundleError.

    The link to the release keeps the way back: the one to the release before is set with it.
    """
    if found := secrets(wanted):
        raise BundleError(
            f"{', '.join(found)}: a bundle is no secret, so that this cannot be in one; use converge: push"
        )
    if unknown := sorted(set(wanted.desired) - LISTS):
        raise BundleError(f"a node cannot carry out by itself: {', '.join(unknown)}")
    n, lists = wanted.names, wanted.desired
    if "releases" not in lists:
        return lists
    links = [{**item, "previous": n["previous"]} if item["path"] == n["current"] else item for item in lists["links"]]
    made = [{name: item[name] for name in ("path", "digest")} for item in lists["releases"]]
    images = [{**item, "load": image_of(wanted)} if "load" in item else item for item in lists.get("images", [])]
    return {**lists, "links": links, "releases": made, **({"images": images} if images else {})}


def parting(wanted: Wanted) -> tuple[Desired, Desired]:
    """What goes of a node that is taken off: what it has besides the program that takes it off, and that.

    The unit at work stays until it ends, and the serials, so that this bundle takes no later node off.
    """
    lists = desired_of(wanted)
    paths = [path for path in lists["absent_paths"] if path != speedtest_logger.PULL_STATE]
    last = [path for path in paths if ITSELF in path or path == wanted.values["install_dir"]]
    first = [path for path in paths if path not in last]
    units = [name for name in lists["absent_units"] if not name.startswith(ITSELF)]
    return (
        {**lists, "absent_paths": first, "absent_units": units},
        {"absent_paths": last, "absent_units": [f"{ITSELF}.timer"]},
    )


def release_of(wanted: Wanted) -> dict[str, Any]:
    """The file of a node's release as it is served."""
    return as_served(release_file(wanted), wanted.names["wanted"])


def release_file(wanted: Wanted) -> Path:
    """The file of a node's release here."""
    return Path(artifact_of(wanted.names["wanted"], Path(wanted.values["artifact_dir"]))["path"])


def image_of(wanted: Wanted) -> dict[str, Any]:
    """The file of a node's image as it is served. Raises BundleError."""
    file = Path(wanted.values["image_archive"])
    try:
        said = as_served(file, wanted.names["wanted"], "image.tar.gz")
    except OSError as error:
        raise BundleError(
            f"{file}: {error.strerror}; `make image` writes one, or set speedtest_logger_image_source to build or pull"
        ) from error
    if said["bytes"] > MOST_IMAGE:
        raise BundleError(f"{file}: it has {said['bytes']} bytes, {MOST_IMAGE} are the most")
    return said


def as_served(file: Path, version: str, kind: str = "tar.gz") -> dict[str, Any]:
    """What a bundle says of a file: its name where bundles are served, what it holds, and how much. Raises OSError."""
    found = file.stat()
    sha256 = digest_of(file, found.st_mtime_ns)
    return {"file": served_name(version, sha256, kind), "sha256": sha256, "bytes": found.st_size}


@cache
def digest_of(file: Path, _changed: int) -> str:
    """A file's SHA-256, once a run however many nodes fetch it."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def payload(node: Node, serial: int, valid_until: float) -> bytes:
    """What is signed for a node. Raises BundleError."""
    v, version = node.logger.values, node.logger.names["wanted"]
    docker = docker_host.for_bundle(node.docker.values) if node.docker else {}
    if has_password(docker):
        raise BundleError("docker_host_repository_url: a bundle is no secret, so that its password cannot be in one")
    of_docker, of_exporter = ([desired_of(wanted)] if wanted else [] for wanted in (node.docker, node.exporter))
    leaves = is_leaving(node.logger)
    desired, *last = parting(node.logger) if leaves else (desired_of(node.logger),)
    more = {"docker": docker, "before": of_docker, "after": [*of_exporter, *last]}
    said = {
        "format": LEAVING if leaves else FORMAT,
        "node": str(v["node_name"]),
        "serial": serial,
        "valid_until": int(valid_until),
        "version": str(version),
        "settings": f"{v['config_dir']}/logger.env",
        "release": release_of(node.logger),
        "desired": desired,
        **{name: value for name, value in more.items() if value},
    }
    made = payload_of(plain(said))
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


def served_name(version: str, sha256: str, kind: str = "tar.gz") -> str:
    """The name of a release, or of an image, where bundles are served: another content is another file."""
    return f"speedtest-logger-{version}-{sha256[:12]}.{kind}"


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
