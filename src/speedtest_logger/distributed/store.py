"""An archive's records where `publish` put them: what `Archive` asks instead of its own files.

Each question reads one version of the table, that of its beginning. What can be split goes to the engine, unless it is
small; the rest is answered by one DuckDB here, or refused where that was asked for.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from speedtest_logger.archive.read.dataset import Scope, speaks_of_raw
from speedtest_logger.distributed import splitting
from speedtest_logger.distributed.engine import Engine, Task
from speedtest_logger.distributed.keys import Keys
from speedtest_logger.distributed.keys import read as read_keys
from speedtest_logger.distributed.local import LocalEngine
from speedtest_logger.distributed.published import Published
from speedtest_logger.distributed.tree import NotSplitError
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.sinks.place import Place

# Bytes of touched columns below which one DuckDB is not slower: starting a distributed question costs 0.2 to 0.4 s, as
# much as two cores read of it (measured: docs/decisions/distributed-engine.md).
SMALL_BYTES = 10**9


@dataclass(frozen=True)
class Store:
    """A published table, and what answers questions over it.

    `force` sends small questions to the engine too; `only_split` refuses what one DuckDB would have to answer.
    """

    place: Place
    engine: Engine = field(default_factory=LocalEngine)
    force: bool = False
    only_split: bool = False

    def answer(self, sql: str, scope: Scope, besides: str = "") -> pa.Table:
        """The answer to SQL over the view `records`, narrowed. Raises UsageError, StorageError, DeliveryError."""
        if speaks_of_raw(sql):
            self._refuse_raw(sql)
        condition = f"{scope.condition()} {besides}".strip()
        published = Published.of(self.place).narrowed(scope)
        whole = Task(self.place.address, published.files, condition, sql, published.size())
        if isinstance(self.engine, LocalEngine):
            return LocalEngine().run([whole])[0]
        try:
            if not self.force and published.touched(f"{sql} {condition}") < SMALL_BYTES:
                raise NotSplitError("it is small")
            return self._in_parts(published, whole)
        except NotSplitError as error:
            if self.only_split:
                raise UsageError(
                    f"this is not answered in parts: {error}. Without --only-distributed one DuckDB here answers it"
                ) from error
            return LocalEngine().run([whole])[0]

    def _in_parts(self, published: Published, whole: Task) -> pa.Table:
        try:
            plan = splitting.planned(whole.sql, whole.condition, time.time())
        except duckdb.Error as error:
            raise UsageError(str(error)) from error
        if plan.whole_buckets and published.buckets is None:
            raise NotSplitError("somebody else wrote to the table: that a location lies in one bucket is not certain")
        groups = published.fragments(whole_buckets=plan.whole_buckets)
        tasks = [replace(whole, files=files, sql=plan.fragment) for files in groups]
        parts = self.engine.run(tasks) if tasks else []
        try:
            return plan.merged(parts)
        except pa.ArrowException as error:
            raise StorageError(f"{self.engine.name}: parts have other columns than planned: {error}") from error

    def _refuse_raw(self, sql: str) -> None:
        """Raw output is not published."""
        with duckdb.connect() as connection:
            try:
                names = connection.get_table_names(sql)
            except duckdb.Error:
                return  # the question is wrong, whoever answers it will say so
        if "raw" in names:
            raise UsageError("raw output is not published: ask for it on the archive host, without --store")


def opened(address: str, wanted: str | None = None, keys: Keys | None = None, *, only_split: bool = False) -> Store:
    """A published table with an engine: `wanted` is used for every question, SPEEDTEST_ENGINE for large ones.

    `keys` are this member's of the cluster, by default those of this host. Raises UsageError, ConfigError.
    """
    name = wanted or os.environ.get("SPEEDTEST_ENGINE") or LocalEngine.name
    if name == LocalEngine.name:
        if only_split:
            raise UsageError("--only-distributed wants a cluster: --engine dask://HOST:8786")
        return Store(Place.of(address))
    try:
        from speedtest_logger.distributed.dask import DaskEngine, address_of

        address_of(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed: pip install 'speedtest-telemetry[cluster]', or have the host in the group "
            "speedtest_cluster"
        ) from error
    engine = DaskEngine(name, keys or read_keys())
    return Store(Place.of(address), engine, force=bool(wanted), only_split=only_split)
