"""What ingest needs at its peak, whatever a node delivers: in a process of its own, by the kernel's count."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from base64 import b64encode

import pytest
from builders import FIRST, ROOT, slot
from tries import some

from speedtest_logger import wire
from speedtest_logger.archive.arrive.delivery import as_line
from speedtest_logger.archive.format.layout import sealed_name

MOST_MB = 600
LONGEST = [("one day", 60, 100, 5), ("days", 2, 2100, 60)]
PROGRAM = """
import json, sys
from pathlib import Path
from speedtest_logger import light
light.start()
from speedtest_logger.archive.care import verify
from speedtest_logger.archive.write import ingest
from speedtest_logger.archive.format.layout import Layout
layout = Layout(Path(sys.argv[1]))
outcome = vars(ingest.ingest(layout))
status = Path("/proc/self/status").read_text()  # getrusage also counts what this was forked from
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
print(json.dumps({**outcome, "peak_mb": peak / 1024}))
"""


def ingested(layout):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, layout.root], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    return json.loads(done.stdout)


def test_raw_output_that_unpacks_to_the_most_that_is_allowed(layout):
    content = b64encode(zlib.compress(bytes(wire.MOST_BYTES))).decode()
    folder = layout.raw_inbox / "mallory"
    folder.mkdir()
    with (folder / "01.jsonl").open("w") as stream:
        for n in range(2_000):
            started = f"2026-01-{n % 20 + 1:02d}T00:00:00.000Z"
            stream.write(json.dumps({"run_id": f"run-{n}", "started_at": started, "content": content}) + "\n")
    outcome = ingested(layout)
    assert outcome["peak_mb"] < MOST_MB
    assert 16 * 20 <= outcome["raw"] <= 17 * 20


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "deliveries", "records", "apart"), some(LONGEST, 2))
def test_deliveries_of_the_longest_valid_records(layout, name, deliveries, records, apart):
    texts = ["message", "engine", "engine_requested", "engine_version", "server_id", "server_name", "server_host",
             "server_country", "isp", "external_ip", "interface", "result_url", "logger_version"]  # fmt: skip
    folder = layout.inbox / "mallory"
    folder.mkdir()
    for part in range(deliveries):
        rows = [
            slot(
                "mallory",
                FIRST + apart * (part * records + n),
                **dict.fromkeys(texts, f"{part:03d}{n:06d}" + "\N{GRINNING FACE}" * 590),
            )
            for n in range(records)
        ]
        content = b"".join(map(as_line, rows))
        assert 30e3 < len(content) / records < 34e3
        (folder / sealed_name(f"{part:026d}", content)).write_bytes(content)
    outcome = ingested(layout)
    assert outcome["added"] == deliveries * records
    assert outcome["peak_mb"] < MOST_MB
