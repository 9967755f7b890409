"""The archive side. receive imports the standard library only; the rest needs the extra `archive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speedtest_logger.archive.read.dataset import open_archive

__all__ = ["open_archive"]


def __getattr__(name: str) -> Any:
    """open_archive, imported when it is asked for: receive must not pay for DuckDB and pyarrow."""
    if name == "open_archive":
        from speedtest_logger.archive.read.dataset import open_archive

        return open_archive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
