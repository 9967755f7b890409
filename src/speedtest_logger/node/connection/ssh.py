"""Deliveries over ssh: the node's own key, the pinned host key, and what ssh said in plain words."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time

from speedtest_logger.errors import DeliveryError
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection.words import MOST_ANSWER_BYTES, MOST_WORDS, printable

# what ssh says, and what that means here
MEANINGS = (
    ("Permission denied (publickey", "the archive host does not know this node's key: run site.yml for both"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "the archive host shows another host key than the pinned one"),
    ("Host key verification failed", "the archive host's key is not the pinned one in {known_hosts}"),
    ("host key is known for", "there is no host key of {host} port {port} in {known_hosts}: run site.yml"),
    ("Load key", "this node's key {key} cannot be read"),
    ("no such identity", "this node's key {key} is missing: run site.yml"),
    ("not accessible", "this node's key {key} is missing or cannot be read: run site.yml"),
    ("Could not resolve hostname", "the name {host} cannot be resolved"),
    ("Connection refused", "nothing listens on {host} port {port}"),
    ("Connection timed out", "{host} port {port} does not answer"),
    ("No route to host", "there is no route to {host}"),
    ("Network is unreachable", "there is no route to {host}"),
    ("kex_exchange_identification", "what listens on {host} port {port} closed the connection before ssh began"),
)


def ssh_command(settings: Settings) -> list[str]:
    """The connection: the node's own key, the pinned host key, nothing else that ssh might try."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(settings.known_hosts_file),
        "GlobalKnownHostsFile": "none",
        "LogLevel": "ERROR",
        "ConnectTimeout": str(min(20, settings.push_timeout_seconds)),
        "ServerAliveInterval": "10",
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "Compression": "yes",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [
        "ssh",
        "-F",
        "none",
        "-T",
        "-i",
        str(settings.key_file),
        "-p",
        str(settings.archive_port),
        *flags,
        f"{settings.archive_user}@{settings.archive_host}",
        "receive",
    ]


def exchange(settings: Settings, lines: bytes) -> object:
    """Lines up, an answer down. Raises DeliveryError with what ssh said, TimeoutError."""
    try:
        code, answer, said = converse(ssh_command(settings), lines, settings.push_timeout_seconds)
    except TimeoutError:
        raise
    except OSError as error:
        raise DeliveryError(f"ssh cannot be run: {error.strerror}") from error
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        words = meaning(settings, said.decode(errors="replace")) or printable(repr(answer[:200]))
        raise DeliveryError(f"no receipt (ssh exit {code}): {words}") from error


def converse(argv: list[str], lines: bytes, seconds: float) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of a program that reads lines.

    Raises TimeoutError after so many seconds, OSError where it cannot be run, DeliveryError where it says too much.
    """
    deadline = time.monotonic() + seconds
    with os.fdopen(os.memfd_create("delivery"), "w+b") as content:
        content.write(lines)
        content.seek(0)
        process = subprocess.Popen(argv, stdin=content, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            answer, said = hear(process, deadline)
            return process.wait(max(0.1, deadline - time.monotonic())), answer, said
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        finally:
            process.kill()


def hear(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Both outputs until they end. Raises TimeoutError, DeliveryError."""
    heard = [bytearray(), bytearray()]
    with selectors.DefaultSelector() as streams:
        for number, stream in enumerate((process.stdout, process.stderr)):
            assert stream is not None
            streams.register(stream, selectors.EVENT_READ, number)
        while streams.get_map():
            ready = streams.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, 65_536)
                heard[key.data] += chunk
                if len(heard[key.data]) > MOST_ANSWER_BYTES:
                    raise DeliveryError(f"the archive's answer is longer than {MOST_ANSWER_BYTES} bytes")
                if not chunk:
                    streams.unregister(key.fileobj)
    return bytes(heard[0]), bytes(heard[1])


def meaning(settings: Settings, said: str) -> str:
    """What ssh said, with what that means here before it; its last words where it said much."""
    known = next((text for words, text in MEANINGS if words in said), None)
    said = printable(said.strip()[-MOST_WORDS:])
    if known is None:
        return said
    text = known.format(
        host=settings.archive_host,
        port=settings.archive_port,
        key=settings.key_file,
        known_hosts=settings.known_hosts_file,
    )
    return f"{text} ({said})"
