"""A change of the runtime is killed half way: the next run finishes it, and never do both runtimes measure at its end.

KILL_STEP=1 kills after every single change.
"""

from __future__ import annotations

from killing import site, step, walk

STEP = 7


def test_a_change_of_runtime(tmp_path):
    site({})
    walk(("archive", ["shed"]), ({"speedtest_logger_runtime": "compose"}, {}), tmp_path / "counted", step(STEP))
