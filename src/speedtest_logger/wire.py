"""What a node and the archive say to each other: JSON lines up, one JSON object down.

Up go records, each on a line. On request a record's line is followed by one with its raw output: a zlib stream
(RFC 1950) in base64. Before them goes a line in which the node says how it is, where an earlier receipt said that the
archive knows such a line:

    {"hello": {"version": TEXT, "runtime": NAME, "outbox": {"records": N, "bytes": N}, "clock": Unix time (s),
               "disk_free": bytes,
               "converged": {"applied": serial, "at": Unix time (s), "changed": N, "version": TEXT, "error": TEXT,
                             "leaving": serial}}}

The last one is of a node that brings itself to its desired state; others leave it out. `leaving` is of one that takes
itself off with this delivery.

After the records, on the same terms, go new lines of its diagnostics log, some in a line. A log's file has an id of the
node's choice, each of its lines the place (byte) at which it begins there, so that one that comes twice is known:

    {"log": {"file": ID, "lines": [[OFFSET, TEXT] …]}}

After these, on the same terms, go results of probes (probe_result), some in a line:

    {"probes": [RESULT …]}

Down comes a receipt, or why the delivery as a whole was refused:

    {"receipt": ID, "node": NAME, "accepted": [run_id …], "rejected": {run_id: reason}, "later": {run_id: reason},
     "knows": ["hello", "log", "probes"], "log": whether the lines of the log have been taken and need not come again,
     "probes": the same of the probes' results}
    {"refused": REASON, "message": TEXT}
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from speedtest_logger.errors import RecordError

MOST_BYTES = 4_000_000  # what is kept of an engine's output at most
# Unpacked bytes that the archive takes of one run. A delivered line has 30,000 bytes at most, so 22,500 packed: what
# engines print shrinks to a fifth or a tenth, so an honest line gives some 225,000 bytes, and one that gives more than
# 40 times what it has is a bomb.
MOST_DELIVERED = 1_000_000
HELLO = "hello"
MOST_HELLO = 2_000  # bytes of its line
LOG = "log"
MOST_LOG_LINE = 32_000  # bytes of a line with lines of a log
MOST_LOG_TEXT = 4_000  # characters of one line of a log: what is beyond is cut off
PROBES = "probes"
MOST_PROBES_LINE = 32_000  # bytes of a line with results of probes
KNOWN = (HELLO, LOG, PROBES)


@dataclass(frozen=True)
class Receipt:
    """What the archive says of the records that were sent, by run_id; what is `later` stays on the node until then.

    `knows` names the lines besides records that the archive understands; `log`: those of the log need not come again;
    `probes`: the same of the probes' results.
    """

    name: str
    node: str
    accepted: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    knows: list[str] = field(default_factory=list)
    log: bool = False
    probes: bool = False

    def to_row(self) -> dict[str, Any]:
        """As it goes down."""
        return {"receipt": self.name, **{name: value for name, value in vars(self).items() if name != "name"}}

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Receipt:
        """What came down. Raises ValueError for what is no receipt; what is in its lists may be anything."""
        found: dict[str, Any] = {}
        for name, kind, default in (
            ("receipt", str, None), ("node", str, None), ("accepted", list, []), ("rejected", dict, {}),
            ("later", dict, {}), ("knows", list, []), ("log", bool, False), ("probes", bool, False),
        ):  # fmt: skip
            found[name] = answer.get(name, default)
            if not isinstance(found[name], kind):
                raise ValueError(f"{name} is a {type(found[name]).__name__}")
        return cls(found.pop("receipt"), **found)


def refusal(reason: str, message: str) -> dict[str, str]:
    """What goes down where a delivery is refused as a whole."""
    return {"refused": reason, "message": message}


def hello_line(said: Mapping[str, Any]) -> bytes:
    """The line with which a node says how it is."""
    return json.dumps({HELLO: said}).encode() + b"\n"


def log_lines(file: str, lines: Iterable[tuple[int, str]]) -> bytes:
    """The lines that carry those of a log, each short enough; texts have MOST_LOG_TEXT characters at most."""
    begin = f'{{"{LOG}": {{"file": {json.dumps(file)}, "lines": ['
    return b"".join(_packed(begin, map(json.dumps, lines), "]}}", MOST_LOG_LINE))


def probe_lines(results: Iterable[Mapping[str, Any]]) -> bytes:
    """The lines that carry results of probes, each short enough; what is None in them is left out."""
    texts = (json.dumps({name: value for name, value in row.items() if value is not None}) for row in results)
    return b"".join(_packed(f'{{"{PROBES}": [', texts, "]}", MOST_PROBES_LINE))


def _packed(begin: str, texts: Iterable[str], end: str, most: int) -> Iterator[bytes]:
    """JSON texts in as few lines of `most` bytes as hold them."""
    packed: list[str] = []
    room = left = most - len(begin) - len(end) - 1
    for text in texts:
        if packed and len(text) > left:
            yield f"{begin}{', '.join(packed)}{end}\n".encode()
            packed, left = [], room
        packed.append(text)
        left -= len(text) + 2
    if packed:
        yield f"{begin}{', '.join(packed)}{end}\n".encode()


def to_line(run_id: str, words: bytes) -> bytes:
    """The line that follows the run's record."""
    return json.dumps({"raw_of": run_id, "content": b64encode(zlib.compress(words)).decode()}).encode()


def unpacked(content: object, most: int = MOST_BYTES) -> bytes:
    """The words of a line's `content`, `most` bytes of them: no more is ever unpacked.

    Raises RecordError for anything that to_line would not have written.
    """
    if not isinstance(content, str):
        raise RecordError("bad_raw", "raw output without content")
    try:
        stream = zlib.decompressobj()
        words = stream.decompress(b64decode(content, validate=True), most)
    except (ValueError, zlib.error) as error:
        raise RecordError("bad_raw", f"raw output that cannot be unpacked: {error}") from error
    if not stream.eof:
        raise RecordError("bad_raw", f"raw output that is torn, or longer than {most} bytes")
    return words
