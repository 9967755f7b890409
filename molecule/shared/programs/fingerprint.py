"""What lies outside the services' own directories: owner, mode, size, time, where links lead, small files' bytes.

fingerprint.py keep FILE    fingerprint.py compare FILE    (prints what differs, one path a line)
"""

import hashlib
import json
import os
import stat
import sys

TREES = ("/etc", "/usr", "/opt", "/root", "/boot", "/bin", "/sbin", "/lib")
LARGEST_READ = 1_000_000
READ = ("/etc", "/root", "/usr/local")


def of(path):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    seen = [found.st_mode, found.st_uid, found.st_gid]
    if kind == stat.S_IFLNK:
        seen.append(os.readlink(path))
    elif kind == stat.S_IFREG:
        seen += [found.st_size, found.st_mtime_ns]
        if path.startswith(READ) and found.st_size <= LARGEST_READ:
            with open(path, "rb") as file:
                seen.append(hashlib.sha256(file.read()).hexdigest())
    return seen


def look():
    seen = {}
    for tree in TREES:
        seen[tree] = of(tree)
        for place, folders, files in os.walk(tree):
            folders[:] = [name for name in folders if name != "__pycache__"]
            seen.update((path, of(path)) for path in (os.path.join(place, name) for name in folders + files))
    return seen


now = look()
if sys.argv[1] == "keep":
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(now, file)
else:
    with open(sys.argv[2], encoding="utf-8") as file:
        before = json.load(file)
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            print(path, before.get(path), now.get(path))
