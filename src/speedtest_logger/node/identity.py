"""identity: what this node proves itself by to the archive, made where there is none; only its public half is told."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import tempfile
from pathlib import Path

from speedtest_logger import files
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection import https

OWNERS_ONLY = 0o600
SECONDS = 30
WAY_OUT = "remove that file, and another key is made, which the archive must be told of"


class IdentityError(SpeedtestError):
    """There is no identity, and none can be made."""


def identity(settings: Settings) -> str:
    """What the archive is told of this node: its public key, or with https the SHA-256 of its token.

    Raises IdentityError, DeliveryError for a token that is none, OSError where nothing can be written.
    """
    own = files.in_mount(settings.token_file if settings.transport == "https" else settings.key_file)
    own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if files.is_regular(own):
        keep_to_owner(own)
    if settings.transport == "https":
        if not files.is_regular(own):
            files.write_durably(own, secrets.token_hex(32).encode() + b"\n", mode=OWNERS_ONLY)
        return hashlib.sha256(https.token(settings).encode()).hexdigest()
    if not files.is_regular(own):
        make_key(own, settings.node)
    return f"{public_half(own)} {settings.node}"


def keep_to_owner(file: Path) -> None:
    """A key of this account's own is nobody else's: a mount with an fsGroup gives its group what it finds."""
    found = file.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        try:
            file.chmod(OWNERS_ONLY)
        except OSError as error:
            raise IdentityError(
                f"{file} is of this account, others may read it (mode {found.st_mode & 0o777:04o}), and it cannot be "
                f"changed ({error.strerror}): ssh takes no such key. Mount it as root's, with fsGroup and mode 0440"
            ) from error


def make_key(file: Path, node: str) -> None:
    """A new key pair's private half; it is there as a whole, or not at all."""
    with tempfile.TemporaryDirectory(prefix=".identity-", dir=file.parent) as folder:
        made = Path(folder) / "key"
        keygen("-q", "-t", "ed25519", "-N", "", "-C", node, "-f", str(made))
        files.write_durably(file, files.read_bounded(made), mode=OWNERS_ONLY)


def public_half(file: Path) -> str:
    """The public half of a private key, less its comment."""
    said = keygen("-y", "-P", "", "-f", str(file))
    return " ".join(said.split()[:2])


def keygen(*words: str) -> str:
    """What ssh-keygen prints. Raises IdentityError."""
    try:
        done = subprocess.run(
            ["ssh-keygen", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IdentityError(f"ssh-keygen cannot be run ({error}): install openssh-client") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip("@ ")), f"exit code {done.returncode}")
        raise IdentityError(f"{words[-1]}: ssh-keygen says: {said[:200].strip('@ ')}; {WAY_OUT}")
    return done.stdout
