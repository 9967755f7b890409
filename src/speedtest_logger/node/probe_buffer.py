"""Answers of probes on their way to results: some minutes of them wait in memory, then they are one file on the disk.

An SD card has one write in five minutes from them. A machine that loses its power loses the minutes since.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger import files
from speedtest_logger.log import Log
from speedtest_logger.node.config import Settings
from speedtest_logger.node.probe_results import ENDING, RESULT_SECONDS, STATE, rows, waiting_results
from speedtest_logger.node.spool import Spool
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.probes.contract import Answer
from speedtest_logger.record import utc_text

ANSWERS, OUTAGE = "probes.jsonl", "outage.json"
MOST_WAITING_BYTES = 1_000_000  # of answers, while the disk is full
MOST_BYTES = 8_000_000  # of results that the archive does not have: two weeks of five targets


@dataclass
class Entry:
    """A probe's answer of one target; moments are Unix times (s)."""

    probe: str
    target: str
    began: float
    answer: Answer = field(default_factory=lambda: Answer(0))
    until: float = 0.0


@dataclass(frozen=True)
class Buffer:
    """The answers that wait, in a folder that is lost with the power, where there is one."""

    settings: Settings
    spool: Spool
    folder: Path

    @classmethod
    def of(cls, settings: Settings, spool: Spool) -> Buffer:
        """The node's."""
        usable = settings.runtime_dir.is_dir() and os.access(settings.runtime_dir, os.W_OK)
        return cls(settings, spool, settings.runtime_dir if usable else spool.directory / "state")

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep the answers of a run."""
        self._append([asdict(entry) for entry in entries])

    def leave_out(self, moment: float) -> None:
        """Count a run that was left out."""
        self._append([{"left_out": moment}])

    def _append(self, added: list[dict[str, Any]]) -> None:
        with files.open_to_append(self.folder / ANSWERS) as stream:
            if stream.tell() > MOST_WAITING_BYTES:
                stream.truncate(0)
            stream.write("".join(json.dumps(row) + "\n" for row in added).encode())

    def waiting(self) -> tuple[list[Entry], list[float]]:
        """The answers, and when runs were left out; what was torn is left out."""
        entries, left_out = [], []
        for row in rows(self.folder / ANSWERS):
            with suppress(KeyError, TypeError, ValueError):
                if "left_out" in row:
                    left_out.append(float(row["left_out"]))
                else:
                    entries.append(Entry(**{**row, "answer": Answer(**row["answer"])}))
        return entries, left_out

    def write_when_due(self, now: float, log: Log) -> bool:
        """Make results of the answers once they are of five minutes; whether that was now."""
        entries, left_out = self.waiting()
        if not entries:
            return False
        every = self.settings.probe_interval_seconds
        age = now - entries[0].began  # below 0 where the clock was set back since
        if 0 <= age < RESULT_SECONDS - 1.5 * every:
            return False
        if shutil.disk_usage(self.spool.directory).free < self.settings.disk_min_free_mb * 1e6:
            return False
        made = [row.to_row() for row in results(self.settings, entries, left_out)]
        content = "".join(json.dumps(row) + "\n" for row in made).encode()
        self.make_room(len(content), log)
        name = utc_text(min(entry.began for entry in entries)).replace(":", "").replace("-", "")
        files.write_durably(self.spool.probes / f"{name}{ENDING}", content)
        (self.folder / ANSWERS).unlink(missing_ok=True)
        self.spool.write_hint(STATE, {"at": now, "results": made})
        return True

    def make_room(self, coming: int, log: Log) -> None:
        """Remove the oldest results where there are too many."""
        there = waiting_results(self.spool)
        total = sum(size for _, size in there) + coming
        gone = 0
        for file, size in there:
            if total <= MOST_BYTES:
                break
            file.unlink(missing_ok=True)
            total, gone = total - size, gone + 1
        if gone:
            log.event("warning", "probe_results_dropped", files=gone)

    def outage(self) -> tuple[set[str], float]:
        """Which targets of ping did not answer in the last run, and when a way was traced last (Unix time, s)."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(files.read_bounded(self.folder / OUTAGE))
            return set(map(str, known["targets"])), float(known["traced"])
        return set(), 0.0

    def remember_outage(self, targets: set[str], traced: float) -> None:
        """For the next run."""
        temporary = self.folder / f".{OUTAGE}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps({"targets": sorted(targets), "traced": traced}) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / OUTAGE)


def results(settings: Settings, entries: Sequence[Entry], left_out: Sequence[float] = ()) -> list[ProbeResult]:
    """A result for each target of each probe, in the order in which they were first asked."""
    grouped: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.probe, entry.target), []).append(entry)
    return [result(settings, of, len(left_out)) for of in grouped.values()]


def result(settings: Settings, entries: Sequence[Entry], left_out: int = 0) -> ProbeResult:
    """The runs of one probe against one target as one row."""
    first = entries[0]
    answers = [entry.answer for entry in entries]
    times = sorted(time for answer in answers for time in answer.times_ms)
    failed = [entry for entry in entries if entry.answer.failed]
    last = next((answer for answer in reversed(answers) if answer.reason), None)
    began = min(entry.began for entry in entries)
    sent = sum(answer.sent for answer in answers)
    return ProbeResult(
        started_at=utc_text(began),
        finished_at=utc_text(max(began, *(entry.until for entry in entries))),
        location=settings.location,
        probe=first.probe,
        target=first.target,
        ip_family=next((answer.ip_family for answer in reversed(answers) if answer.ip_family), None),
        runs=len(entries),
        left_out=left_out if first.probe != "traceroute" else 0,
        sent=sent,
        lost=sent - len(times),
        min_ms=rank(times, 0),
        median_ms=rank(times, 0.5),
        p90_ms=rank(times, 0.9),
        max_ms=rank(times, 1),
        failed_from=utc_text(min(entry.began for entry in failed)) if failed else None,
        failed_until=utc_text(max(max(entry.began, entry.until) for entry in failed)) if failed else None,
        reason=last.reason if last else None,
        message=last.message if last else None,
        path=next((answer.path for answer in reversed(answers) if answer.path), None),
    )


def rank(times: Sequence[float], share: float) -> float | None:
    """The value that such a share of sorted values does not exceed; None of none."""
    return round(times[max(0, math.ceil(share * len(times)) - 1)], 3) if times else None
