"""People and their passwords, of which only scrypt hashes are kept. Standard library only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger.dashboard import listed
from speedtest_logger.errors import ConfigError, UsageError

LONGEST_NAME = 64
SHORTEST, LONGEST = 12, 1024  # characters of a password
FEWEST_DIFFERENT = 5
GUESSED_FIRST = (
    "admin administrator changeme correcthorsebatterystaple dashboard default grafana guest homelab iloveyou letmein "
    "login master monitoring password passw0rd qwerty qwertyuiop raspberry root secret speedtest speedtestdashboard "
    "test user welcome"
)
RUNS = "01234567890123456789 abcdefghijklmnopqrstuvwxyz qwertyuiopasdfghjklzxcvbnm"
COST, BLOCK, PARALLEL = 2**15, 8, 3  # scrypt's n, r, p: 32 MiB and a tenth of a second (OWASP's password storage)
MOST_MEMORY = 256 * 2**20
MOST_PARALLEL = 16


@dataclass(frozen=True)
class Hash:
    """A password's hash: scrypt$<n>$<r>$<p>$<salt>$<hash>, the last two in base64."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def read(cls, text: str) -> Hash:
        """The hash that a text is. Raises ValueError where it is none, or one that is too easily tried out."""
        expected = "password: what `speedtest-dashboard hash-password` printed is expected, scrypt$..."
        kind, *parts = text.split("$")
        if kind != "scrypt" or len(parts) != 5 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
            raise ValueError(expected)
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in parts[3:])
        except binascii.Error as error:
            raise ValueError(expected) from error
        if any(len(part) > 9 for part in parts[:3]) or len(salt) > 64 or len(digest) > 64:
            raise ValueError(expected)
        n, r, p = map(int, parts[:3])
        if n < COST or n & (n - 1) or r < BLOCK or p < 1 or len(salt) < 16 or len(digest) < 32:
            raise ValueError(
                f"password: this hash is weak: n={COST} and r={BLOCK} are the least, with 16 bytes of salt and 32 of "
                "hash; make it again with `speedtest-dashboard hash-password`"
            )
        if 128 * n * r > MOST_MEMORY or p > MOST_PARALLEL:
            raise ValueError(f"password: this hash costs more than {MOST_MEMORY >> 20} MiB, or p={MOST_PARALLEL}")
        return cls(n, r, p, salt, digest)

    @classmethod
    def of(cls, password: str, cost: tuple[int, int, int] = (COST, BLOCK, PARALLEL)) -> Hash:
        """A new hash; the cost is scrypt's n, r and p."""
        salt = secrets.token_bytes(16)
        return cls(*cost, salt, _scrypt(password, salt, cost, 32))

    def __str__(self) -> str:
        """The text that it is read from."""
        salt, digest = (base64.b64encode(part).decode() for part in (self.salt, self.digest))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${digest}"

    def is_of(self, password: str) -> bool:
        """Whether it is a password's; takes the same time for any."""
        found = _scrypt(password, self.salt, (self.n, self.r, self.p), len(self.digest))
        return hmac.compare_digest(found, self.digest)


def hash_of(password: str) -> Hash:
    """A new hash. Raises UsageError for a password that is guessed soon."""
    if said := weakness(password):
        raise UsageError(said)
    return Hash.of(password)


def weakness(password: str) -> str | None:
    """Why a password is none, in words; None where it can be taken."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"a password has {SHORTEST} characters at least and {LONGEST} at most; some words together are easiest"
    plain = _normal(password).lower()
    letters = "".join(c for c in plain if c.isalpha()) or plain
    if {letters, plain} & set(GUESSED_FIRST.split()) or len(set(plain)) < FEWEST_DIFFERENT or _is_run(plain):
        return "this is one of the passwords that are guessed first: choose another"
    return None


def _is_run(text: str) -> bool:
    """Whether it is keys in a row."""
    return any(text in run or text[::-1] in run for run in RUNS.split())


def _normal(password: str) -> str:
    """The same text, however a keyboard composes its letters."""
    return unicodedata.normalize("NFC", password)


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int], length: int) -> bytes:
    n, r, p = cost
    secret = _normal(password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=2 * MOST_MEMORY, dklen=length)


@dataclass(frozen=True)
class User:
    """Somebody who may log in."""

    name: str
    password: Hash

    @classmethod
    def read(cls, entry: dict[str, Any]) -> User:
        """The user of an entry. Raises ValueError."""
        listed.only(entry, "name", "password")
        return cls(listed.text_of(entry, "name", LONGEST_NAME), Hash.read(listed.text_of(entry, "password", 400)))

    @property
    def mark(self) -> str:
        """What changes with the password: sessions that were begun with another one end."""
        return hashlib.sha256(f"{self.name}\0{self.password}".encode()).hexdigest()


class Users:
    """Everybody who may log in; nobody has to where there are none."""

    def __init__(self, users: list[User]) -> None:
        self.by_name = {user.name: user for user in users}
        costs = [(user.password.n, user.password.r, user.password.p) for user in users]
        salt, digest = secrets.token_bytes(16), secrets.token_bytes(32)
        self._nobodys = Hash(*max(costs, default=(COST, BLOCK, PARALLEL)), salt, digest)

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return bool(self.by_name)

    def get(self, name: str) -> User | None:
        """A user by name."""
        return self.by_name.get(name)

    def authenticate(self, name: str, password: str) -> User | None:
        """The user of this name and password; who does not exist takes as long as who does."""
        user = self.by_name.get(name)
        right = (user.password if user else self._nobodys).is_of(password[:LONGEST])
        return user if right else None


def load(file: Path | None) -> Users:
    """The users of a file. Raises ConfigError."""
    if file is None:
        return Users([])
    users = listed.read(file, User.read)
    if not users:
        raise ConfigError([f"{file} names nobody: without users, leave SPEEDTEST_DASHBOARD_USERS_FILE unset"])
    listed.none_twice(file, "the name", (user.name for user in users))
    return Users(users)
