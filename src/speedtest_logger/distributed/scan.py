"""One DuckDB over files of a published table: what a worker runs on its part, and what answers a whole question.

Exactly the files that were named are read, those of one version of the table. One that is gone is an error.
"""

from __future__ import annotations

import atexit
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read import sql as statements
from speedtest_logger.archive.read.dataset import VIEW_COLUMNS, literal
from speedtest_logger.distributed.cache import Cache
from speedtest_logger.distributed.engine import Task
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.record import COLUMNS
from speedtest_logger.sinks.data_files import DataFile
from speedtest_logger.sinks.place import Place, said

MOMENT = pa.timestamp("us", tz="UTC")
STORED = pa.schema(
    [field.with_type(MOMENT) if pa.types.is_timestamp(field.type) else field for field in BATCH_SCHEMA]
    + [pa.field("bucket", pa.int32()), pa.field("month", pa.string())]
)
NAMES = ", ".join((*COLUMNS, "day"))
VIEW = f"SELECT {NAMES}, year(started_at)::INTEGER AS year, month(started_at)::INTEGER AS month FROM stored"
MOST_KEPT = 4  # databases
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# What DuckDB and Arrow raise where a file is gone or damaged, or the store does not answer.
OF_STORE = (duckdb.IOException, duckdb.InvalidInputException, OSError, pa.ArrowException)


def answer(task: Task, *, threads: int | None = 1, shared: bool = False) -> pa.Table:
    """What a task's SQL says of its files. `threads` None: as many as the machine has.

    `shared`: by a database that this process keeps, with a thread; else the task has its own. Raises UsageError for
    wrong SQL, StorageError where the files cannot be read.
    """
    place = Place.of(task.address)
    try:
        found = _answered_here(place, task, threads, shared=shared)
        if found is not None:
            return found
        with _connection(threads, None, shared=shared) as connection:
            connection.register("stored", dataset(place, task.files))
            return _asked(connection, task)
    except OF_STORE as error:
        raise StorageError(f"{task.address}: {said(error)}") from error
    except duckdb.Error as error:
        raise _judged(error, task.address) from error


def _answered_here(place: Place, task: Task, threads: int | None, *, shared: bool) -> pa.Table | None:
    """The answer by files on this machine, which DuckDB reads with a third less CPU; None where Arrow has to read.

    Raises as DuckDB does, and ConfigError.
    """
    folder, files = _on_this_machine(place, task)
    if not files:
        return None
    try:
        with _connection(threads, folder, shared=shared) as connection:
            read_by_duckdb(connection, files)
            return _asked(connection, task)
    except duckdb.PermissionException:  # a link among them leads elsewhere, or the question asks for what it may not
        return None
    except duckdb.IOException:
        if not place.options:
            raise
        return None  # others have made room meanwhile: the store has it all


def _connection(threads: int | None, files_in: str | None, *, shared: bool) -> Any:
    """A connection that ends with its block."""
    return kept(files_in).cursor() if shared else connected(threads, files_in)


def _on_this_machine(place: Place, task: Task) -> tuple[str | None, list[str]]:
    """The folder and the paths of a task's files, where they lie here or can be kept here; None and none else.

    Raises ConfigError for a cache that cannot be one.
    """
    if not place.options:
        return place.address, [f"{place.address}/{file.path}" for file in task.files]
    cache = Cache.of()
    size = max(task.of_bytes, sum(file.size for file in task.files))
    if cache is None or size > cache.most_bytes:
        return None, []
    try:
        return str(cache.folder_of(place)), cache.brought(place, task.files)
    except OSError as error:
        logging.getLogger(__name__).warning("%s: %s: the store is read instead", cache.folder, error)
        return None, []


def _asked(connection: duckdb.DuckDBPyConnection, task: Task) -> pa.Table:
    view(connection, task.condition)
    statements.check(connection, task.sql)
    relation = connection.sql(task.sql)
    return pa.table({}) if relation is None else relation.to_arrow_table()


def _judged(error: duckdb.Error, address: str) -> UsageError | StorageError:
    """Whether the question is wrong, or the store: what Arrow says while DuckDB reads comes as an error of no kind."""
    return StorageError(f"{address}: {said(error)}") if type(error) is duckdb.Error else UsageError(str(error))


@lru_cache(maxsize=MOST_KEPT)
def kept(files_in: str | None = None) -> duckdb.DuckDBPyConnection:
    """A database of this process for parts of questions, a thread each: to open one takes as long as a small part.

    What a connection to it registers and makes is its own. `files_in`: the folder whose files it may read.
    """
    folder = tempfile.TemporaryDirectory(prefix="speedtest-query-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    atexit.register(kept.cache_clear)  # or DuckDB complains of what is still open when Python ends
    return _locked(folder.name, 1, files_in)


def _locked(folder: str, threads: int | None, files_in: str | None) -> duckdb.DuckDBPyConnection:
    """A database in memory, in UTC, with a folder for what does not fit there, and no way to anything else."""
    more = {"threads": threads} if threads else {}
    connection = duckdb.connect(config={"temp_directory": folder, **more})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    if files_in:
        connection.execute(f"SET allowed_directories = [{literal(files_in)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def connected(threads: int | None = None, files_in: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a database of its own, with so many threads or as many as the machine has."""
    with (
        tempfile.TemporaryDirectory(prefix="speedtest-query-", ignore_cleanup_errors=True) as folder,
        _locked(folder, threads, files_in) as connection,
    ):
        yield connection


def view(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """The view `records` as an archive has it, of the rows that satisfy SQL."""
    connection.execute(f"CREATE TEMP VIEW all_records AS {VIEW}")
    names = ", ".join(VIEW_COLUMNS)
    connection.execute(f"CREATE TEMP VIEW records AS SELECT {names} FROM all_records WHERE {condition}")


def read_by_duckdb(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Make `stored` of files on this machine; a view has no parameters, and their names may be megabytes."""
    connection.execute("SET VARIABLE stored_files = $files", {"files": files})
    connection.execute(
        "CREATE TEMP VIEW stored AS FROM read_parquet(getvariable('stored_files'), hive_partitioning = false)"
    )


def dataset(place: Place, files: tuple[DataFile, ...]) -> ds.Dataset:
    """Files as Arrow reads them: row groups and columns that nobody asks for are not fetched."""
    filesystem, root = place.filesystem()
    form = ds.ParquetFileFormat()
    fragments = [
        form.make_fragment(f"{root}/{file.path}", filesystem, partition_expression=known(file), file_size=file.size)
        for file in files
    ]
    return ds.FileSystemDataset(fragments, STORED, form, filesystem)


def known(file: DataFile) -> pc.Expression:
    """What all rows of a file have in common."""
    found = (pc.field("bucket") == pa.scalar(file.bucket, pa.int32())) & (pc.field("month") == file.month)
    if file.first is None or file.last is None:
        return found
    first, last = (
        pa.scalar(EPOCH + timedelta(microseconds=moment), MOMENT) for moment in (file.first - 999, file.last + 999)
    )
    return found & (pc.field("started_at") >= first) & (pc.field("started_at") <= last)
