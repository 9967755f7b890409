"""Prometheus's own judgement of what is written for it, and what it reads there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


def check(text: str) -> None:
    """Fail with promtool's words where it finds fault with names, types or the form."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample's value by name and by its labels, sorted."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = found.setdefault(sample.name, {})
            key = tuple(sorted(sample.labels.items()))
            assert key not in own, f"{sample.name}{key} is there twice"
            own[key] = sample.value
    return found


def blocks(file: Path, folder: Path) -> int:
    """How many samples a database has that promtool makes of an OpenMetrics file."""
    blocks_of = "--max-block-duration=24h"  # by itself it makes one for each two hours
    argv = ["promtool", "tsdb", "create-blocks-from", blocks_of, "openmetrics", str(file), str(folder)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    listed = subprocess.run(["promtool", "tsdb", "list", str(folder)], capture_output=True, text=True, check=True)
    head, *rows = listed.stdout.splitlines()
    assert head.split()[:9] == ["BLOCK", "ULID", "MIN", "TIME", "MAX", "TIME", "DURATION", "NUM", "SAMPLES"]
    return sum(int(row.split()[4]) for row in rows)
