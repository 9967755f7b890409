"""Programs of others read the published table as the how-to types it: `make readers`, in their own environment."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from builders import DAY, FIRST, ROOT, put, slot
from stores import BUCKET, KEYS, store

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

PYTHON = ROOT / ".venv-readers/bin/python"
PAGE = ROOT / "docs/how-to/publish-to-an-object-store.md"
FOLDER = "/mnt/usb/records"  # on the page
MONTHS = 3
ROWS = {"home": 31 * MONTHS, "garden": 31 * MONTHS}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Variables for programs that read a table with these rows by location."""
    folder = tmp_path_factory.mktemp("readers")
    layout = Layout(folder / "archive")
    layout.prepare()
    nodes = {"home": "attic", "garden": "porch"}
    put(
        layout, *[slot(nodes[place], FIRST + day * DAY, place) for place, count in ROWS.items() for day in range(count)]
    )
    with store(folder) as address:
        options = {**KEYS, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}
        table = str(folder / "records")
        for place in (Place.of(f"s3://{BUCKET}/records", options), Place.of(table)):
            delta.Publisher(layout, place, 2).publish()
        yield {**os.environ, **options, "SPARK_LOCAL_IP": "127.0.0.1", "TABLE": table}


def blocks() -> dict[str, str]:
    """The how-to's Python by the program that it is for."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    of_table = [code for code in found if "uploads" not in code]
    return {re.search(r"daft|polars|duckdb|to_pandas|pyspark", code)[0]: code for code in of_table}


@pytest.mark.parametrize("program", ["duckdb", "to_pandas", "polars", "daft", "pyspark"])
def test_it_reads_every_row_by_location(published, program, tmp_path):
    code = blocks()[program].replace(FOLDER, published["TABLE"])
    done = subprocess.run(
        [PYTHON, "-c", code], env=published, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    for location, count in ROWS.items():
        (line,) = (line for line in done.stdout.splitlines() if location in line)
        assert str(count) in line
