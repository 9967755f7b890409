"""What a member of a cluster proves who it is with: its key and certificate, and the certificates of all members.

key.pem            made on this host, readable by root only
certificate.pem    self-signed
members.pem        the certificates of all members: who is not in it is not talked to
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from speedtest_logger.errors import UsageError
from speedtest_logger.files import read_bounded

DEFAULT_FOLDER = Path("/etc/speedtest-cluster")
VARIABLE = "SPEEDTEST_CLUSTER_DIR"
FILES = ("key.pem", "certificate.pem", "members.pem")
MOST_BYTES = 4_000_000  # a thousand members


@dataclass(frozen=True)
class Keys:
    """The texts of the three files."""

    key: str = field(repr=False)
    certificate: str
    members: str


def folder() -> Path:
    """Where the files lie on this machine."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)


def read(where: Path | None = None) -> Keys:
    """A member's files. Raises UsageError where this machine is no member, or this account may not read its key."""
    where = where or folder()
    try:
        key, certificate, members = (read_bounded(where / name, MOST_BYTES).decode("ascii") for name in FILES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{where} has no key for the cluster ({why}): this machine has to be in the group speedtest_cluster, and "
            f"root, or a key of your own with {VARIABLE}, is needed"
        ) from error
    return Keys(key, certificate, members)
