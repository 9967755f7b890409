"""A node's first word to its archive: by an invitation it brings the SHA-256 of the token that it has made."""

from __future__ import annotations

import gzip
import json
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from speedtest_logger import files, invitation
from speedtest_logger.errors import DeliveryError
from speedtest_logger.node import identity
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection import https
from speedtest_logger.node.connection.words import printable

SECONDS = 60


def proofs(settings: Settings) -> str:
    """Make what the node proves itself by, where there is none; the SHA-256 of its token.

    Raises IdentityError, DeliveryError for a token that is none, OSError.
    """
    digest = identity.identity(settings)
    files.write_durably(Path(f"{settings.token_file}.sha256"), digest.encode() + b"\n", identity.OWNERS_ONLY)
    if not files.is_regular(settings.key_file):
        identity.make_key(settings.key_file, settings.node)
    public = f"{identity.public_half(settings.key_file)} {settings.node}\n"
    files.write_durably(Path(f"{settings.key_file}.pub"), public.encode(), identity.OWNERS_ONLY)
    return digest


def is_known(settings: Settings) -> bool:
    """Whether the archive takes deliveries of this node by its token. Raises DeliveryError where it does not answer."""
    if not files.is_regular(settings.token_file):
        return False
    status, answer = asked(settings, https.made(settings, https.token(settings), gzip.compress(b"")))
    if status == HTTPStatus.UNAUTHORIZED:
        return False
    if answer.get("node") != settings.node:
        said = answer.get("message") or f"it is node {answer.get('node')!r}"
        raise DeliveryError(f"the archive does not take this token as node '{settings.node}': {printable(said)}")
    return True


def enrol(settings: Settings, secret: str, digest: str) -> str:
    """Use an invitation; why it was refused, or nothing. Raises DeliveryError where nobody said."""
    body = invitation.said(settings.node, digest)
    status, answer = asked(settings, https.made(settings, secret, body, invitation.PATH))
    if status == HTTPStatus.OK and answer.get("enrolled") == settings.node:
        return ""
    if "refused" in answer:
        return printable(answer.get("message") or answer["refused"])
    host, port = settings.archive_host, settings.archive_port
    words = f"what listens on {host} port {port} takes nobody in: run site.yml for the archive host"
    raise DeliveryError(f"{words} (HTTP {status})")


def asked(settings: Settings, request: bytes) -> tuple[int, dict[str, object]]:
    """Status and answer; empty where it is none of the archive's. Raises DeliveryError."""
    deadline = time.monotonic() + SECONDS
    try:
        with https.connected(settings, https.context(settings), deadline) as stream:
            response, content = https.answered(https.conversed(stream, request, deadline))
    except TimeoutError as error:
        raise DeliveryError(f"{settings.archive_host} did not answer within {SECONDS} s") from error
    with suppress(ValueError, RecursionError):
        answer = json.loads(content)
        if isinstance(answer, dict):
            return response.status, answer
    return response.status, {}
