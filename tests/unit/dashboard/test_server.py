"""The socket that the dashboard listens on."""

from __future__ import annotations

import socket

import pytest

from speedtest_logger.dashboard.server import listen
from speedtest_logger.errors import UsageError


def test_an_answer_waits_for_no_confirmation_of_its_first_part():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken_is_refused_in_words():
    with listen("127.0.0.1", 0) as listening, pytest.raises(UsageError, match="cannot listen on 127"):
        listen(*listening.getsockname())
