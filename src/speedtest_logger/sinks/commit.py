"""One commit of a published table: an object of its log, put under the next number on the condition that it is free.

What replaces the table's files is written here, since each commit is one conditional PUT then: deltalake's own asks
the store four times more. It reads the log, makes checkpoints, puts files together and removes old ones all the same.

The lines of an entry: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from deltalake import DeltaTable

from speedtest_logger import __version__
from speedtest_logger.errors import DeliveryError, UsageError
from speedtest_logger.sinks.objects import Objects

Action = dict[str, dict[str, Any]]  # a line of an entry
WRITER_VERSION = 2  # of the protocol: tables that ask more of a writer have features that this module does not know
MOST_BYTES = 100_000_000  # of an entry that is read
EACH_CHECKPOINT = 100  # commits, as deltalake has it


def check_protocol(table: DeltaTable) -> None:
    """Raise UsageError for a table that asks of a writer what is not known here, or forbids what is done here."""
    wanted = table.protocol()
    if wanted.min_writer_version > WRITER_VERSION or wanted.writer_features:
        raise UsageError(
            f"{table.table_uri} asks for version {wanted.min_writer_version} of Delta's protocol for writers, with "
            f"{', '.join(wanted.writer_features or []) or 'no features'}; this program writes version "
            f"{WRITER_VERSION}: nothing was changed; name an address where there is no table"
        )
    if table.metadata().configuration.get("delta.appendOnly") == "true":
        raise UsageError(
            f"{table.table_uri} is set to be added to only (delta.appendOnly), where days of an archive are replaced: "
            "nothing was changed; take that back, or name an address where there is no table"
        )


def added(path: str, size: int, partition: Mapping[str, str], statistics: Mapping[str, Any]) -> Action:
    """A file of so many bytes is the table's from now on."""
    return {
        "add": {
            "path": path,
            "partitionValues": dict(partition),
            "size": size,
            "modificationTime": now(),
            "dataChange": True,
            "stats": json.dumps(statistics),
        }
    }


def removed(path: str, size: int, partition: Mapping[str, str]) -> Action:
    """A file is no part of the table any more."""
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": now(),
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": dict(partition),
            "size": size,
        }
    }


def transaction(application: str, number: int) -> Action:
    """How far a program has got with what it writes."""
    return {"txn": {"appId": application, "version": number, "lastUpdated": now()}}


def now() -> int:
    """Unix time, ms."""
    return int(time.time() * 1000)


def somebody_else_wrote(address: str) -> DeliveryError:
    """The number of a commit was taken."""
    return DeliveryError(
        f"{address}: somebody else wrote to the table meanwhile: nothing of this publish took effect, the next one "
        "goes on. There should be one archive that publishes to a table"
    )


def write(objects: Objects, table: DeltaTable, actions: Iterable[Action], metadata: Mapping[str, str]) -> None:
    """Make all of this the version after the one that `table` is of, or none of it.

    `metadata` is found in the table's history. Raises DeliveryError where that version is somebody else's by now, and
    StorageError where the store does not do its part: whether it took the commit is not known then.
    """
    said = {"timestamp": now(), "operation": "WRITE", "operationParameters": {"mode": "Append"}}
    info = {"commitInfo": {**said, "engineInfo": f"speedtest-telemetry/{__version__}", **metadata}}
    content = "\n".join(json.dumps(line, separators=(",", ":")) for line in (info, *actions)).encode()
    number = table.version() + 1
    name = f"_delta_log/{number:020d}.json"
    if not objects.put_new(name, content) and not _is_ours(objects, name, content):
        raise somebody_else_wrote(objects.place.address)
    if number % EACH_CHECKPOINT == 0:
        table.update_incremental()
        table.create_checkpoint()


def _is_ours(objects: Objects, name: str, content: bytes) -> bool:
    """Whether the store had taken it, and its answer got lost: then the same was put again, and refused."""
    there = objects.get(name, MOST_BYTES)
    return there is not None and there[0] == content
