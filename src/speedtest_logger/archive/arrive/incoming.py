"""A file that grows in a node's inbox while a delivery is read, and gets its name when it is whole, or goes again."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from speedtest_logger.archive.arrive.handover import Parcel
from speedtest_logger.archive.format.layout import BLOCK, bytes_in, make_folder, name_with_seal
from speedtest_logger.errors import RefusedError
from speedtest_logger.files import AT_ONCE, Sync, new_beside


class Incoming:
    """Lines on their way into a folder that may have `most` bytes; nothing is made before the first one."""

    def __init__(self, folder: Path, most: float, sync: Sync = AT_ONCE) -> None:
        self.folder = folder
        self.sync = sync
        self.most = most
        self.waiting = bytes_in(folder)
        self.written = 0
        self.digest = hashlib.sha256()
        self.temporary: Path | None = None
        self.stream: BinaryIO | None = None
        self.parcel: Parcel | None = None  # where it goes instead of getting a name here

    def check(self) -> None:
        """Raise RefusedError where the folder has not the room for this file, which takes a block at least."""
        if self.waiting + max(BLOCK, self.written) > self.most:
            raise RefusedError(
                "inbox_full",
                f"{self.folder.parent.name}: {self.waiting:,} bytes of this node wait for ingest, {self.most:,.0f} are "
                "the most: try again when they are in the archive",
            )

    def add(self, line: bytes) -> None:
        """Add a line. Raises RefusedError where the folder is full, OSError where the disk is."""
        if self.stream is None:
            make_folder(self.folder)
            self.temporary, self.stream = new_beside(self.folder / "delivery")
        self.written += len(line)
        self.check()
        self.digest.update(line)
        self.stream.write(line)

    def finish(self) -> None:
        """Take no more lines: what came in is on disk when this returns, or later as `sync` says. Raises OSError."""
        if self.stream is None or self.stream.closed:
            return
        self.stream.flush()
        if not self.parcel:
            self.sync.content(self.stream.fileno())
        self.stream.close()

    def seal(self, name: str, *, with_digest: bool) -> None:
        """Give the file its name, with the SHA-256 of its bytes where wanted; it is as durable as its bytes."""
        if self.temporary is None:
            return
        self.finish()
        named = name_with_seal(name, self.digest.hexdigest()) if with_digest else f"{name}.jsonl"
        if self.parcel:
            self.parcel.parts[self.folder.parent.name] = (named, self.temporary.read_bytes())
            self.discard()
            return
        os.rename(self.temporary, self.folder / named)
        self.temporary = None
        self.sync.names(self.folder)

    def discard(self) -> None:
        """Remove what was not sealed."""
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)
            self.temporary = None
        if self.stream is not None:
            with suppress(OSError):  # what could not be written is gone anyway
                self.stream.close()
