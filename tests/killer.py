"""Run a program of this project and kill -9 it right before its Nth change of the disk, or have the disk full then.

usage: python killer.py N MODULE ARGS…   (N = 0: do not kill; the number of changes is printed to standard error;
with DISK_FULL=1 in the environment only what needs space counts, and the Nth of these and all later ones fail instead)
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys

CHANGES = ("open", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "write")
NEED_SPACE = ("open", "fsync", "mkdir", "write")
done = 0


def arm(deadly: int) -> None:
    """Count the calls that change the disk; die before the deadly one."""
    disk_full = os.environ.get("DISK_FULL") == "1"

    def watched(name, original):
        def call(*args, **kwargs):
            global done  # noqa: PLW0603  (a counter of this process, which is about to die)
            if name != "open" or args[1] & os.O_CREAT:
                done += 1
                if disk_full and 0 < deadly <= done:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if done == deadly and not disk_full:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in NEED_SPACE if disk_full else CHANGES:
        setattr(os, name, watched(name, getattr(os, name)))


def main(argv: list[str]) -> int:
    deadly, module, *arguments = argv
    program = importlib.import_module(module)
    arm(int(deadly))
    try:
        return program.main(arguments)
    finally:
        print(f"changes={done}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
