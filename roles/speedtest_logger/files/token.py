"""Make a node's token, 256 random bits in hexadecimal, and the SHA-256 of it that its archive is told.

A token whose digest is missing, as a run that was killed leaves one, is kept where it is a whole one.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys


def made(file: str) -> None:
    """The token in a file, and its digest beside it."""
    try:
        with open(file, encoding="ascii") as stream:
            token = stream.read(200).strip()
    except (OSError, ValueError):
        token = ""
    if not re.fullmatch("[0-9a-f]{64}", token):
        token = secrets.token_hex(32)
        written(file, token)
    written(f"{file}.sha256", hashlib.sha256(token.encode()).hexdigest())


def written(file: str, text: str) -> None:
    """A file of root's alone, as a whole."""
    with open(os.open(f"{file}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as stream:
        stream.write(f"{text}\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(f"{file}.new", file)


if __name__ == "__main__":
    made(sys.argv[1])
