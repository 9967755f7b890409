"""A machine that nobody can reach becomes a node, once, by an invitation.

It believes the keys that stand in the command that its owner typed, and nothing else: the bundle that they signed says
which archive it is of and whom it trusts about it. What proves the node is made here; of its token the archive is told
the SHA-256, and its private key goes nowhere.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from plugins.converge import bundle, fetch, state
from plugins.converge.bundle import Bundle, RefusedError
from speedtest_logger import env_file, invitation
from speedtest_logger.errors import ConfigError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.node import config, enrolment
from speedtest_logger.node.config import Settings

BUNDLE_SECONDS = 120
MOST_BYTES = 10_000  # of pull.json
PULL = "pull.json"
SIGNERS = "allowed_signers"


def enrolled(name: str, url: str, signers: list[str], secret: str, places: tuple[Path, Path]) -> None:
    """The archive takes this machine as the node `name`, which looks for its bundles at `url` from now on.

    `signers`: the public keys that are believed; `secret`: the invitation; `places`: the folders of what it is told
    and of what it remembers. Run again, it goes on where it was. Raises RefusedError, UnreachableError, SpeedtestError,
    OSError; until the archive has said yes nothing but the node's own key and token is on the machine.
    """
    configuration, remembered = places
    check_free(configuration / PULL, name)
    with tempfile.TemporaryDirectory(prefix="speedtest-enrol-") as scratch:
        believed = Path(scratch) / SIGNERS
        believed.write_text(bundle.allowed_signers(signers), encoding="utf-8")
        content = fetch.fetched(url, bundle.file_name(name), bundle.MOST_BYTES, BUNDLE_SECONDS)
        first = bundle.opened(content, believed)
        bundle.check_turn(first, name, state.read(remembered)["accepted"], time.time())
        introduce(settings_of(first, Path(scratch)), secret)
    for folder in places:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_durably(configuration / SIGNERS, bundle.allowed_signers(signers).encode(), 0o644)
    write_durably(configuration / PULL, f"{json.dumps({'node': name, 'url': url}, indent=2)}\n".encode(), 0o644)


def check_free(file: Path, name: str) -> None:
    """Raise RefusedError where this machine is another node already."""
    try:
        there = json.loads(read_bounded(file, MOST_BYTES))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{file} cannot be read: {error}") from error
    node = there.get("node") if isinstance(there, dict) else None
    if node != name:
        raise RefusedError(f"{file}: this machine is node {node!r} already, not {name!r}: take that off first")


def settings_of(first: Bundle, scratch: Path) -> Settings:
    """The node's settings as its bundle has them, with whom it trusts. Raises RefusedError."""
    texts = {str(item["path"]): str(item["content"]) for item in first.desired.get("files", []) if "content" in item}
    variables, authorities = scratch / "logger.env", scratch / "archive-ca.pem"
    variables.write_text(texts.get(first.settings, ""), encoding="utf-8")
    try:
        found = config.load(env_file.read(variables))
    except ConfigError as error:
        raise RefusedError(f"its bundle has no settings that this release understands: {error}") from error
    if found.node != first.node or found.transport != "https" or not found.archive_host:
        raise RefusedError("by its bundle it does not deliver over https: only such a node can be invited")
    if not found.ca_file:
        return found
    authorities.write_text(texts.get(str(found.ca_file), ""), encoding="utf-8")
    return replace(found, ca_file=authorities)


def introduce(settings: Settings, secret: str) -> None:
    """The archive knows the node's token, from before or by the invitation. Raises RefusedError, SpeedtestError.

    An answer may be lost after the archive has written it down: then it is known when this is run again.
    """
    if enrolment.is_known(settings):
        return
    if not invitation.SECRET.fullmatch(secret):
        raise RefusedError(f"{invitation.VARIABLE} holds no invitation: type the whole command of invite.yml")
    if why := enrolment.enrol(settings, secret, enrolment.proofs(settings)):
        raise RefusedError(why)
    if not enrolment.is_known(settings):
        raise RefusedError("the archive has taken the invitation, and does not know the token: invite this node again")
