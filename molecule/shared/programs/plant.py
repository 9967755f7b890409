"""What a service account in a stranger's hands can do with names; run as that account, standard library only.

plant.py plant shallow|deep KIND WORD…   at every name that the account has or could make in a directory that it may
                                         write to: shallow replaces folders as a whole, deep what lies in them
plant.py undo                            puts everything back

Prints what was planted, one path a line. KIND is one of KINDS, or mixed: another one at each name.
"""

import json
import os
import shutil
import socket
import stat
import sys

# a container's root is read-only: there it lies among what the account has
HOME = next(
    f"{place}/planted-{os.getuid()}"
    for place in ("/var/tmp", "/var/lib/speedtest-telemetry/state")
    if os.access(place, os.W_OK)
)
NOT_WALKED = {"/proc", "/sys", "/dev", "/run/user", HOME}
LINKED = ("/etc/shadow", "/root/secret", "/etc/cron.d/planted", "/usr/local/bin", "/root")
MOST_NAMES = 20_000
ENDLESS = 1 << 40


def link(path, number):
    os.symlink(LINKED[number % len(LINKED)], path)


def pipe(path, _):
    os.mkfifo(path)


def unix_socket(path, _):
    place = f"{HOME}/s"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(place)
    os.rename(place, path)


def hard_link(path, number):
    """To a file of others where the kernel lets the account (fs.protected_hardlinks), else to one of its own."""
    own = f"{HOME}/own"
    with open(own, "a", encoding="ascii"):
        pass
    for target in (LINKED[number % 2], "/etc/passwd", "/usr/bin/env", own):
        try:
            os.link(target, path)
        except OSError:
            continue
        return


def device(path, _):
    """A device where the kernel lets the account (it needs CAP_MKNOD), else a link to one."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        os.symlink("/dev/zero", path)


def folder(path, _):
    os.mkdir(path)


def endless(path, _):
    with open(path, "wb") as file:
        file.truncate(ENDLESS)


KINDS = {
    "link": link,
    "pipe": pipe,
    "socket": unix_socket,
    "hard_link": hard_link,
    "device": device,
    "folder": folder,
    "endless": endless,
}


def folders(top="/"):
    """Directories that the account may write to."""
    try:
        entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    except OSError:
        return
    if os.access(top, os.W_OK | os.X_OK):
        yield top
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.path not in NOT_WALKED:
            yield from folders(entry.path)


def movable(path):
    """Whether the account may take a name away: not where the sticky bit guards what is another's."""
    above, own = os.stat(os.path.dirname(path)), os.getuid()
    return not above.st_mode & stat.S_ISVTX or own in (above.st_uid, os.lstat(path).st_uid)


def names(depth, words):
    """All names, those that are there and those that could be; of a folder that goes as a whole nothing inside."""
    gone = []
    for place in list(folders()):
        if any(place.startswith(f"{above}/") or place == above for above in gone):
            continue
        for name in sorted({*os.listdir(place), *words}):
            path = os.path.join(place, name)
            if not os.path.lexists(path):
                yield path
            elif movable(path) and path != HOME:
                if not os.path.isdir(path) or os.path.islink(path):
                    yield path
                elif depth == "shallow":
                    gone.append(path)
                    yield path


def plant(depth, kind, words):
    os.makedirs(f"{HOME}/kept", exist_ok=True)
    makers = list(KINDS.values()) if kind == "mixed" else [KINDS[kind]]
    planted, kept = [], {}
    try:
        for number, path in enumerate(names(depth, words)):
            if number >= MOST_NAMES:
                break
            if os.path.lexists(path):
                stash = f"{HOME}/kept/{number}"
                try:
                    os.rename(path, stash)
                except OSError:
                    continue
                kept[stash] = path
            try:
                makers[number % len(makers)](path, number)
            except OSError:
                continue
            planted.append(path)
    finally:
        with open(f"{HOME}/journal.json", "w", encoding="utf-8") as file:
            json.dump({"planted": planted, "kept": kept}, file)
    print("\n".join(planted))


def undo():
    if not os.path.exists(f"{HOME}/journal.json"):
        return
    with open(f"{HOME}/journal.json", encoding="utf-8") as file:
        journal = json.load(file)
    for path in reversed(journal["planted"]):
        remove(path)
    for stash, path in journal["kept"].items():
        remove(path)
        os.rename(stash, path)
    shutil.rmtree(HOME)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


if sys.argv[1] == "plant":
    plant(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    undo()
