"""Who was invited brings the SHA-256 of the token that it made; whose token is whose, with those that were brought.

See speedtest_logger.invitation for the files. Root's files are read again whenever they are others, so that who leaves
them is known no more with the next request.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from speedtest_logger import invitation
from speedtest_logger.archive.arrive.tokens import Tokens
from speedtest_logger.errors import RefusedError
from speedtest_logger.files import Identity, identity, in_mount, read_bounded

MOST_BYTES = 200_000_000  # of a million nodes
MOST_REFUSED = 30  # a minute; more are answered shortly, and told of by one line
MINUTE = 60
UNKNOWN = (
    "the archive host knows no such invitation: it was used, a newer one has taken its place, or its node has left the "
    "inventory; run invite.yml for another one"
)


class Enrolments:
    """Who is invited, who has come, and whose token is whose."""

    def __init__(self, invitations: Path, kept: Path, tokens: Tokens) -> None:
        self.invitations, self.kept, self.tokens = invitations, kept, tokens
        self.seen: tuple[Identity | None, Identity | None] | None = None
        self.invited: dict[str, invitation.Invitation] = {}
        self.brought: dict[str, str] = {}

    def refresh(self) -> None:
        """Read the files where they are not those that were read last. Raises OSError."""
        self.tokens.refresh()
        places = (in_mount(self.invitations), self.kept)
        now = (identity(places[0]), identity(places[1]))
        if now == self.seen:
            return
        texts = [
            read_bounded(file, MOST_BYTES).decode(errors="replace") if there else ""
            for file, there in zip(places, now, strict=True)
        ]
        self.invited = invitation.invited(texts[0])
        self.brought = invitation.brought(texts[1], self.invited)
        self.seen = now

    def node_of(self, token: bytes) -> str | None:
        """Whose token it is; None where it is nobody's. What was brought ends what was before. Raises OSError."""
        self.refresh()
        node, known = self.tokens.node_of(token), hashlib.sha256(token).hexdigest()
        if node is not None and self.brought.get(node, known) == known:
            return node
        return next((name for name, digest in self.brought.items() if digest == known), None)

    def guest(self, secret: bytes) -> str | None:
        """Whose invitation it is; None where it is nobody's. Raises OSError."""
        self.refresh()
        # by its digest: how long the search takes tells of the digest at most, which leads to no invitation
        known = hashlib.sha256(secret).hexdigest()
        return next((node for node, each in self.invited.items() if each.digest == known), None)

    def judged(self, secret: bytes, body: bytes, now: float) -> tuple[str, bytes]:
        """The node, and what the service's file shall hold once it has come. Raises RefusedError, OSError.

        `now`: Unix time (s). Nothing of a refused one is kept, so that the invitation stays what it was.
        """
        guest = self.guest(secret)
        if guest is None:
            raise RefusedError("unknown_invitation", UNKNOWN)
        if guest in self.brought:
            raise RefusedError("used_invitation", f"the invitation of node '{guest}' has been used; {ANOTHER}")
        if now > self.invited[guest].until:
            raise RefusedError("expired_invitation", f"the invitation of node '{guest}' has expired; {ANOTHER}")
        try:
            node, token = invitation.understood(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError("bad_request", f"that is no enrolment: {error}") from error
        if node != guest:
            raise RefusedError("other_node", f"the invitation is for node '{guest}', not for '{node}'")
        holder = self.tokens.nodes.get(token) or next((n for n, each in self.brought.items() if each == token), None)
        if holder not in (None, guest):
            raise RefusedError("known_token", "another node has that very token: remove it there, and another is made")
        all_of_them = {**self.brought, guest: token}
        lines = (f"{name} {self.invited[name].digest} {each}\n" for name, each in sorted(all_of_them.items()))
        return guest, "".join(lines).encode()


ANOTHER = "run invite.yml for another one"


class Refusals:
    """What is told of attempts that were refused: so much a minute, whoever asks how often."""

    def __init__(self) -> None:
        self.minute, self.count = 0, 0

    def tell(self, now: float, words: str) -> bool:
        """Tell the journal of one; whether it was one of those that are still answered in full. `now`: time (s)."""
        minute = int(now // MINUTE)
        if minute != self.minute:
            self.minute, self.count = minute, 0
        self.count += 1
        if self.count <= MOST_REFUSED:
            tell(f"refused to enrol: {words}")
        elif self.count == MOST_REFUSED + 1:
            tell("refused to enrol: more attempts in this minute are not told of")
        return self.count <= MOST_REFUSED


def tell(words: str) -> None:
    """A line for the journal."""
    sys.stderr.write(f"{words}\n")
