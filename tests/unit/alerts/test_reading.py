"""What is read of the archive, as it is judged."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest
from builders import FIRST
from fleets import known, records

from speedtest_logger.alerts import reading
from speedtest_logger.alerts.judge import Line

DAY = 86_400


@pytest.mark.parametrize("interval", [900, 3600])
def test_what_is_less_than_usual_is_found_at_each_interval(interval):
    line = known("attic", interval=interval, below_usual=True, below_plan=False)
    letters = "0" * (40 * DAY // interval) + "4" * 6 + "0" * 6
    content = [{name: row[name] for name in reading.COLUMNS} for row in records(line, "attic", letters)]
    for row in content:
        for name in ("scheduled_at", "started_at"):
            row[name] = datetime.fromisoformat(row[name])
    found = pa.Table.from_pylist(content, reading.SCHEMA)
    end = FIRST + len(letters) * interval
    judged = Line(line.location, line.limits).take(reading.tests(line, found, FIRST, end, end))
    assert [(f.rule, f.began) for f in judged.found] == [("below_usual", FIRST + 40 * DAY)]
