"""An engine's own words on their way from a node to the archive: a zlib stream (RFC 1950) in base64, in a JSON line."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode

from speedtest_logger.errors import RecordError

MOST_BYTES = 4_000_000  # what is kept of an engine's output at most


def to_line(run_id: str, words: bytes) -> bytes:
    """The line that follows the run's record."""
    return json.dumps({"raw_of": run_id, "content": b64encode(zlib.compress(words)).decode()}).encode()


def unpacked(content: object) -> bytes:
    """The words of a line's `content`. Raises RecordError for anything that to_line would not have written."""
    if not isinstance(content, str):
        raise RecordError("bad_raw", "raw output without content")
    try:
        stream = zlib.decompressobj()
        words = stream.decompress(b64decode(content, validate=True), MOST_BYTES)
    except (ValueError, zlib.error) as error:
        raise RecordError("bad_raw", f"raw output that cannot be unpacked: {error}") from error
    if not stream.eof:
        raise RecordError("bad_raw", f"raw output that is torn, or longer than {MOST_BYTES} bytes")
    return words
