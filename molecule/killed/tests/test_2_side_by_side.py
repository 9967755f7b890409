"""Two runs at once, settings differing: one inventory's state at the end, and the other is told whose run it is."""

from __future__ import annotations

import time

import pytest
from fleet import started
from killing import SECONDS, disagreements, env, site, words

HUB, NODES = "hub", ["hub", "attic"]
INTERVALS = {"2min": "120", "4min": "240"}


@pytest.mark.parametrize(
    "limits", [(None, None), (None, "attic"), ("attic", "hub")], ids=["whole", "one limited", "both limited"]
)
def test_one_inventorys_state(limits):
    runs = []
    for interval, limit in zip(INTERVALS, limits, strict=True):
        runs.append(
            started("site.yml", *words({"speedtest_logger_interval": interval}), *(("--limit", limit) if limit else ()))
        )
        time.sleep(0.7)
    said = [run.communicate(timeout=SECONDS)[0] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes, "\n".join(text[-2000:] for text in said)
    for code, text in zip(codes, said, strict=True):
        if code:
            told = " ".join(text.split())
            assert "another run" in told, told[-3000:]
            assert "since" in told
    assert disagreements(HUB, NODES) == []
    brought = [INTERVALS[interval] for interval, code in zip(INTERVALS, codes, strict=True) if code == 0]
    if limits == (None, None):  # whichever was last, both nodes are as it says
        seen = {env(node)["INTERVAL_SECONDS"] for node in NODES}
        assert len(seen) == 1
        assert seen <= set(brought)
    site({})
