"""Results of nodes' probes, as they come: judged each, bounded by day, and never in the way of a record.

    probe-inbox/NODE/ULID.jsonl     a result (probe_result.ProbeResult) a line

Standard library only: receive uses it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.arrive import side_lines
from speedtest_logger.archive.arrive.judge import Rules
from speedtest_logger.archive.arrive.side_lines import Refused, SideLines
from speedtest_logger.archive.arrive.standing import MB, Standing
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RecordError
from speedtest_logger.files import AT_ONCE, Sync
from speedtest_logger.probe_result import validate
from speedtest_logger.record import utc_text

PARSED_BYTES = 8 * MB
MOST_REFUSED = 100  # of a delivery: what comes behind them is not looked at
SMALL_BYTES = MB  # a day's file that is written anew at every ingest
PATIENCE = 300  # s that results wait for a larger one to be worth that


@dataclass
class Results(SideLines):
    """The results of one delivery: what was kept of them, and how many were not."""

    kind = "probe"
    begins = b'{"' + wire.PROBES.encode() + b'"'
    between = b"}, {"
    most_line = wire.MOST_PROBES_LINE

    rules: Rules = field(kw_only=True)
    refused: int = 0

    @classmethod
    def of(
        cls,
        folder: Path,
        as_line: Callable[[dict[str, Any]], bytes],
        stands: Standing,
        rules: Rules,
        sync: Sync = AT_ONCE,
    ) -> Results:
        """Those of a delivery that begins now, into a folder of the inbox."""
        inbox = side_lines.incoming(folder, rules.limits.probe_inbox_mb * MB, sync)
        room = rules.limits.probe_day_mb * MB - stands.kept_today(cls.kind)
        return cls(inbox, as_line, room, PARSED_BYTES, rules=rules)

    def take(self, row: dict[str, Any]) -> Refused:
        """Keep the results that may come in; returns the others. Raises RecordError for a line without a list."""
        results = row[wire.PROBES] if len(row) == 1 else None
        if not isinstance(results, list):
            raise RecordError("bad_probes", "results of probes must be a list")
        refused: Refused = []
        for number, result in enumerate(results):
            if self.refused >= MOST_REFUSED:
                self.left_out += len(results) - number
                break
            try:
                self._take(result)
            except RecordError as error:
                self.refused += 1
                refused.append((json.dumps(result).encode(), error))
        return refused

    def _take(self, result: object) -> None:
        if not isinstance(result, dict):
            raise RecordError("bad_probes", "a result must be an object")
        self.rules.check_result(validate(result))
        self.keep(result)


def are_due(layout: Layout, now: float) -> bool:
    """Whether what waits is worth writing the day's file anew."""
    file = layout.probe_file(utc_text(now)[:10])
    return side_lines.are_due(layout.probe_inbox, file, now, SMALL_BYTES, PATIENCE)
