"""Two runs at once, settings differing: one inventory's state at the end, and the other is told whose run it is."""

from __future__ import annotations

from fleet import started
from killing import SECONDS, disagreements, site, words

HUB, NODES = "hub", ["hub", "attic"]
INTERVALS = ("2min", "4min")


def test_one_inventorys_state():
    """Each is limited to a node of its own; test_5_runs.py of `site` has those that are not."""
    runs = []
    for interval, node in zip(INTERVALS, NODES, strict=True):
        runs.append(started("site.yml", *words({"speedtest_logger_interval": interval}), "--limit", node))
    said = [run.communicate(timeout=SECONDS)[0] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes, "\n".join(text[-2000:] for text in said)
    for code, text in zip(codes, said, strict=True):
        if code:
            told = " ".join(text.split())
            assert "another run" in told, told[-3000:]
            assert "since" in told
    assert disagreements(HUB, NODES) == []
    site({})
