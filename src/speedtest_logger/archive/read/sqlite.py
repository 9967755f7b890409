"""The archive as a SQLite file: one table of records, for programs that know no other database."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from speedtest_logger.archive.read import render
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.record import COLUMNS, REQUIRED

KINDS = {"int": "INTEGER", "float": "REAL"}
# Times are text as records have it, which SQLite's date and time functions read.
VALUES = ", ".join(
    f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%gZ') AS {name}" if kind == "time" else name for name, kind in COLUMNS.items()
)
TABLE = ", ".join(
    f"{name} {KINDS.get(kind, 'TEXT')}{' NOT NULL' if name in REQUIRED else ''}" for name, kind in COLUMNS.items()
)
INDICES = (("node", "started_at"), ("location", "started_at"), ("started_at",))
BATCH_ROWS = 10_000


def write(archive: Archive, stream: BinaryIO) -> int:
    """Write a database file with an archive's rows; returns their number. Raises OSError."""
    rows = archive.query(f"SELECT {VALUES} FROM records ORDER BY started_at, node, run_id")
    with tempfile.TemporaryDirectory(prefix="speedtest-export-") as folder:
        file = Path(folder) / "records.sqlite"
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode = OFF")  # what fails is made again
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"CREATE TABLE records ({TABLE}, PRIMARY KEY (node, run_id)) STRICT, WITHOUT ROWID")
            # an archive of earlier versions may have a run twice: what came first stands
            values = ", ".join("?" * len(COLUMNS))
            statement = f"INSERT INTO records VALUES ({values}) ON CONFLICT (node, run_id) DO NOTHING"
            for first in range(0, rows.num_rows, BATCH_ROWS):
                database.executemany(statement, render.rows_of(rows.slice(first, BATCH_ROWS)))
            for columns in INDICES:
                database.execute(f"CREATE INDEX records_{'_'.join(columns)} ON records ({', '.join(columns)})")
            database.commit()
            (count,) = database.execute("SELECT count(*) FROM records").fetchone()
        with file.open("rb") as made:
            shutil.copyfileobj(made, stream)
    return int(count)
