"""By what this host proves itself where no front does it: a certificate and its key, which are renewed meanwhile."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

from speedtest_logger.errors import ConfigError
from speedtest_logger.files import Identity, identity

Identities = tuple[Identity | None, ...]


class Certificate:
    """A certificate and its key; `context` proves whoever asks the newest one that can be used."""

    def __init__(self, chain: Path, key: Path) -> None:
        self.files = (chain, key)
        self.seen = self.identities()
        try:
            self.newest = self.loaded()
        except (OSError, ValueError) as error:
            raise ConfigError([self.wrong(error)]) from error
        self.context = self.loaded()
        self.context.sni_callback = self.choose  # asked at each handshake, whether it names a host or not

    def choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Have a connection use the newest certificate."""
        now = self.identities()
        if now != self.seen:
            self.seen = now
            try:
                self.newest = self.loaded()
            except (OSError, ValueError) as error:  # half of a renewal: what was good goes on
                sys.stderr.write(f"speedtest-receive-http: {self.wrong(error)}\n")
        connection.context = self.newest

    def identities(self) -> Identities:
        """Which files they are now."""
        return tuple(identity(Path(os.path.realpath(file))) for file in self.files)

    def loaded(self) -> ssl.SSLContext:
        """Both, as they are now. Raises OSError (ssl.SSLError is one), ValueError."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(*self.files, password="")  # one that has a password is refused, and nobody is asked
        return made

    def wrong(self, error: OSError | ValueError) -> str:
        """What is wrong with them, in words."""
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        chain, key = self.files
        return f"{chain} and {key} are no certificate and its key ({why}): a PEM file of each is expected"
