"""Which node has which token: what nodes told of theirs, and the archive host's file of it."""

from __future__ import annotations

import re
from typing import Any

from ansible.errors import AnsibleFilterError

HEADER = "# managed by Ansible: speedtest_archive"
DIGEST = re.compile(r"([0-9a-f]{64})\n?")
LINE = re.compile(r"([a-z0-9-]+) ([0-9a-f]{64})")
CERTIFICATES = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)+")
LONGEST = 20_000


def digest(host: str, path: str, content: str) -> str:
    """The SHA-256 of a node's token. Raises AnsibleFilterError for anything else."""
    found = DIGEST.fullmatch(content)
    if found is None:
        raise AnsibleFilterError(f"{host}: {path}: seen {content[:60]!r}, which is no SHA-256 of a token; {anew(path)}")
    return found[1]


def anew(path: str) -> str:
    """How a node gets a new token."""
    return f"run `sudo rm {path.removesuffix('.sha256')} {path}` there and then this playbook again: it makes a new one"


def file_of(current: str, seen: dict[str, str], names: list[str]) -> str:
    """The archive's tokens: digests seen now, else those known, of the nodes that deliver over https only.

    Raises AnsibleFilterError for one that two nodes have: whoever holds it would deliver as neither of them.
    """
    known = {match[1]: match[2] for line in current.splitlines() if (match := LINE.fullmatch(line))}
    known.update(seen)
    owners: dict[str, list[str]] = {}
    for node in sorted(set(names) & known.keys()):
        owners.setdefault(known[node], []).append(node)
    shared = [" and ".join(nodes) for nodes in owners.values() if len(nodes) > 1]
    if shared:
        words = f"nodes {'; '.join(shared)} have one and the same token"
        raise AnsibleFilterError(f"{words}; on the copy: {anew('/etc/speedtest-telemetry/token.sha256')}")
    lines = [f"{nodes[0]} {found}" for found, nodes in owners.items()]
    return "\n".join([HEADER, *sorted(lines)]) + "\n"


def certificates(seen: dict[str, Any] | None) -> str:
    """The certificates in a file of the front's account; nothing where it holds anything else."""
    text = str((seen or {}).get("text") or "") if (seen or {}).get("kind") == "file" else ""
    return text if len(text) <= LONGEST and CERTIFICATES.fullmatch(text) else ""
