"""An engine's own words on their way from a node to the archive: a zlib stream (RFC 1950) in base64, in a JSON line."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode

from speedtest_logger.errors import RecordError

MOST_BYTES = 4_000_000  # what is kept of an engine's output at most
# Unpacked bytes that the archive takes of one run. A delivered line has 30,000 bytes at most, so 22,500 packed: what
# engines print shrinks to a fifth or a tenth, so an honest line gives some 225,000 bytes, and one that gives more than
# 40 times what it has is a bomb.
MOST_DELIVERED = 1_000_000


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
