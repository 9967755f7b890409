"""Which node has which ssh key: what nodes told of theirs, and the archive host's authorized_keys."""

from __future__ import annotations

import re

from ansible.errors import AnsibleFilterError

# The text of an ed25519 public key: a node's file is believed no further than that.
KEY = r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}"
KEY_FILE = re.compile(rf"({KEY})(?: ([^\r\n]*))?\n?")
KEY_LINE = re.compile(rf"restrict,command=\"[^\"]* --node ([a-z0-9-]+)\" ({KEY}) .*")


def public_key(host: str, path: str, content: str) -> tuple[str, str]:
    """A node's public key, less its comment, and the comment. Raises AnsibleFilterError for anything else."""
    found = KEY_FILE.fullmatch(content)
    if found is None:
        raise AnsibleFilterError(
            f"{host}: {path}: seen {content[:60]!r}, which is no ed25519 public key; {new_key(path)}, or leave the "
            f"host out with --limit 'all:!{host}'. authorized_keys was left as it is"
        )
    return found[1], found[2] or ""


def new_key(path: str) -> str:
    """How a node gets a new key pair."""
    return f"run `sudo rm {path.removesuffix('.pub')} {path}` there and then this playbook again: it makes a new one"


def authorized_keys(current: str, keys: dict[str, str], names: list[str], command: str) -> str:
    """The archive's authorized_keys: keys seen now, else those known, of the inventory's nodes only."""
    known = {match[1]: match[2] for line in current.splitlines() if (match := KEY_LINE.fullmatch(line))}
    known.update(keys)
    lines = [
        f'restrict,command="{command} --node {node}" {known[node]} {node}' for node in sorted(names) if node in known
    ]
    return "\n".join(["# managed by Ansible: speedtest_archive", *lines]) + "\n"


def shared_keys(authorized: str, comments: dict[str, str]) -> list[str]:
    """Which nodes have one key, in words; a key's comment tells where it was made."""
    owners: dict[str, list[str]] = {}
    for line in authorized.splitlines():
        if match := KEY_LINE.fullmatch(line):
            owners.setdefault(match[2], []).append(match[1])
    found = []
    for nodes in owners.values():
        if len(nodes) > 1:
            made_for = next((comments[node] for node in nodes if comments.get(node) in nodes), None)
            copies = [node for node in nodes if node != made_for]
            hint = f" (it was made for {made_for}: {' and '.join(copies)} seems to be the copy)" if made_for else ""
            found.append(f"nodes {' and '.join(nodes)} have one and the same key{hint}")
    return found
