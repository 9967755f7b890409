"""What an import's values look like, so that a person sees at a glance where a unit is another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from speedtest_logger import text
from speedtest_logger.archive.write.importing.formats import Format

FIRST_ROWS = 3
SHOWN = (
    ("download_bps", "download Mbit/s", 1e6),
    ("upload_bps", "upload Mbit/s", 1e6),
    ("latency_ms", "latency ms", 1.0),
)


class Preview:
    """Per format: how many rows of each status, the medians, and the first rows."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[np.ndarray[Any, Any]]]] = {}
        self._first: dict[str, list[dict[str, Any]]] = {}
        self._rows: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def take(self, form: Format, table: pa.Table) -> None:
        """Look at rows of a format."""
        known = self._values.setdefault(form.name, {})
        for name, _, _ in SHOWN:
            column = table[name].drop_null().to_numpy()
            known.setdefault(name, []).append(column.astype("f4"))
        first = self._first.setdefault(form.name, [])
        first += table.slice(0, max(0, FIRST_ROWS - len(first))).to_pylist()
        self._rows[form.name] = self._rows.get(form.name, 0) + table.num_rows
        failed = sum(status == "failed" for status in table["status"].to_pylist())
        self._failed[form.name] = self._failed.get(form.name, 0) + failed

    def text(self) -> str:
        """As a table for people."""
        heads = ["format", "rows", "failed", "", *(title for _, title, _ in SHOWN)]
        rows: list[tuple[Any, ...]] = []
        for name, columns in self._values.items():
            found = [np.concatenate(columns[column]) for column, _, _ in SHOWN]
            medians = [
                round(float(np.median(each)) / factor, 2) if len(each) else None
                for each, (_, _, factor) in zip(found, SHOWN, strict=True)
            ]
            rows.append((name, self._rows[name], self._failed[name], "median", *medians))
            for first in self._first[name]:
                shown = [None if first[c] is None else round(first[c] / f, 2) for c, _, f in SHOWN]
                rows.append(("", None, None, text.plain(first["started_at"]), *shown))
        return text.as_table(heads, rows)
