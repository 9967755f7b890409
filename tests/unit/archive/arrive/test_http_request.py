"""What is taken for a request, and that nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.arrive import http_request
from speedtest_logger.archive.arrive.http_request import BadRequestError

HEADERS = ["Host: x", "Authorization: Bearer abc", "Content-Length: 12"]


def head(*more, line="POST /deliver HTTP/1.1", headers=HEADERS):
    return "\r\n".join([line, *headers, *more]).encode("latin-1") + b"\r\n\r\n"


def test_a_delivery_is_understood():
    found = http_request.parsed(head("Content-Encoding: gzip", "Connection: close", "X-Forwarded-For: 192.0.2.1"))
    assert found == http_request.Request(b"abc", 12, packed=True, close=True)
    assert http_request.parsed(head()) == http_request.Request(b"abc", 12, packed=False, close=False)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (head(line="GET /deliver HTTP/1.1"), 405),
        (head(line="POST /deliver/ HTTP/1.1"), 404),
        (head(line="POST /deliver?x HTTP/1.1"), 404),
        (head(line="POST http://x/deliver HTTP/1.1"), 404),
        (head(line="POST /deliver HTTP/1.0"), 400),
        (head(line="POST  /deliver HTTP/1.1"), 400),
        (head(line="POST /deliver HTTP/1.1 "), 400),
        (head("Transfer-Encoding: chunked"), 411),
        (head("transfer-encoding: identity"), 411),
        (head("Content-Length: 12"), 400),
        (head("CONTENT-LENGTH: 13"), 400),
        (head("Authorization: Bearer abd"), 400),
        (head(headers=["Authorization: Bearer abc", "Content-Length: -1"]), 400),
        (head(headers=["Authorization: Bearer abc", "Content-Length: 1 2"]), 400),
        (head(headers=["Authorization: Bearer abc", "Content-Length: 0x10"]), 400),
        (head(headers=["Authorization: Bearer abc"]), 411),
        (head(headers=["Content-Length: 1"]), 401),
        (head(headers=["Content-Length: 1", "Authorization: Basic abc"]), 401),
        (head("Content-Encoding: br"), 415),
        (head(" folded: x"), 400),
        (head("Name : x"), 400),
        (head("nothing"), 400),
        (head("X: a\nY: b"), 400),
        (head("X: \x00"), 400),
        (head(*["X: y"] * 100), 431),
    ],
)
def test_anything_else_is_refused_with_its_status(content, status):
    with pytest.raises(BadRequestError) as refused:
        http_request.parsed(content)
    assert refused.value.status == status


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_otherwise(content):
    try:
        http_request.parsed(content + b"\r\n\r\n")
    except BadRequestError:
        return


def test_a_cluster_s_two_questions_are_told_from_deliveries():
    assert http_request.probe(head(line="GET /livez HTTP/1.1", headers=["Host: x"])) == http_request.LIVE
    assert http_request.probe(head(line="GET /readyz HTTP/1.1", headers=[])) == http_request.READY
    for line in ("POST /readyz HTTP/1.1", "GET /readyz/ HTTP/1.1", "GET /readyz HTTP/1.0", "GET /deliver HTTP/1.1"):
        assert http_request.probe(head(line=line)) is None
