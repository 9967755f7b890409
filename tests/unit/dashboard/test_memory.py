"""Memory that is given back, in processes of their own."""

import subprocess
import sys

SEEN = """
import sys
from pathlib import Path
from speedtest_logger.dashboard import memory

def held(which):
    return int(Path("/proc/self/status").read_text().partition(which + ":")[2].split()[0]) / 1024
"""
FREED = """
memory.share_arena()
blocks = [bytearray(60_000) for _ in range(2_000)]
last = bytearray(60_000)  # above all of them: the heap cannot shrink by itself
del blocks
before = held("RssAnon")
memory.give_back()
print(before - held("RssAnon"))
"""
STARTED = """
import duckdb, numpy, pyarrow.compute
before = held("RssFile")
memory.forget_libraries()
print(held("RssFile") / before)
assert duckdb.sql("SELECT sum(range) FROM range(1000)").fetchall() == [(499_500,)]
assert pyarrow.compute.sum(pyarrow.array(numpy.arange(1000))).as_py() == 499_500
"""


def printed(program):
    return float(subprocess.run([sys.executable, "-c", SEEN + program], check=True, stdout=-1, text=True).stdout)


def test_memory_that_was_freed_is_given_back():
    assert printed(FREED) > 100


def test_libraries_are_read_again_where_they_are_used():
    assert printed(STARTED) < 0.5
