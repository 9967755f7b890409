"""Processes that do without what they have no use for: pandas, object stores, and threads that wait busily."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import MetaPathFinder

PANDAS = "pandas"  # pyarrow would import it to convert its first text: 0.2 s of CPU and 35 MB
STORES = ("pyarrow._azurefs", "pyarrow._gcsfs", "pyarrow._hdfs", "pyarrow._s3fs")  # 3 MB, with every Parquet file


class Without:
    """An import hook (importlib.abc.MetaPathFinder): some modules are not there, and pyarrow does without them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, *_: object) -> None:
        """See importlib."""
        if name in self.names:
            raise ModuleNotFoundError(name, name=name)


def start(*others: str) -> None:
    """Have a process do without pandas and others, and without OpenBLAS's threads, which wait busily: 60 ms of CPU."""
    sys.meta_path.insert(0, cast("MetaPathFinder", Without((PANDAS, *others))))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
