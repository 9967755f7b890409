"""The objects of a place: put on a condition or not, read, listed, removed; and what fails with them, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError

from speedtest_logger.errors import StorageError
from speedtest_logger.sinks.place import Place, said

PART_BYTES = 8_000_000  # of an object that is not read at once


@dataclass(frozen=True)
class Item:
    """An object: its name, its bytes, and when the store (by its own clock) last took it."""

    name: str
    size: int
    at: datetime


class Objects:
    """The objects of a place. Everything raises StorageError where the store does not do its part."""

    def __init__(self, place: Place, retry_seconds: float = 30) -> None:
        self.place = place
        self.store = place.store(retry_seconds)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.place.address}: {said(error)}") from error

    def put_new(self, name: str, content: bytes) -> bool:
        """Put an object under a name that is free; False where it is taken. Durable when this returns."""
        with self._asking():
            try:
                obstore.put(self.store, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def put(self, name: str, content: bytes) -> None:
        """Put an object, whatever is there."""
        with self._asking():
            obstore.put(self.store, name, content, use_multipart=False)

    def swap(self, name: str, content: bytes, tag: str) -> bool:
        """Put an object in the place of the one with a tag; False where another one is there by now."""
        with self._asking():
            try:
                obstore.put(self.store, name, content, mode={"e_tag": tag}, use_multipart=False)
            except (PreconditionError, NotFoundError):
                return False
            return True

    def get(self, name: str, most: int | None = None) -> tuple[bytes, str] | None:
        """An object's content and tag; None where there is none. One of more than `most` bytes is not read."""
        with self._asking():
            try:
                found = obstore.get(self.store, name)
                if most is not None and (size := int(found.meta["size"])) > most:
                    raise StorageError(f"{self.place.address}/{name} has {size} bytes, {most} at most are expected")
                return bytes(found.bytes()), str(found.meta["e_tag"])
            except (NotFoundError, FileNotFoundError):
                return None

    def parts(self, name: str) -> Iterator[bytes]:
        """An object's content, part by part."""
        with self._asking():
            for part in obstore.get(self.store, name).stream(PART_BYTES):
                yield bytes(part)

    def listed(self, prefix: str, after: str | None = None, most: int = 1_000_000) -> list[Item]:
        """Objects whose names begin so, in their order; those `after` a name."""
        return sorted(islice(self.each(prefix, after), most), key=lambda item: item.name)

    def each(self, prefix: str, after: str | None = None) -> Iterator[Item]:
        """As `listed`, one by one: the store is asked for more as they are taken."""
        with self._asking():
            for some in obstore.list(self.store, prefix, offset=after, chunk_size=1000):
                yield from map(_item, some)

    def delete(self, names: list[str]) -> None:
        """Remove objects; one that is not there is no failure."""
        with self._asking():
            for name in names:
                try:
                    obstore.delete(self.store, name)
                except (NotFoundError, FileNotFoundError):
                    continue


def _item(each: Any) -> Item:
    return Item(str(each["path"]), int(each["size"]), each["last_modified"])
