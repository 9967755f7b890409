"""Which deliveries others wait for, and which have a thread of their own."""

from __future__ import annotations

import gzip
import io

import pytest

from speedtest_logger.archive.arrive.http_receiver import SHORT, short
from speedtest_logger.archive.arrive.http_request import Request

LINES = b'{"node": "attic"}\n' * 12
PACKED = gzip.compress(LINES, mtime=0)  # two workers that collect these tests have the same names of them


@pytest.mark.parametrize(
    ("body", "packed", "found"),
    [
        (LINES, False, LINES),
        (PACKED, True, LINES),
        (gzip.compress(b"0" * SHORT, mtime=0), True, b"0" * SHORT),
        (gzip.compress(b"0" * (SHORT + 1), mtime=0), True, None),
        (gzip.compress(b"0" * 60_000_000, 1, mtime=0), True, None),
        (PACKED * 2, True, None),
        (PACKED[:-1], True, None),
        (PACKED[:-1] + b"?", True, None),
        (LINES, True, None),
        (b"", True, None),
    ],
)
def test_what_is_short_however_it_is_packed_is_known_before_it_is_judged(body, packed, found):
    assert short(io.BytesIO(body), Request(b"token", len(body), packed, close=False)) == found
