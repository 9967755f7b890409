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


def printed(program):
    return float(subprocess.run([sys.executable, "-c", SEEN + program], check=True, stdout=-1, text=True).stdout)


def test_memory_that_was_freed_is_given_back():
    assert printed(FREED) > 100
