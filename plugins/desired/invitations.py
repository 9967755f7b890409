"""The command by which an invited machine becomes a node: what plugins/converge/enrol.py does on it."""

from __future__ import annotations

import json
import secrets
import shlex
import tarfile
import time
from pathlib import Path
from typing import Any

from plugins.converge.bundle import file_name, split
from speedtest_logger import invitation
from speedtest_logger.invitation import Invitation

ENROLS = "plugins/converge/enrol.py"
HOUR = 3600
# What it fetches is run only where it is what the command names by its SHA-256: whoever serves it is not believed.
PROGRAM = (
    "import hashlib as h,io,ssl,subprocess as s,sys,tarfile as t,tempfile as f,urllib.request as u; "
    "b=u.urlopen(sys.argv[1],timeout=60,context=ssl._create_unverified_context()).read(int(sys.argv[3])+1); "
    'h.sha256(b).hexdigest()==sys.argv[2] or sys.exit("what came is not the release that was promised: nothing was '
    'run; is there a newer invitation?"); '
    "d=f.TemporaryDirectory(); t.open(fileobj=io.BytesIO(b)).extractall(d.name); "
    'sys.exit(s.call([sys.executable,"-IS",d.name+"/bin/speedtest-converge",*sys.argv[4:]]))'
)


class InvitationError(Exception):
    """A node cannot be invited."""


def open_invitation(hours: float, now: float) -> tuple[str, Invitation]:
    """A new secret, and what the archive host is told of it. `now`: Unix time (s)."""
    secret = secrets.token_hex(32)
    return secret, Invitation(invitation.digest(secret), int(now + hours * HOUR))


def added(current: str | None, new: dict[str, Invitation]) -> str:
    """The archive's file of invitations with new ones, each in the place of the one that its node had."""
    header = "# managed by Ansible: speedtest_archive\n"
    return header + invitation.text_of({**invitation.invited(current or ""), **new})


def release_of(folder: Path, node: str, now: float) -> dict[str, Any]:
    """The release that a node's bundle names, which lies beside it: file, sha256, bytes. Raises InvitationError."""
    again = f"run bundle.yml --limit {node} first"
    try:
        said = json.loads(split((folder / file_name(node)).read_bytes())[1])
        release: dict[str, Any] = said["release"]
        with tarfile.open(folder / release["file"]) as artifact:
            names = artifact.getnames()
    except (OSError, ValueError, LookupError, tarfile.TarError) as error:
        raise InvitationError(f"{node}: there is no bundle of it in {folder} ({error}): {again}") from error
    if said["valid_until"] < now:
        raise InvitationError(f"{node}: its bundle in {folder} has expired: {again}")
    if ENROLS not in names:
        raise InvitationError(
            f"{node}: its release {said['version']} cannot enrol by itself: take a newer one, or enrol.yml"
        )
    return release


def command(node: str, url: str, signers: list[str], release: dict[str, Any], secret: str) -> str:
    """What the owner of the machine types there as root; the invitation is in no argument, which others could see."""
    place = f"{url.rstrip('/')}/{release['file']}"
    words = ["python3", "-W", "ignore", "-c", PROGRAM, place, release["sha256"], str(release["bytes"])]
    words += ["enrol", "--node", node, "--url", url]
    for signer in signers:
        words += ["--signer", " ".join(signer.split()[:2])]
    return f"{invitation.VARIABLE}={secret} {shlex.join(words)}"


def invite(nodes: list[dict[str, Any]], folder: Path, hours: float, current: str | None) -> tuple[list[str], str]:
    """The command of each node, and the archive's file of invitations. Raises InvitationError.

    `nodes`: each with name, url, signers, transport and converge.
    """
    now, commands, new = time.time(), [], {}
    for node in nodes:
        name = str(node["name"])
        if (node["converge"], node["transport"]) != ("pull", "https"):
            raise InvitationError(
                f"{name}: seen speedtest_logger_converge {node['converge']} and speedtest_logger_transport "
                f"{node['transport']}; only a node that pulls and delivers over https can be invited: set both, or use "
                "enrol.yml"
            )
        release = release_of(folder, name, now)
        secret, new[name] = open_invitation(hours, now)
        commands.append(command(name, str(node["url"]), [str(each) for each in node["signers"]], release, secret))
    return commands, added(current, new)
