"""Domains: which values an input may have, said once, for the node's settings and for the inventory.

A domain names what is wrong with a value (`problem`), says what is expected (`words`, for people), is an option of
Ansible's argument_specs (`spec`), and reads a setting's text (`parse`). What only an inventory has is in
inventory/kinds.py. Standard library only: nodes load this every few minutes.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedtest_logger import record, schedule

LONGEST_TEXT = 4096
ABSOLUTE = r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+"


class Domain:
    """Any value; each kind of domain says more."""

    kind = "raw"

    def __init__(self, words: str = "a value") -> None:
        self._words = words

    def words(self) -> str:
        """What is expected, in words."""
        return self._words

    def problem(self, value: object) -> str | None:
        """What is wrong with a value as YAML has it, or None."""
        return None if self.holds(value) else f"{self.words()} is expected"

    def holds(self, value: object) -> bool:
        """Whether the value lies inside; kinds whose refusals say more than `words` override `problem` instead."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """The option in argument_specs."""
        return {"type": self.kind}

    def parse(self, text: str) -> Any:
        """The program's value of a setting's text. Raises ValueError in the same words as `problem`."""
        value = self.of_text(text)
        if said := self.problem(value):
            raise ValueError(said)
        return value

    def of_text(self, text: str) -> Any:
        """The value that YAML would have for a setting's text; a text that stands for none is left as it is."""
        return text


class Text(Domain):
    """Text in printable characters; `pattern` has to match all of it, `accepts` may look further."""

    kind = "str"

    def __init__(self, words: str, pattern: str = ".+", accepts: Callable[[str], bool] = lambda _: True) -> None:
        super().__init__(words)
        self.pattern = pattern  # compiled where it is used: a start needs few of them
        self.accepts = accepts

    def holds(self, value: object) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(self.pattern, value)) and self.accepts(value)

    def problem(self, value: object) -> str | None:
        if isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                return f"{self.words()} is expected, of {LONGEST_TEXT} characters at most"
            if not value.isprintable():
                return f"{self.words()} is expected, without control characters"
        return super().problem(value)


class OrEmpty(Domain):
    """A domain, or the empty text for none."""

    kind = "str"

    def __init__(self, domain: Domain) -> None:
        super().__init__(f"{domain.words()}, or empty")
        self.domain = domain

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, str) and not value else self.domain.problem(value)

    def parse(self, text: str) -> Any:
        return self.domain.parse(text) if text else text


class Choice(Domain):
    """One word of a closed list."""

    kind = "str"

    def __init__(self, *choices: str) -> None:
        super().__init__(f"one of {', '.join(choices)}")
        self.choices = choices

    def holds(self, value: object) -> bool:
        return isinstance(value, str) and value in self.choices

    def spec(self) -> dict[str, Any]:
        return {"type": "str", "choices": list(self.choices)}


class Boolean(Domain):
    """True or false; in an inventory not as text, which Jinja takes for true whatever it says."""

    kind = "bool"

    def __init__(self) -> None:
        super().__init__("true or false")

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, bool) else _refusal(self, value)

    def of_text(self, text: str) -> Any:
        return {"true": True, "false": False}.get(text.lower(), text)


class Whole(Domain):
    """A whole number with both ends; `texts` for those that Ansible takes as text too."""

    kind = "int"

    def __init__(self, least: int, most: int, *, texts: bool = False) -> None:
        super().__init__(f"a whole number from {least} to {most}")
        self.least, self.most, self.texts = least, most, texts

    def problem(self, value: object) -> str | None:
        number = self.of_text(value) if self.texts and isinstance(value, str) else value
        if isinstance(number, int) and not isinstance(number, bool) and self.least <= number <= self.most:
            return None
        return _refusal(self, value)

    def of_text(self, text: str) -> Any:
        return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


class Number(Domain):
    """A finite number with both ends."""

    kind = "float"

    def __init__(self, least: float, most: float) -> None:
        super().__init__(f"a number from {least:.15g} to {most:.15g}")
        self.least, self.most = least, most

    def problem(self, value: object) -> str | None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and math.isfinite(value) and self.least <= value <= self.most:  # type: ignore[arg-type, operator]  # a number
            return None
        return _refusal(self, value)

    def of_text(self, text: str) -> Any:
        return float(text) if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?(e[+-]?[0-9]{1,3})?", text) else text


def _refusal(domain: Domain, value: object) -> str:
    """What is expected, and that text is none of it where the same without quotes would be."""
    quoted = isinstance(value, str) and not isinstance(domain.of_text(value), str)
    return f"{domain.words()} is expected" + (", without quotes: this is text" if quoted else "")


class Interval(Domain):
    """A time such as 15min that divides a day; a setting's text may also be its seconds. The value read: seconds."""

    kind = "str"

    def __init__(self) -> None:
        super().__init__("a time that divides a day, from 1min to 1d, such as 15min, 1h or 2h 24min")

    def problem(self, value: object) -> str | None:
        if not isinstance(value, str):
            return f"{self.words()} is expected"
        try:
            if not re.fullmatch("[0-9a-z ]{1,40}", value):
                raise ValueError(f"{value!r:.60} is not a time: write it like 90s, 15min, 1h or 2h 24min")
            schedule.check_interval(schedule.parse_duration(value))
        except ValueError as error:
            return str(error)
        return None

    def parse(self, text: str) -> int:
        """Seconds."""
        text = f"{text}s" if re.fullmatch("[0-9]{1,18}", text) else text
        super().parse(text)
        return schedule.parse_duration(text)


class ListOf(Domain):
    """A list, each of whose items lies in a domain. The value read of a text: a tuple of its shell words."""

    kind = "list"

    def __init__(self, item: Domain, *, least: int = 0, most: int = 1000, unique: bool = False) -> None:
        count = f"at least {least}" if least else ""
        each = ", none twice" if unique else ""
        super().__init__(f"a list{' of ' + count if count else ''}, each item {item.words()}{each}")
        self.item, self.least, self.most, self.unique = item, least, most, unique

    def problem(self, value: object) -> str | None:
        if not isinstance(value, (list, tuple)):
            return f"{self.words()} is expected"
        if len(value) < self.least:
            return f"name at least {self.least}: {self.item.words()}"
        if len(value) > self.most:
            return f"{self.most} items at most are wanted"
        for item in value:
            if said := self.item.problem(item):
                return f"{said}, which {item!r:.60} is not"
        if self.unique and any(value.count(item) > 1 for item in value):
            return "each is named once"
        return None

    def spec(self) -> dict[str, Any]:
        item = self.item.spec()
        return {"type": "list", "elements": item.pop("type"), **item}

    def of_text(self, text: str) -> Any:
        try:
            return tuple(self.item.of_text(word) for word in shlex.split(text))
        except ValueError as error:
            raise ValueError(f"shell words are expected: {error}") from error

    def parse(self, text: str) -> tuple[Any, ...]:
        """Each item as its domain reads it."""
        super().parse(text)
        return tuple(self.item.parse(word) for word in shlex.split(text))


class Window(Text):
    """A window of the local day. The value read: (start, end) in minutes; an end before its start is the day after."""

    def __init__(self) -> None:
        super().__init__("a window such as 22:00-06:00", r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")

    def parse(self, text: str) -> tuple[int, int]:
        """Minutes of the day."""
        hour, minute, end_hour, end_minute = map(int, re.split("[:-]", super().parse(text)))
        return hour * 60 + minute, end_hour * 60 + end_minute


class AnyOf(Domain):
    """Any of some domains; a text is read by the first that takes it."""

    def __init__(self, *domains: Domain) -> None:
        super().__init__(", or ".join(domain.words() for domain in domains))
        self.domains = domains
        kinds = {domain.kind for domain in domains}
        self.kind = kinds.pop() if len(kinds) == 1 else "raw"

    def problem(self, value: object) -> str | None:
        told = [domain.problem(value) for domain in self.domains]
        return None if None in told else f"{self.words()} is expected"

    def parse(self, text: str) -> Any:
        super().parse(text)
        return next(domain for domain in self.domains if domain.problem(domain.of_text(text)) is None).parse(text)


class File(Text):
    """An absolute path. The value read: a Path."""

    def __init__(self) -> None:
        super().__init__("an absolute path in letters, digits and ._-, without . and ..", ABSOLUTE)

    def parse(self, text: str) -> Path:
        return Path(super().parse(text))


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*\.?"
_URL = (
    r"https?://([^\s/@\"'<>\\^`{|}]+@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?"
    r"([/?#][!#-&(-;=?-\[\]_a-z~]*)?"
)
# Accounts and groups of Debian and its packages: a service of ours would share what is theirs.
_ACCOUNTS = """root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup
messagebus sshd syslog uuidd tcpdump polkitd ntp chrony dnsmasq docker sudo adm tty disk dialout shadow staff users
wheel kvm utmp input render ssh crontab _apt _ssh _chrony"""
SYSTEM_ACCOUNTS = frozenset(_ACCOUNTS.split())
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_network(text: str) -> bool:
    """Whether a text is an address, or all addresses that begin with some bits, such as 10.42.0.0/16."""
    import ipaddress

    if "/" not in text:
        return is_address(text)
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address, perhaps with a zone such as %eth0."""
    import ipaddress

    address, percent, zone = text.partition("%")
    if percent and (":" not in address or not re.fullmatch("[A-Za-z0-9_.-]+", zone)):
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def is_loopback(text: str) -> bool:
    """Whether only the machine itself reaches a name or address."""
    return text.lower() in LOOPBACK or (text.startswith("127.") and is_address(text))


def is_host(text: str) -> bool:
    """Whether a text is a host's name or address."""
    if re.fullmatch("[0-9.]+", text) or ":" in text:
        return is_address(text)
    return len(text) <= 253 and bool(re.fullmatch(_NAME, text))


def is_host_port(text: str) -> bool:
    """Whether a text is HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text)
    if not match:
        return is_address(text)
    host = is_address(match[1]) and ":" in match[1] if match[1] else is_host(match[2])
    return host and (match[3] is None or 1 <= int(match[3]) <= 65535)


def is_url(text: str) -> bool:
    """Whether a text is an http or https URL of a host."""
    match = re.fullmatch(_URL, text)
    if not match:
        return False
    host, port = match[2], match[3]
    good = is_address(host[1:-1]) if host.startswith("[") else is_host(host)
    return good and (port is None or 1 <= int(port[1:]) <= 65535)


def in_each_others_way(table: str, tree: str) -> str | None:
    """What is wrong with the addresses of a published table and of a tree of plain files, or None."""
    table, tree = table.rstrip("/"), tree.rstrip("/")
    if f"{tree}/".startswith(f"{table}/"):
        return f"upkeep of the table in {table} removes what it does not know: name a place outside it"
    if f"{table}/".startswith((f"{tree}/uploads/", f"{tree}/results/")):
        return f"the table in {table} would lie among the tree's files, which may expire: name another place"
    return None


def is_timezone(text: str) -> bool:
    """Whether this machine knows a time zone; each knows UTC."""
    if text == "UTC":
        return True
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


IDENTIFIER = Text("lower-case letters, digits and inner hyphens, 63 at most, not digits alone", accepts=record.is_id)
ACCOUNT = Text(
    "an account of its own (lower-case letters, digits, _ and -, 32 at most; not root, not one of the system's)",
    "[a-z_][a-z0-9_-]{0,31}",
    lambda name: name not in SYSTEM_ACCOUNTS and not name.startswith("systemd-"),
)
PATH = File()
PROGRAM = Text("a program's name, or its absolute path", rf"{ABSOLUTE}|[A-Za-z0-9_][A-Za-z0-9._+-]*")
INTERFACE = Text("an interface such as eth0", "[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}")
ADDRESS = Text("an IPv4 or IPv6 address", accepts=is_address)
ADDRESSES = Text("an IPv4 or IPv6 address, or a network such as 10.42.0.0/16", accepts=is_network)
HOST = Text("a host's name or address", accepts=is_host)
HOST_PORT = Text("HOST or HOST:PORT of a server", accepts=is_host_port)
URL = Text("a URL such as https://example.org/", accepts=is_url)
ORIGIN = Text("an origin such as https://example.org, without a path,", r"https?://[^/?#@]+", is_url)
STORE = Text("s3://BUCKET/FOLDER", r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9_=][A-Za-z0-9._=-]*)*/?")
SERVER_ID = Text("a server's number", "[0-9]{1,10}")
WORD = Text("text without control characters")
TIMEZONE = Text("a time zone such as Europe/Berlin", "[A-Za-z0-9_+/-]{1,64}", is_timezone)
PORT = Whole(1, 65535)
BOOLEAN = Boolean()
