"""A bundle: what one node shall be, behind the signature of the fleet's owner.

    -----BEGIN SSH SIGNATURE-----        what `ssh-keygen -Y sign -n speedtest-bundle` makes of all that follows it
    …
    -----END SSH SIGNATURE-----
    {"format": 1, "node": NAME, "serial": N, "valid_until": Unix time (s), "version": TEXT, "settings": PATH,
     "release": {"file": NAME, "sha256": TEXT, "bytes": N}, "desired": the lists of host_state,
     "docker": {"packages": {DISTRIBUTION: [NAME]}, "files": {DISTRIBUTION: files}, "source": TEXT},
     "before": [lists], "after": [lists]}

A bundle of format 2 takes the node off: what releases before this one know is to take off the program that does it,
half way.

`docker` is where a Docker comes from, and `before` and `after` are what other roles want on the node, before and after
`desired`, the logger's: a bundle without them is one of a node that has none of it.

Nothing of it is believed before its signature is verified.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

FORMAT, LEAVING = 1, 2  # of a node that stays one, and of one that its bundle takes off
NAMESPACE = "speedtest-bundle"
SIGNER = "fleet"  # the one name in allowed_signers
MOST_BYTES = 1_000_000
MOST_ARTIFACT = 64_000_000
MOST_IMAGE = 2_000_000_000
BEGIN, END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
MOST_SIGNATURE = 4_000
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Lists of host_state that a node carries out by itself.
LISTS = frozenset(
    (
        *("packages", "accounts", "directories", "downloads", "releases", "files", "attributes", "links", "units"),
        *("images", "projects", "marks", "folders", "absent_paths", "absent_units", "absent_accounts"),
        *("absent_readers", "absent_projects", "absent_images"),
    )
)


class RefusedError(Exception):
    """A bundle that is not applied: the node stays as it is."""


@dataclass(frozen=True)
class Bundle:
    """What a verified bundle says."""

    node: str
    serial: int
    valid_until: float
    version: str
    settings: str
    release: dict[str, Any]
    desired: dict[str, list[Any]]
    docker: dict[str, Any] = field(default_factory=dict)
    before: list[dict[str, list[Any]]] = field(default_factory=list)
    after: list[dict[str, list[Any]]] = field(default_factory=list)
    leaves: bool = False

    def wants(self) -> list[dict[str, list[Any]]]:
        """The lists of each role, in the order in which they are carried out."""
        return [*self.before, self.desired, *self.after]


def file_name(node: str) -> str:
    """The name of a node's bundle where bundles are served."""
    return f"{node}.bundle"


def allowed_signers(keys: list[str]) -> str:
    """The trust anchor: the public keys of those who may sign, for this one purpose (ssh-keygen(1))."""
    lines = [f'{SIGNER} namespaces="{NAMESPACE}" {" ".join(key.split()[:2])}\n' for key in keys]
    return "".join(["# managed by Ansible: speedtest_logger\n", *lines])


def payload_of(said: dict[str, Any]) -> bytes:
    """What is signed."""
    return json.dumps({"format": FORMAT, **said}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def split(content: bytes) -> tuple[bytes, bytes]:
    """Signature and payload. Raises RefusedError."""
    if len(content) > MOST_BYTES:
        raise RefusedError(f"it has more than {MOST_BYTES} bytes")
    end = content.find(END, 0, MOST_SIGNATURE)
    if not content.startswith(BEGIN) or end < 0:
        raise RefusedError("it does not begin with a signature")
    return content[: end + len(END)], content[end + len(END) :]


def verify(signature: bytes, payload: bytes, signers: Path) -> None:
    """Whether one of the signers has signed this for this purpose. Raises RefusedError."""
    with tempfile.NamedTemporaryFile(prefix="speedtest-signature-") as file:
        file.write(signature)
        file.flush()
        argv = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", SIGNER, "-n", NAMESPACE, "-s", file.name]
        try:
            done = subprocess.run(argv, input=payload, capture_output=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RefusedError(f"its signature cannot be verified: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().rpartition("\n")[2]
        raise RefusedError(f"its signature is not one of the fleet's owner: {said}")


def opened(content: bytes, signers: Path) -> Bundle:
    """What a bundle says, once its signature is verified. Raises RefusedError."""
    signature, payload = split(content)
    verify(signature, payload, signers)
    try:
        said: Any = json.loads(payload)
        if said["format"] not in (FORMAT, LEAVING):
            raise RefusedError(f"it is of format {said['format']}, this release knows {FORMAT} and {LEAVING}")
        known = {**said, "leaves": said["format"] == LEAVING}
        bundle = Bundle(**{one.name: known[one.name] for one in fields(Bundle) if needed(one) or one.name in known})
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise RefusedError(f"it is signed, but says nothing that this release understands: {error}") from error
    check_form(bundle)
    return bundle


def needed(one: Field[Any]) -> bool:
    """Whether every bundle says this."""
    return one.default is MISSING and one.default_factory is MISSING


def check_form(bundle: Bundle) -> None:
    """Raise RefusedError where a signed bundle is of another form than one that is carried out."""
    release, docker = bundle.release, bundle.docker
    right = (
        all(isinstance(text, str) for text in (bundle.node, bundle.version, bundle.settings)),
        type(bundle.serial) is int,
        type(bundle.valid_until) in (int, float),
        isinstance(release, dict) and FILE_NAME.fullmatch(str(release.get("file"))),
        isinstance(release, dict) and SHA256.fullmatch(str(release.get("sha256"))),
        isinstance(release, dict) and type(release.get("bytes")) is int and 0 < release["bytes"] <= MOST_ARTIFACT,
        isinstance(docker, dict) and (not docker or are_of_docker(docker)),
        all(isinstance(wanted, list) for wanted in (bundle.before, bundle.after)),
    )
    if not all(right) or not all(are_lists(wanted) for wanted in bundle.wants()):
        raise RefusedError("it is signed, but is not of the form of a bundle")
    if unknown := sorted({name for wanted in bundle.wants() for name in wanted} - LISTS):
        raise RefusedError(f"it wants what this release cannot carry out by itself: {', '.join(unknown)}")


def are_of_docker(docker: dict[str, Any]) -> bool:
    """Whether a Docker comes from somewhere, for each distribution."""
    places = [docker.get(name) for name in ("packages", "files")]
    return set(docker) == {"packages", "files", "source"} and all(isinstance(place, dict) for place in places)


def are_lists(wanted: Any) -> bool:
    """Whether something is lists by their names."""
    return isinstance(wanted, dict) and all(isinstance(items, list) for items in wanted.values())


def check_turn(bundle: Bundle, node: str, accepted: int, now: float) -> None:
    """Raise RefusedError where a bundle is another node's, older than one that was accepted, or no longer valid."""
    if bundle.node != node:
        raise RefusedError(f"it is for {bundle.node!r}, this node is {node!r}")
    if bundle.serial < accepted:
        raise RefusedError(f"its serial {bundle.serial} is older than {accepted}, which was accepted before")
    if now > bundle.valid_until:
        raise RefusedError(f"it was valid until {bundle.valid_until:.0f}, and it is {now:.0f} by this node's clock")
