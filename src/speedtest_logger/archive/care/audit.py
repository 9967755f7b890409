"""An archive is looked through once for what earlier versions let in.

That is: runs that are there twice in a node's months or locations, records whose run_id is not the one that node and
slot give, and records of a location that the registry does not know for their node. Nothing is changed.
state/audit.json has what was found and says that it is done; when that is removed, the next `verify` looks again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pyarrow as pa

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import index
from speedtest_logger.archive.read import audited
from speedtest_logger.archive.read.audited import Finding
from speedtest_logger.archive.read.dataset import open_archive
from speedtest_logger.archive.write import store
from speedtest_logger.files import write_durably
from speedtest_logger.record import run_id_of_slot, utc_text

DOUBLED = """
    SELECT count(*) AS runs, coalesce(sum(n), 0)::BIGINT AS records, min(run_id) AS example,
           list_sort(list_distinct(flatten(list(places)))) AS places
    FROM (SELECT run_id, count(*) AS n, list(DISTINCT location) AS places FROM records GROUP BY run_id)
    WHERE n > 1"""
SLOTS = """
    SELECT run_id, strftime(scheduled_at, '%Y-%m-%dT%H:%M:%S.%gZ') AS slot FROM records
    WHERE scheduled_at IS NOT NULL AND runtime <> 'imported'"""
PLACES = """
    SELECT location, count(*) AS records FROM records WHERE runtime <> 'imported' GROUP BY location ORDER BY location"""


def once(layout: Layout, progress: Callable[[int], None] | None = None) -> list[str]:
    """What the look through the archive found, in words; it is done first where it never was.

    `progress` hears of each node. Raises StorageError for a month or a registry that cannot be read.
    """
    if not os.path.lexists(audited.file_of(layout)):
        findings = [finding for node in look(layout, progress) for finding in node]
        state = {"at": utc_text(time.time()), "findings": [vars(finding) for finding in findings]}
        with suppress(OSError), store.as_owner(layout.root):  # who may only read gets the answer
            write_durably(audited.file_of(layout), json.dumps(state).encode())
        return [audited.words(finding) for finding in findings]
    return audited.problems(layout)


def look(layout: Layout, progress: Callable[[int], None] | None = None) -> Iterator[list[Finding]]:
    """Each node's findings; one node's rows are in memory at a time."""
    known = registry.read(layout.root)
    archive = open_archive(layout.root)
    for node in sorted(index.read(layout).nodes):
        runs, slots, locations = archive.only(node=node).answers([DOUBLED, SLOTS, PLACES])
        yield [*doubled(node, runs), *other_runs(node, slots), *foreign(node, locations, known)]
        if progress:
            progress(1)


def doubled(node: str, runs: pa.Table) -> Iterator[Finding]:
    """Runs that are there more than once."""
    found = runs.to_pylist()[0]
    if found["runs"]:
        places, example = ", ".join(found["places"]), found["example"]
        text = f"{found['runs']} runs are stored {found['records']} times (locations: {places}), such as {example}"
        yield Finding(node, "doubled", found["records"] - found["runs"], text)


def other_runs(node: str, slots: pa.Table) -> Iterator[Finding]:
    """Records whose run_id is not what their node and slot give."""
    wrong, example = 0, ""
    for batch in slots.to_batches(10_000):
        for run_id, slot in zip(batch["run_id"].to_pylist(), batch["slot"].to_pylist(), strict=True):
            if run_id != run_id_of_slot(node, slot):
                wrong, example = wrong + 1, example or f"{run_id} for slot {slot}"
    if wrong:
        yield Finding(node, "run_id", wrong, f"{wrong} records have another run_id than their slot gives: {example}")


def foreign(node: str, locations: pa.Table, known: registry.Registry | None) -> Iterator[Finding]:
    """Records of locations that the registry does not know for the node."""
    if known is None:
        return
    found = known.known(node)
    if found and not found.locations:  # none is known: any may be true
        return
    for row in locations.to_pylist():
        if found is None or row["location"] not in found.locations:
            text = f"{row['records']} records of location '{row['location']}', where the registry does not know it"
            yield Finding(node, "location", row["records"], text)
