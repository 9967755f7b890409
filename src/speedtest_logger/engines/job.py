"""What every engine gets and gives, and how their errors are put into the closed list of reasons."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol

from speedtest_logger.errors import EngineError
from speedtest_logger.record import without_impossible

LARGEST = 2**53  # beyond, a float no longer counts every whole number, and no line is that fast
PATTERNS = (
    ("rate_limited", r"too many requests|limit reached|\b429\b|rate limit"),
    ("server_busy", r"server is busy"),
    (
        "dns_failed",
        (
            r"name or service not known|no such host|name resolution|could(?: not|n't) resolve|nodename nor servname|"
            r"failed to resolve host|host resolve failed"
        ),
    ),
    (
        "no_route",
        r"network is unreachable|no route to host|network unreachable|failed binding local connection end",
    ),
    (
        "server_unreachable",
        (
            r"connection refused|timed? ?out|unable to connect|unreachable|connection reset|"
            r"cannot (?:open|read|read from) socket|cannot read:|no servers? (?:is currently )?available|noservers|"
            r"configurationerror|cannot retrieve"
        ),
    ),
)


@dataclass(frozen=True)
class Job:
    """One try: which program, against which server (None: the engine chooses), from where, for how long (s)."""

    program: str
    server: str | None = None
    blocked_servers: tuple[str, ...] = ()
    extra_args: tuple[str, ...] = ()
    duration: int = 10
    source_interface: str | None = None
    source_address: str | None = None
    ip_family: str = "auto"
    version: str | None = None  # of the program, where it is known


@dataclass(frozen=True)
class Command:
    """A command line and what it reads on standard input; `instead` is asked in its order where this finds nobody."""

    argv: list[str]
    stdin: bytes = b""
    instead: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a program left behind."""

    returncode: int
    stdout: bytes
    stderr: bytes = b""
    truncated: bool = False

    @property
    def text(self) -> str:
        """Standard output and standard error, for looking at messages."""
        return (self.stdout[:20_000] + b"\n" + self.stderr[:20_000]).decode(errors="replace")


@dataclass
class Result:
    """An engine's measurement in canonical units: bit/s, ms, percent, bytes; names as in record.Record.

    `message` tells what was left out of it.
    """

    download_bps: float | None = None
    upload_bps: float | None = None
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    jitter_ms: float | None = None
    download_latency_ms: float | None = None
    upload_latency_ms: float | None = None
    packet_loss_pct: float | None = None
    bytes_received: int | None = None
    bytes_sent: int | None = None
    server_id: str | None = None
    server_name: str | None = None
    server_host: str | None = None
    server_country: str | None = None
    isp: str | None = None
    external_ip: str | None = None
    ip_family: int | None = None
    result_url: str | None = None
    message: str | None = None


class Engine(Protocol):
    """A measurement program."""

    def version_of(self, text: str) -> str | None:
        """The version in the output of `program --version`; None where it is another program under this name."""

    def commands(self, job: Job) -> list[Command]:
        """The command lines of one measurement, run one after the other. Raises EngineError for what it cannot do."""

    def parse(self, outputs: list[Output]) -> Result:
        """The measurement in the outputs. Raises EngineError with the reason where there is none."""


def fail(text: str, default: str = "engine_error") -> NoReturn:
    """Raise EngineError with the reason that a program's message means."""
    said = " ".join(text.split())
    message = said[:500] or "the program said nothing"
    for reason, pattern in PATTERNS:
        if re.search(pattern, said, re.IGNORECASE):
            raise EngineError(reason, message)
    raise EngineError(default, message)


def is_busy(output: Output) -> bool:
    """Whether the server said that it is testing with somebody else."""
    return re.search(dict(PATTERNS)["server_busy"], output.text) is not None


def found_nobody(output: Output) -> bool:
    """Whether librespeed-cli says that no server answers: nobody is there, or nobody under that URL."""
    return output.stdout.strip() in (b"null", b"[]")


def load_json(output: Output) -> Any:
    """The JSON on standard output. Raises EngineError: bad_output, or the reason that the text beside it gives."""
    if output.truncated:
        raise EngineError("bad_output", f"more than {len(output.stdout)} bytes of output")
    try:
        return json.loads(output.stdout)
    except (ValueError, RecursionError) as error:
        if output.returncode != 0:
            fail(output.text)
        raise EngineError("bad_output", f"no JSON ({error}): {output.stdout[:120]!r}") from error


def positive(value: Any, factor: float = 1.0) -> float | None:
    """A finite number above 0 times a factor; anything else is no measurement."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < LARGEST:
        return None
    return float(value * factor) if value * factor < LARGEST else None


def not_negative(value: Any, factor: float = 1.0) -> float | None:
    """Like positive, but 0 is a measurement (loss, jitter)."""
    if value == 0 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0.0
    return positive(value, factor)


def whole(value: Any) -> int | None:
    """A whole number above 0, such as a count of bytes."""
    number = positive(value)
    return None if number is None else int(number)


def text_or_none(value: Any, most: int = 200) -> str | None:
    """A non-empty text of at most `most` characters without control characters."""
    if value is None or value == "" or isinstance(value, (dict, list)):
        return None
    return "".join(c for c in str(value).encode(errors="replace").decode() if c.isprintable())[:most] or None


def section(value: Any, *names: str) -> dict[str, Any]:
    """A nested object, empty where it is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def family_of(address: str | None) -> int | None:
    """4 or 6 for an IP address."""
    if not address:
        return None
    return 6 if ":" in address else 4


def server_host(server: str) -> str:
    """The host name or address in a server's URL, HOST:PORT or [IPV6]:PORT."""
    place = server.rsplit("://", maxsplit=1)[-1].split("/", maxsplit=1)[0]
    match = re.fullmatch(r"\[([^\]]+)\](?::\d+)?|([^:]+)(?::\d+)?", place)
    return (match[1] or match[2]) if match else place


def plausible(result: Result) -> Result:
    """A result without what cannot be. Raises EngineError where neither direction was measured."""
    if result.download_bps is None and result.upload_bps is None:
        raise EngineError("bad_output", "the engine reported no speed in either direction")
    return Result(**without_impossible(asdict(result)))
