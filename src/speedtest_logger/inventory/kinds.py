"""Domains of what only an inventory has: directories of a host, calendars, images, repositories, mappings."""

from __future__ import annotations

import base64
import binascii
import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from speedtest_logger import calendars
from speedtest_logger.alerts import rules
from speedtest_logger.domains import ABSOLUTE, LONGEST_TEXT, STORE, URL, AnyOf, Domain, ListOf, Text, Whole

# Directories of the system, in which and above which nothing of ours may lie: they would change hands, or be removed.
_SYSTEM = """bin boot dev home lib lib32 lib64 libx32 lost+found proc root run sbin sys tmp usr var/backups var/local
var/lock var/mail var/run var/spool var/tmp"""
_ETC = """alternatives apparmor.d apt cron.d cron.daily cron.hourly cron.monthly cron.weekly dbus-1 default docker dpkg
grub.d init.d iptables kernel ld.so.conf.d logrotate.d modprobe.d modules-load.d netplan network NetworkManager nginx
pam.d polkit-1 profile.d rsyslog.d security skel ssh ssl sudoers.d sysctl.d systemd tmpfiles.d udev wireguard"""
_VAR = """lib/apt lib/containerd lib/dbus lib/docker lib/dpkg lib/misc lib/nginx lib/pam lib/polkit-1 lib/private
lib/python lib/sudo lib/systemd lib/ucf log/apt log/journal log/nginx log/private cache/apt cache/debconf
cache/ldconfig cache/man cache/private"""
SYSTEM = (*_SYSTEM.split(), *(f"etc/{name}" for name in _ETC.split()), *(f"var/{name}" for name in _VAR.split()))
# Directories of the system in which ours may lie.
PARENTS = ("etc", "media", "mnt", "opt", "srv", "var", "var/cache", "var/lib", "var/log", "var/opt")


def is_system(path: str) -> bool:
    """Whether a path is a directory of the system's, lies in one, or has one below it."""
    parts = path.strip("/")
    return not parts or parts in PARENTS or any(f"{parts}/".startswith(f"{name}/") for name in SYSTEM)


class Calendar(Text):
    """A calendar expression of systemd.time(7)."""

    def __init__(self) -> None:
        super().__init__(
            "a calendar expression such as '*-*-* 04:40:00 UTC' or 'Mon..Fri 03:00' (systemd.time(7))",
            accepts=calendars.is_calendar,
        )


class Directory(Text):
    """A directory of ours on a host: root gives it away, writes into it and removes it with all that it holds."""

    def __init__(self) -> None:
        super().__init__(
            "a directory of its own (absolute, in letters, digits and ._-, not one of the system's such as /etc, "
            "/var/lib or anything in /usr, /home or /tmp)",
            ABSOLUTE,
            lambda path: not is_system(path),
        )


class Lines(Text):
    """Text of several lines."""

    def problem(self, value: object) -> str | None:
        if isinstance(value, str) and len(value) <= 16 * LONGEST_TEXT:
            clean = all(line.isprintable() for line in value.replace("\r\n", "\n").split("\n"))
            return None if clean and self.holds(value) else f"{self.words()} is expected"
        return f"{self.words()} is expected"


class Table(Domain):
    """A mapping whose names lie in one domain and whose values in another."""

    kind = "dict"

    def __init__(self, words: str, key: Domain, value: Domain) -> None:
        super().__init__(words)
        self.key, self.value = key, value

    def problem(self, value: object) -> str | None:
        if not isinstance(value, Mapping):
            return f"{self.words()} is expected"
        for name, item in value.items():
            if self.key.problem(name):
                return f"{self.words()} is expected; {str(name)!r:.60} is no such name"
            if said := self.value.problem(item):
                return f"{name}: {said}"
        return None


class Entry(Domain):
    """A mapping with given names, some of which may be left out."""

    kind = "dict"

    def __init__(self, must: Mapping[str, Domain], may: Mapping[str, Domain] | None = None) -> None:
        optional = [f"{name} (optional)" for name in may or ()]
        super().__init__(f"a mapping with {', '.join([*must, *optional])}")
        self.must, self.may = dict(must), dict(may or {})

    def problem(self, value: object) -> str | None:
        if not isinstance(value, Mapping):
            return f"{self.words()} is expected"
        known = {**self.must, **self.may}
        for name in self.must:
            if name not in value:
                return f"{self.words()} is expected; {name} is missing"
        for name, item in value.items():
            if name not in known:
                return f"{self.words()} is expected; {str(name)!r:.60} is none of them"
            if said := known[name].problem(item):
                return f"{name}: {said}"
        return None


class Entries(Domain):
    """A list of mappings that hold secrets, which no words show. `read` is the program's own, and raises ValueError.

    `unique`: names whose values are given once.
    """

    kind = "list"

    def __init__(self, words: str, read: Callable[[dict[str, Any]], object], *unique: str) -> None:
        super().__init__(f"a list, each item {words}")
        self.read, self.unique = read, unique

    def problem(self, value: object) -> str | None:
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, Mapping) for item in value):
            return f"{self.words()} is expected"
        for place, item in enumerate(value, start=1):
            try:
                self.read(as_written(item))
            except ValueError as error:
                return f"item {place}: {error}"
        for name in self.unique:
            given = [item[name] for item in value]
            if len(set(given)) < len(given):
                return f"two items have the same {name}: give each one of its own"
        return None

    def spec(self) -> dict[str, str]:
        return {"type": "list", "elements": "dict"}


def as_written(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as a JSON file has it: a day that has no quotes is a date to YAML."""
    made = {}
    for name, value in entry.items():
        plain = [*value] if isinstance(value, (list, tuple)) else value
        made[str(name)] = plain.isoformat() if isinstance(plain, datetime.date) else plain
    return made


def plain(value: Any) -> Any:
    """A value as JSON has it, however deep; Ansible's own kinds of text and numbers are those of Python."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


class AlertRules(Domain):
    """Rules of alerts with their limits, as `alerts.rules` has them."""

    kind = "dict"

    def problem(self, value: object) -> str | None:
        return "; ".join(rules.problems(value)) or None


class Download(Entry):
    """Where an engine's program comes from; without `program` the URL's last part is the program."""

    def __init__(self) -> None:
        super().__init__({"url": URL, "sha256": SHA256}, {"program": FILE_NAME})

    def problem(self, value: object) -> str | None:
        said = super().problem(value)
        if said is None and isinstance(value, Mapping) and FILE_NAME.problem(str(value["url"]).rsplit("/", 1)[-1]):
            return "url: a URL that ends with a file's name is expected"
        return said


class Mapped(Domain):
    """A mapping of what JSON can hold: mappings, lists, printable text, finite numbers."""

    kind = "dict"

    def problem(self, value: object) -> str | None:
        good = isinstance(value, Mapping) and _is_plain(value)
        return None if good else f"{self.words()} is expected, of finite numbers, and text without control characters"


class Listed(Mapped):
    """A list of what JSON can hold."""

    kind = "list"

    def problem(self, value: object) -> str | None:
        good = isinstance(value, list) and _is_plain(value)
        return None if good else f"{self.words()} is expected, of finite numbers, and text without control characters"


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        parts: Iterable[object] = [*value, *value.values()]
    elif isinstance(value, (list, tuple)):
        parts = value
    elif isinstance(value, str):
        return value.isprintable()
    else:
        return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return all(_is_plain(part) for part in parts)


def is_memory(text: str) -> bool:
    """Whether a text such as 256m is a size of memory from 32 MiB to 1 TiB."""
    size: int = int(text[:-1]) * 1024 ** (1 + "kmg".index(text[-1]))
    return 32 * 1024**2 <= size <= 1024**4


def is_public_key(text: str) -> bool:
    """Whether a line is an ssh public key: its kind, its base64, which begins with the kind, perhaps a comment."""
    kind, data, *_ = text.split()
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")] == kind.encode()


_REFERENCE = r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*"
_TAG = r":(?!latest($|@))[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = "@sha256:[0-9a-f]{64}"
_KIND = r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
_SFTP = r"sftp:(//)?([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_\[][A-Za-z0-9._:\[\]-]*[:/][!#-&(-;=?-_a-z~]+"
_REMOTE = r"(s3:|rest:|b2:|azure:|gs:|swift:|rclone:)[A-Za-z0-9\[][!#-&(-;=?-_a-z~]*"

SHA256 = Text("a SHA-256 in hexadecimal, 64 characters of 0-9 and a-f,", "[0-9a-f]{64}")
FILE_NAME = Text("a file's name without /", r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
VERSION = Text("an explicit version such as 1.2.3", r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")
SIZE = Text("a size such as 500MB or 20GB", "[1-9][0-9]{0,8}(MB|GB|TB)")
MEMORY = Text("a size of memory such as 256m, from 32m to 1024g,", "[1-9][0-9]{0,11}[kmg]", is_memory)
IMAGE = Text(
    "an image by its digest, such as registry.example.org/speedtest-logger@sha256:…,", f"{_REFERENCE}({_TAG})?{_DIGEST}"
)
BASE_IMAGE = Text(
    "an image with its tag or digest, such as debian:trixie-slim, not latest,",
    f"{_REFERENCE}(({_TAG})({_DIGEST})?|{_DIGEST})",
)
CONTROL_PATH = Text("an absolute path on the control machine", r"/.*", lambda path: ".." not in path.split("/"))
HOST_KEY = Text("a public host key such as 'ssh-ed25519 AAAA…'", rf"({_KIND}) [A-Za-z0-9+/=]+( .*)?", is_public_key)
SIGNER = Text("a public key such as 'ssh-ed25519 AAAA…'", rf"({_KIND}) [A-Za-z0-9+/=]+( .*)?", is_public_key)
IDENTITY = Text(
    "a public key such as 'ssh-ed25519 AAAA…', or a SHA-256 of 64 characters of 0-9 and a-f,",
    r"[0-9a-f]{64}|ssh-ed25519 [A-Za-z0-9+/=]+( [^\r\n]*)?",
    lambda text: not text.startswith("ssh-") or is_public_key(text),
)
SERVED = AnyOf(URL, Text("file:// and a directory's path", rf"file://{ABSOLUTE}"))
CERTIFICATES = Lines(
    "certificates in PEM that begin with -----BEGIN CERTIFICATE-----",
    r"\s*(-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----\s*)+",
)
ARMOUR = Lines(
    "a public key block that begins with -----BEGIN PGP PUBLIC KEY BLOCK-----",
    r"(?s)\s*-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n.*-----END PGP PUBLIC KEY BLOCK-----\s*",
)
SUITE = Text("a name such as trixie", "[a-z0-9][a-z0-9.+/_-]{0,63}")
PIN = Text("a version for apt's pin, such as 5:28.*,", r"[0-9A-Za-z*][0-9A-Za-z.:+~*-]{0,63}")
LOGIN = Text("the name of an account", r"[A-Za-z_][A-Za-z0-9._-]{0,31}")
MEMBERS = ListOf(LOGIN, most=100, unique=True)
OPTION = Text("an option such as sftp.command=…", r"[a-z0-9]+\.[a-z0-9.-]+=.*")
VARIABLE = Text(
    "the name of a variable that is not ours",
    r"[A-Za-z_][A-Za-z0-9_]{0,63}",
    lambda name: not re.match(r"(LD_|PYTHON|SPEEDTEST_|PATH$|IFS$|ENV$|RESTIC_(REPOSITORY|PASSWORD))", name),
)
REPOSITORY = AnyOf(Directory(), Text("sftp:USER@HOST:/PATH, s3:https://HOST/BUCKET or rest:URL", f"{_SFTP}|{_REMOTE}"))
REGION = Text("a region such as eu-central-1", r"[a-z0-9][a-z0-9-]{0,63}")
PLACE = AnyOf(Directory(), STORE)
BATCH = AnyOf(Whole(1, 10_000), Text("a share such as 20%", "([1-9][0-9]?|100)%"))
BATCHES = AnyOf(BATCH, ListOf(BATCH, least=1, most=100))
DAEMON = Mapped("a mapping of dockerd's options")
INTERNAL = Mapped("a mapping")
SECRET = Text("text without control characters")
GUESSED = (
    *("password", "postgres", "speedtest", "changeme", "grafana", "secret", "reader", "admin", "12345"),
    *("minio", "default", "letmein", "qwerty", "raspberry", "dev"),
)


def is_guessed(text: str) -> bool:
    """Whether a password is one that everybody tries first: little more than such a word."""
    plain = text.lower()
    for word in GUESSED:
        plain = plain.replace(word, "")
    return len(plain) < 8
