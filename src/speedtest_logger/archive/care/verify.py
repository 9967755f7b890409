"""verify: the dataset against its manifest, byte by byte; what differs is named by file and day."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.format import digest, month, parquet
from speedtest_logger.archive.format.layout import Layout, day_of
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.ledger.manifest import FileState
from speedtest_logger.archive.read.dataset import open_archive
from speedtest_logger.archive.write import store
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.files import kind_of, read_bounded, write_durably
from speedtest_logger.record import utc_text

DOUBTFUL = "changed: the file was not as the manifest had left it when this day was written again at {}"
MOST_BYTES = 200_000_000  # of a row group of raw output, unpacked; those of today have 8,000,000
ADDED = "added: not a file of the dataset"
MOST_KEPT = 5  # of what was found: enough to know that `verify` has to be asked
DIGESTS = "SELECT run_id, raw_sha256 FROM records WHERE raw_sha256 IS NOT NULL"


@dataclass(frozen=True)
class Finding:
    """Something that is not as the manifest says: where, on which day where that is known, and what."""

    file: str
    day: str | None
    problem: str

    def to_row(self) -> dict[str, Any]:
        """As a flat row."""
        return dict(vars(self))


def verify(layout: Layout, progress: Callable[[int], None] | None = None) -> list[Finding]:
    """Everything that differs from the manifest; `progress` hears of each file's bytes.

    Changes that go on meanwhile are no findings: what differs is looked at again while nothing may change. Raises
    StorageError for a manifest that cannot be read or while another change of the archive goes on and on.
    """
    if findings := broken_links(layout):
        return findings
    wanted = manifest.state(layout)
    found = {layout.name(file) for file in layout.month_files()}
    suspects = sorted(found ^ set(wanted))
    for name in sorted(found & set(wanted)):
        if wanted[name].altered is not None or not digest.is_of(
            layout.archive / name, wanted[name].sha256, wanted[name].size
        ):
            suspects.append(name)
        if progress:
            progress(wanted[name].size)
    if suspects:
        with store.single_writer(layout, "verify", wait=60):
            wanted = manifest.state(layout)
            for name in suspects:
                findings += look(layout, name, wanted.get(name))
    return findings + strangers(layout) + wrong_words(layout)


def broken_links(layout: Layout) -> list[Finding]:
    """What is wrong with the manifest itself; looked at twice, for a line may be on its way."""
    if not manifest.broken_links(layout):
        return []
    with store.locked(layout, "verify", wait=60):
        return [Finding("manifest", None, problem) for problem in manifest.broken_links(layout)]


def look(layout: Layout, name: str, wanted: FileState | None) -> list[Finding]:
    """What is wrong with a file, by day."""
    file = layout.archive / name
    if wanted is None:
        return [Finding(name, None, "added: the manifest knows no such file")] if file.exists() else []
    if not file.exists():
        days = f"{min(wanted.days)} to {max(wanted.days)}" if wanted.days else None
        return [Finding(name, days, f"missing: {wanted.rows} rows")]
    untouched = digest.is_of(file, wanted.sha256, wanted.size)
    if untouched and wanted.altered is None:
        return []
    try:
        days_now = month.describe(file).days
    except DamagedFileError as error:
        days = f"{min(wanted.days)} to {max(wanted.days)}" if wanted.days else None
        return [Finding(name, days, f"changed: it cannot be read any more ({error.why})")]
    findings = [
        Finding(name, day, difference)
        for day in sorted({*wanted.days, *days_now})
        if (difference := compare(wanted.days.get(day), days_now.get(day)))
    ]
    findings += [Finding(name, day, DOUBTFUL.format(at)) for day, at in (wanted.altered or {}).items()]
    if findings or untouched:
        return findings
    return [Finding(name, None, "changed: its bytes differ, the rows of every day are as they were")]


def compare(wanted: tuple[int, str] | None, now: tuple[int, str] | None) -> str | None:
    """How a day differs, in words; None where it does not."""
    if wanted is None and now:
        return f"added: {now[0]} rows of a day that the manifest does not know"
    if wanted and now is None:
        return f"missing: {wanted[0]} rows"
    if wanted and now and wanted[0] != now[0]:
        return f"changed: {now[0]} rows instead of {wanted[0]}"
    return "changed: the rows' values differ" if wanted != now else None


def strangers(layout: Layout) -> list[Finding]:
    """What lies below the dataset and is none of its own; links are not followed."""
    months = set(layout.month_files())
    there = (
        Path(folder, name)
        for folder, folders, names in os.walk(layout.archive)
        for name in [*names, *folders]
        if not name.startswith(".")
    )
    kinds = {
        file: kind for file in there if file not in months and (kind := kind_of(file)) not in ("a directory", None)
    }
    return [
        Finding(
            layout.name(file), None, f"added: {kind}, which is not a file of the dataset" if kind != "a file" else ADDED
        )
        for file, kind in sorted(kinds.items())
    ]


def wrong_words(layout: Layout) -> list[Finding]:
    """Raw output that is not what its records say."""
    findings = []
    for node, files in groupby(layout.raw_files(), key=lambda file: file.parts[-5].partition("=")[2]):
        known = open_archive(layout.root).only(node=node).query(DIGESTS)
        digests = dict(zip(known["run_id"].to_pylist(), known["raw_sha256"].to_pylist(), strict=True))
        for file in files:
            findings += [
                Finding(file.relative_to(layout.root).as_posix(), day_of(file), problem)
                for problem in differences(file, digests)
            ]
    return findings


def differences(file: Path, digests: dict[str, str]) -> Iterator[str]:
    """What is wrong with a file of raw output; `digests` gives SHA-256 by run_id."""
    try:
        with parquet.reading(file):
            source = parquet.ParquetFile(file)
            for number in range(source.num_row_groups):
                if (size := source.metadata.row_group(number).total_byte_size) > MOST_BYTES:
                    yield f"not looked at: {size // 1_000_000} MB of raw output in one piece; the file may be removed"
                    continue
                yield from _other_words(source.read_row_group(number, use_threads=False), digests)
    except DamagedFileError as error:
        yield f"changed: it cannot be read any more ({error.why})"


def _other_words(rows: pa.Table, digests: dict[str, str]) -> Iterator[str]:
    for run_id, content in zip(rows["run_id"].to_pylist(), rows["content"], strict=True):
        wanted = digests.get(run_id)  # none where the record was pruned: no query shows the words
        if wanted and hashlib.sha256(content.as_buffer()).hexdigest() != wanted:
            yield f"changed: the raw output of run {run_id} is not what its record says"


def keep(layout: Layout, findings: list[Finding]) -> None:
    """Remember what was found, for `problems`."""
    state = {
        "at": utc_text(time.time()),
        "count": len(findings),
        "findings": [f.to_row() for f in findings[:MOST_KEPT]],
    }
    with suppress(OSError), store.as_owner(layout.root):  # who may only read, or a disk that is full, gets the answer
        write_durably(layout.state / "verify.json", json.dumps(state).encode())


def problems(layout: Layout) -> list[str]:
    """What the last verify found, in words; nothing where there was none yet."""
    try:
        state = json.loads(read_bounded(layout.state / "verify.json"))
        found = [" ".join(filter(None, (row["file"], row["day"], row["problem"]))) for row in state["findings"]]
        return [*found, *([f"and {state['count'] - len(found)} more"] if state["count"] > len(found) else [])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def sizes(layout: Layout) -> int:
    """Bytes that verify will read."""
    return sum(state.size for state in manifest.state(layout).values())


def explain(layout: Layout, name: str) -> list[dict[str, Any]]:
    """How a file became what it is: a row per line of the manifest that names it."""
    rows = []
    for line in manifest.history(layout):
        if (entry := line.files.get(name)) is None:
            continue
        facts = entry.facts
        rows.append(
            {
                "at": line.at,
                "seq": line.seq,
                "verb": line.verb,
                "changes": line.count,
                "why": line.why,
                "rows": facts.rows if facts else 0,
                "sha256": facts.sha256 if facts else None,
                "days": ", ".join(sorted(facts.days)) if facts else "gone",
            }
        )
    return rows
