"""What a node makes of what comes down over https, whoever it is that answers."""

from __future__ import annotations

import json
import re

import pytest

from speedtest_logger.errors import ConfigError, DeliveryError
from speedtest_logger.node import config, doctor
from speedtest_logger.node.connection import https

RECEIPT = {"receipt": "X", "node": "attic", "accepted": []}


@pytest.fixture
def here(settings, tmp_path):
    (tmp_path / "token").write_text("a" * 64 + "\n")
    return settings(
        archive_host="archive.example.org", archive_port="443", transport="https", token_file=str(tmp_path / "token")
    )


def answer(status, content=b"", *headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_a_receipt_and_a_refusal_are_the_archive_s_own_words(here):
    assert https.understood(here, answer(200, RECEIPT)) == RECEIPT
    for status in (408, 413, 422, 429, 503):
        refused = {"refused": "rate_limited", "message": "try again in an hour"}
        assert https.understood(here, answer(status, refused)) == refused


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (answer(301, b"", "Location: https://elsewhere/"), "it is said to be at 'https://elsewhere/': not followed"),
        (answer(308, RECEIPT, "Location: /x"), "not followed"),
        (answer(401, {"refused": "unknown_token", "message": ""}), "does not know this node's token"),
        (answer(404, b"<html>"), "takes no deliveries"),
        (answer(413, b"<html>"), "larger than the archive host takes"),
        (answer(421), "has another name"),
        (answer(502, b"<html>"), "systemctl status speedtest-receive-http"),
        (answer(503, b""), "systemctl status speedtest-receive-http"),
        (answer(599, b"odd"), r"(HTTP 599): b'odd'"),
        (answer(500, RECEIPT), "(HTTP 500)"),
        (answer(200, b"{"), "(HTTP 200)"),
        (answer(200, b"[" * 100_000), "(HTTP 200)"),
        (answer(200, b"\x1b[31m\n"), "(HTTP 200)"),
        (answer(200, RECEIPT)[:-5], "no answer of HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer of HTTP"),
        (b"", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "no answer of HTTP"),
    ],
)
def test_anything_else_is_said_in_plain_words(here, heard, words):
    with pytest.raises(DeliveryError, match=re.escape(words)) as said:
        https.understood(here, heard)
    assert str(said.value).isprintable()


def test_the_request_names_the_host_and_nothing_else_can_come_into_it(here):
    head, _, body = https.made(here, https.token(here), b"body").partition(b"\r\n\r\n")
    assert b"Host: archive.example.org\r\n" in head
    assert b"Authorization: Bearer " + b"a" * 64 in head
    assert body == b"body"
    here.token_file.write_text("a\r\nX: y")
    with pytest.raises(DeliveryError, match="is none: remove it and run"):
        https.token(here)


def test_doctor_looks_at_what_https_needs(here):
    assert doctor.key(here).passed
    here.token_file.unlink()
    found = doctor.key(here)
    assert (found.code, found.passed) == ("KEY_MISSING", False)
    assert str(here.token_file) in found.text


def test_ssh_s_port_is_not_taken_for_that_of_https():
    plain = {"SPEEDTEST_NODE": "attic", "SPEEDTEST_ARCHIVE_HOST": "archive.example.org"}
    with pytest.raises(ConfigError, match="SPEEDTEST_TRANSPORT is https, and that is ssh's port"):
        config.load({**plain, "SPEEDTEST_TRANSPORT": "https"})
    assert config.load(plain).transport == "ssh"
