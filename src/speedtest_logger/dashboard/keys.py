"""Keys of programs, and links that are shared: both are random text, of which only SHA-256 is kept.

A key is stk_<id of 8 characters>_<secret of 43>, with the secret's 256 bits in base64url. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import domains
from speedtest_logger.dashboard import listed

SCOPES = ("read", "raw", "metrics", "quiet", "annotate", "logs")
KEY = re.compile(r"stk_([A-Za-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)
LETTERS = string.ascii_letters + string.digits
LONGEST_NAME = 64


def sha256(text: str) -> str:
    """What is kept of a key or a token: 256 random bits cannot be tried out, whatever the hash costs."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_key() -> tuple[str, str]:
    """A key's id, and its text."""
    name = "".join(secrets.choice(LETTERS) for _ in range(8))
    return name, f"stk_{name}_{secrets.token_urlsafe(32)}"


def new_token() -> str:
    """What a share's link ends with."""
    return secrets.token_urlsafe(32)


def id_of(text: str) -> str | None:
    """The id in a key's text, None where the text is no key."""
    found = KEY.fullmatch(text)
    return found[1] if found else None


def _sha256_of(entry: dict[str, Any]) -> str:
    value = entry["sha256"]
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise ValueError("sha256: 64 digits and letters from a to f are expected")
    return value


@dataclass(frozen=True)
class Key:
    """A program's key; it ends with the day that is named (`expires`, Unix time, s)."""

    name: str
    id: str
    sha256: str
    scopes: frozenset[str]
    expires: float | None

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Key:
        """The key of an entry. Raises ValueError."""
        listed.only(entry, "name", "id", "sha256", "scopes", "expires")
        name, scopes = listed.text_of(entry, "name", LONGEST_NAME), entry["scopes"]
        if not isinstance(entry["id"], str) or not re.fullmatch("[A-Za-z0-9]{8}", entry["id"], re.ASCII):
            raise ValueError("id: the 8 letters and digits after stk_ are expected")
        if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
            raise ValueError(f"scopes: a list of {', '.join(SCOPES)} is expected")
        expires = listed.expiry_of(entry["expires"])
        return cls(name, entry["id"], _sha256_of(entry), frozenset(scopes), expires)


class Keys:
    """All keys."""

    def __init__(self, keys: list[Key], clock: Callable[[], float] = time.time) -> None:
        self.by_id = {key.id: key for key in keys}
        self.clock = clock

    def find(self, text: str) -> Key | None:
        """The key that a text is, while it has not expired."""
        key = self.by_id.get(id_of(text) or "")
        if key is None or not hmac.compare_digest(sha256(text), key.sha256):
            return None
        return key if key.expires is None or self.clock() < key.expires else None


@dataclass(frozen=True)
class Share:
    """A link to one location's page."""

    location: str
    sha256: str
    expires: float | None

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Share:
        """The share of an entry. Raises ValueError."""
        listed.only(entry, "location", "sha256", "expires")
        if domains.IDENTIFIER.problem(entry["location"]):
            raise ValueError(f"location: {domains.IDENTIFIER.words()} are expected")
        return cls(entry["location"], _sha256_of(entry), listed.expiry_of(entry["expires"]))


class Shares:
    """All links that are shared."""

    def __init__(self, shares: list[Share], clock: Callable[[], float] = time.time) -> None:
        self.by_sha256 = {share.sha256: share for share in shares}
        self.clock = clock

    def find(self, token: str) -> Share | None:
        """The share of a token, while it has not expired. What is looked up is the hash: its time tells nothing."""
        share = self.by_sha256.get(sha256(token)) if TOKEN.fullmatch(token) else None
        return share if share and (share.expires is None or self.clock() < share.expires) else None


def load(file: Path | None) -> Keys:
    """The keys of a file. Raises ConfigError."""
    keys = listed.read(file, Key.read) if file else []
    if file:
        listed.none_twice(file, "the name", (key.name for key in keys))
        listed.none_twice(file, "the id", (key.id for key in keys))
    return Keys(keys)


def load_shares(file: Path | None) -> Shares:
    """The shares of a file. Raises ConfigError."""
    shares = listed.read(file, Share.read) if file else []
    if file:
        listed.none_twice(file, "the sha256", (share.sha256 for share in shares))
    return Shares(shares)
