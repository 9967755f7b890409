"""Invitations: by one, a machine that nobody can reach becomes a node, once.

An invitation is 256 random bits, shown once to who made it. The archive host has two files of lines, in both of which
a node is named by its name and a secret by its SHA-256 alone:

    NODE INVITATION UNTIL    root's: who is invited, and until when (Unix time, s)
    NODE INVITATION TOKEN    the service's: which token a node has brought by it

What was brought counts while root's file names that very invitation for that node: who takes its line away, or puts
another one there, ends both. The next run of a playbook carries it into root's file of tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from speedtest_logger.record import is_id

PATH = "/enrol"
VARIABLE = "SPEEDTEST_INVITATION"  # of the environment, which other accounts of a machine cannot read
MOST_BODY = 1_000  # bytes of what a node says to enrol
SECRET = re.compile(r"[0-9a-f]{64}", re.ASCII)
LINE = re.compile(r"([a-z0-9-]+) ([0-9a-f]{64}) (\S+)", re.ASCII)
UNTIL = re.compile(r"[0-9]{1,12}", re.ASCII)


class Invitation(NamedTuple):
    """A node's: the SHA-256 of its secret, and until when it is open (Unix time, s)."""

    digest: str
    until: int


def digest(secret: str) -> str:
    """How a secret is known to who must not know it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def invited(text: str) -> dict[str, Invitation]:
    """Who is invited, by node, of root's file; what is no such line is left out."""
    return {node: Invitation(known, int(until)) for node, known, until in lines(text) if UNTIL.fullmatch(until)}


def brought(text: str, by: Mapping[str, Invitation]) -> dict[str, str]:
    """The SHA-256 of tokens, by node, of the service's file: of those that are still invited by what they used."""
    return {
        node: token
        for node, known, token in lines(text)
        if SECRET.fullmatch(token) and node in by and by[node].digest == known
    }


def lines(text: str) -> list[tuple[str, str, str]]:
    """Node, invitation and the rest of each line that is one."""
    found = [match.groups() for line in text.splitlines() if (match := LINE.fullmatch(line))]
    return [(node, known, rest) for node, known, rest in found if is_id(node)]


def text_of(by: Mapping[str, Invitation]) -> str:
    """Root's file."""
    return "".join(f"{node} {each.digest} {each.until}\n" for node, each in sorted(by.items()))


def said(node: str, token: str) -> bytes:
    """What a node says to enrol; `token` is the SHA-256 of its own."""
    return json.dumps({"node": node, "token_sha256": token}).encode()


def understood(body: bytes) -> tuple[str, str]:
    """What a node has said: its name, and the SHA-256 of its token. Raises ValueError for anything else."""
    found = json.loads(body)
    if not isinstance(found, dict) or set(found) != {"node", "token_sha256"}:
        raise ValueError("a node says its name and the SHA-256 of its token, and nothing else")
    node, token = found["node"], found["token_sha256"]
    if not (isinstance(node, str) and is_id(node)):
        raise ValueError("its name is none of a node")
    if not (isinstance(token, str) and SECRET.fullmatch(token)):
        raise ValueError("that is no SHA-256 of a token")
    return node, token
