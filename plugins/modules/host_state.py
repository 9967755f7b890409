#!/usr/bin/python
"""Observe a host: everything that a role manages, in one remote call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Observe a host and plan what differs from the desired state
description:
  - The module reads; it changes nothing. The action plugin of the same name compares what was read with what is desired
    and returns a plan, which the role C(managed_host) carries out with standard modules.
options:
  paths: {type: list, elements: str, default: [], description: Files and directories to look at.}
  links: {type: list, elements: str, default: [], description: Symbolic links to look at.}
  trees: {type: list, elements: str, default: [], description: Directories to digest as a whole.}
  folders: {type: list, elements: str, default: [], description: Directories whose own directories are listed.}
  read: {type: list, elements: str, default: [], description: "Files whose text is returned, no larger than 64 MB."}
  units: {type: list, elements: str, default: [], description: "systemd units to look at, or patterns of their names."}
  accounts: {type: list, elements: str, default: [], description: Accounts to look up.}
  packages: {type: list, elements: str, default: [], description: Packages to look up with dpkg-query.}
  candidates: {type: list, elements: str, default: [], description: Missing packages to ask apt about.}
  images: {type: list, elements: str, default: [], description: Docker images to look at.}
  repositories: {type: list, elements: str, default: [], description: Docker repositories whose images are listed.}
  containers: {type: list, elements: str, default: [], description: Docker containers to look at.}
  docker: {type: bool, default: false, description: Ask Docker for its versions.}
  programs: {type: list, elements: list, default: [], description: Command lines whose output is returned.}
  instead:
    type: dict
    default: {}
    description: "By program, small files of an account that are read instead of running it: C(read), where C(links),
      C(files) and C(trees) are as said, C(there) are there, C(empty) directories are empty, and in C(plain) ones
      nothing lies but files and directories."
  patience: {type: int, default: 20, description: Seconds after which a program that goes on is ended.}
notes:
  - It runs as root and looks into directories of accounts that may be hostile. It follows a link only where nobody but
    root can have put it, opens regular files only, never waits for a pipe or a program, and reads no more than a bound.
author: The speedtest-telemetry maintainers (!UNKNOWN)
"""
EXAMPLES = r"""
- name: Look at a host
  speedtest.telemetry.host_state:
    role: speedtest_logger
"""
RETURN = r"""
plan: {description: What differs and what has to be done., returned: success, type: dict}
"""

import contextlib
import errno
import glob
import grp
import hashlib
import json
import os
import pwd
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache, partial

# Every module that is imported here costs each host its time: no typing, and no shutil with its compressors.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST_DIGESTED = 16_000_000  # a larger file is known by its size
LARGEST_READ = 64_000_000
LARGEST_STATES = 100_000  # of all files together that are read instead of running a program
MOST_ENTRIES = 20_000  # of a directory that are looked at for that
MOST_LINKS = 40  # on one path, as the kernel has it
UNIT_PROPERTIES = (
    "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,FragmentPath,ActiveEnterTimestamp,"
    "ActiveEnterTimestampMonotonic,StateChangeTimestamp,StateChangeTimestampMonotonic"
)
KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}
PATIENCE = 20  # seconds for one program
NOTES: list[str] = []  # what could not be found out, and why


def which(program: str, path: str) -> str | None:
    """The file that a program's name stands for, as shutil.which has it."""
    names = [program] if "/" in program else [os.path.join(folder, program) for folder in path.split(os.pathsep)]
    return next((name for name in names if os.path.isfile(name) and os.access(name, os.X_OK)), None)


def name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def only_root_writes(found: os.stat_result) -> bool:
    """Whether nobody but root can change which names a directory holds."""
    return found.st_uid == 0 and not found.st_mode & 0o002 and not (found.st_mode & 0o020 and found.st_gid)


@cache
def walked(path: str) -> tuple[str, bool]:
    """A path without links, and whether only root decides what is found under it.

    A link is followed where only root can have set it. Another one raises OSError: the account that it belongs to
    chooses where it leads, and can choose again between our look and our next step.
    """
    real, safe, hops = "/", True, 0
    rest = path.split("/")
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            real = os.path.dirname(real)
            continue
        safe = safe and only_root_writes(os.lstat(real))
        here = os.path.join(real, part)
        if not stat.S_ISLNK(os.lstat(here).st_mode):
            real = here
            continue
        hops += 1
        if not safe or hops > MOST_LINKS:
            raise OSError(errno.ELOOP, "a link that is not root's", here)
        target = os.readlink(here)
        rest = target.split("/") + rest
        real = "/" if target.startswith("/") else real
    return real, safe and (not os.path.isdir(real) or only_root_writes(os.lstat(real)))


def place(path: str) -> tuple[str, bool]:
    """The same name in a directory that is free of links, and whether only root decides what stands there."""
    folder, safe = walked(os.path.dirname(path))
    return os.path.join(folder, os.path.basename(path)), safe


def content_of(path: str, largest: int) -> bytes | None:
    """A regular file's bytes; None where it has more of them. A link or a pipe that took its place is not read."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "no regular file", path)
        content = stream.read(largest + 1)
    return content if len(content) <= largest else None


def file_digest(path: str) -> str | None:
    """None where the file is too large, or is no longer what it was a moment ago."""
    try:
        content = content_of(path, LARGEST_DIGESTED)
    except OSError:
        return None
    return None if content is None else hashlib.sha256(content).hexdigest()


def path_state(path: str) -> dict[str, Any] | None:
    try:
        there, safe = place(path)
        found = os.lstat(there)
    except OSError as error:
        return None if error.errno != errno.ELOOP else {"kind": "unreachable", "by": error.filename, "safe": False}
    state: dict[str, Any] = {
        "kind": KINDS.get(stat.S_IFMT(found.st_mode), "device"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": name_of(grp.getgrgid, found.st_gid),
        "modified": found.st_mtime,
        "safe": safe,
    }
    if state["kind"] == "file":
        state["size"] = found.st_size
        state["hard_links"] = found.st_nlink
        state["sha256"] = file_digest(there) if found.st_size <= LARGEST_DIGESTED else None
    if state["kind"] == "link":
        state["target"] = link_state(path)
    return state


def tree_state(path: str) -> str | None:
    """A digest over names, modes and contents, byte code left out, as the lookup `release` makes it."""
    if os.path.islink(path) or not os.path.isdir(path):
        return None
    lines = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            file = os.path.join(folder, name)
            found = os.lstat(file)
            executable = bool(found.st_mode & 0o100)
            safe = found.st_uid == 0 and not found.st_mode & 0o022
            content = file_digest(file) if stat.S_ISREG(found.st_mode) else "no file"
            lines.append("%s %d %d %s" % (os.path.relpath(file, path), executable, safe, content))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


tree_seen = cache(tree_state)  # in one look: it reads a whole release


def compiled(path: str) -> bool:
    """Whether every module of a release has byte code: compiling is the last step of putting it there."""
    for folder, _, files in os.walk(os.path.join(path, "speedtest_logger")):
        made = os.path.join(folder, "__pycache__")
        stems = {name.split(".")[0] for name in (os.listdir(made) if os.path.isdir(made) else [])}
        if os.path.basename(folder) != "__pycache__" and any(
            name[:-3] not in stems for name in files if name.endswith(".py")
        ):
            return False
    return True


def link_state(path: str) -> str | None:
    try:
        return os.readlink(place(path)[0])
    except OSError:
        return None


def folder_state(path: str) -> list[str] | None:
    """The names of the directories in a directory."""
    try:
        there = walked(path)[0]
        return sorted(entry.name for entry in os.scandir(there) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return None


def text_of(path: str) -> str | None:
    """A file's text; None where there is none. One that is there and is not read is told of in the notes."""
    try:
        content = content_of(walked(path)[0], LARGEST_READ)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            NOTES.append("%s was not read: %s" % (path, error.strerror))
        return None
    if content is None:
        NOTES.append("%s was not read: it is larger than %d MB" % (path, LARGEST_READ // 1_000_000))
    return None if content is None else content.decode(errors="replace")


def is_empty(folder: str) -> bool:
    """Whether nothing lies in a directory; the same however much does. Raises OSError where it is none."""
    with os.scandir(walked(folder)[0]) as entries:
        return next(entries, None) is None


def is_plain(folder: str) -> bool:
    """Whether only files and directories lie in a directory, and not too many. Raises OSError where it is none."""
    with os.scandir(walked(folder)[0]) as entries:
        return all(
            number < MOST_ENTRIES and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))
            for number, entry in enumerate(entries)
        )


def all_may_read(tree: str) -> bool:
    """Whether every account can read what lies in a tree, as root does, to whom no mode matters."""
    for folder, _, files in os.walk(tree):
        if os.stat(folder).st_mode & 0o005 != 0o005:
            return False
        if not all(os.stat(os.path.join(folder, name)).st_mode & 0o004 for name in files):
            return False
    return True


def state_text(path: str) -> str | None:
    """What an account has written into a small file of its own; None where there is none.

    Raises OSError or ValueError for anything else under its name: what the account could not read itself, root must
    not read for it, and of what is no plain text others may make something else.
    """
    there = walked(os.path.dirname(path))[0]
    try:
        file = os.open(os.path.join(there, os.path.basename(path)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(file, "rb") as stream:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.stat(there).st_uid:
            raise OSError(errno.EINVAL, "no file of the account's", path)
        text = stream.read(LARGEST_STATES + 1).decode()
    if not text.startswith("{") or "\0" in text:
        raise ValueError(path)
    return text


def told_by_files(wanted: dict[str, Any]) -> dict[str, str | None] | None:
    """Texts of the files that tell what a program would; None where only the program can."""
    try:
        enough = (
            all(link_state(path) == target for path, target in wanted["links"].items())
            and all(file_digest(place(path)[0]) == digest for path, digest in wanted["files"].items())
            and all(is_empty(folder) for folder in wanted["empty"])
            and all(is_plain(folder) for folder in wanted["plain"])
            and all(tree_seen(path) == digest and all_may_read(path) for path, digest in wanted["trees"].items())
        )
        texts = {path: state_text(path) for path in wanted["read"]} if enough else {}
    except (OSError, ValueError):
        return None
    enough = enough and all(texts[path] is not None for path in wanted["there"])
    return texts if enough and sum(len(text or "") for text in texts.values()) <= LARGEST_STATES else None


def drained(pipe: Any, deadline: float) -> bytes | None:
    """What comes through a pipe until it is closed; None where that takes too long or is too much."""
    parts: list[bytes] = []
    size = 0
    while size <= LARGEST_READ:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(pipe.fileno(), 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    return None


def is_for_this_python(file: str) -> bool:
    """Whether a file is a script that the system would have this very Python run, isolated as it is."""
    try:
        with open(file, "rb") as script:
            words = script.readline(200).decode(errors="replace").split()
    except OSError:
        return False
    here = os.path.realpath(sys.executable)
    alike = sys.flags.isolated and words[1:] == ["-IS" if sys.flags.no_site else "-I"]
    return bool(alike) and os.path.realpath(words[0][2:]) == here


def be_script(file: str, argv: list[str], environment: dict[str, str]) -> None:
    """Run a script in this process, a copy of what looks, to its end.

    Python has started here, and has imported most of what a script needs: that is half of what a short one costs.
    """
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2:  # Popen waits until its pipe is closed: a program that replaces the copy would do that
            with contextlib.suppress(OSError):
                os.close(number)
    os.environ.update(environment)
    sys.argv = argv
    try:
        with open(file, encoding="utf-8") as script:
            source = script.read()
        exec(compile(source, file, "exec"), {"__name__": "__main__", "__file__": file})  # noqa: S102  (what would be run)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # what it printed is all that is asked for


def begun(argv: list[str]) -> subprocess.Popen[bytes] | None:
    """A program that runs and prints on both streams; None where it is not installed."""
    environment = dict(os.environ, LC_ALL="C", PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/bin")
    file = which(argv[0], environment["PATH"])
    if file is None:
        return None
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        preexec_fn=partial(be_script, file, argv, environment) if is_for_this_python(file) else None,  # noqa: PLW1509  (no threads)
    )


def printed_by(running: subprocess.Popen[bytes] | None) -> str | None:
    """What a program prints; None where it is not installed, or goes on for too long from now on and is ended."""
    if running is None:
        return None
    deadline = time.monotonic() + PATIENCE
    printed = drained(running.stdout, deadline)
    try:
        running.wait(max(1.0, deadline - time.monotonic()) if printed is not None else 0)
    except subprocess.TimeoutExpired:
        printed = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # it leads a session of its own: what it started ends with it
        running.wait()
        NOTES.append("`%s` gave no answer in %d s and was ended" % (" ".join(running.args), PATIENCE))  # type: ignore[arg-type]
    running.stdout.close()  # type: ignore[union-attr]  # it is a pipe
    return None if printed is None else printed.decode(errors="replace").strip()


def output_of(argv: list[str]) -> str | None:
    """What a program prints on both streams; None where it is not installed, or goes on for too long and is ended."""
    return printed_by(begun(argv))


def units_like(pattern: str) -> list[str]:
    """Units that systemd has loaded or starts when it boots."""
    loaded = output_of(["systemctl", "list-units", "--all", "--plain", "--no-legend", pattern]) or ""
    enabled = glob.glob("/etc/systemd/system/*.wants/" + pattern)
    return sorted({line.split()[0] for line in loaded.splitlines()} | {os.path.basename(path) for path in enabled})


def moment(values: dict[str, str], name: str) -> float | None:
    """A moment of a unit in seconds since 1970, by the clock as it is now; None where it never was.

    The clock may have been set since, as on a machine that boots without one. Then the time that has gone by since is
    right, and what systemd noted is not. A machine that slept has not counted all of it.
    """
    try:
        # without the day of the week, whose name depends on the language
        day, clock = values.get(name, "").split()[1:3]
        wall = datetime.fromisoformat(day + " " + clock).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    gone = time.clock_gettime(time.CLOCK_MONOTONIC) - int(values[name + "Monotonic"]) / 1e6
    return wall if asleep > 1 else max(wall, time.time() - gone)


def unit_state(name: str, values: dict[str, str]) -> dict[str, Any]:
    """`since`: when it began to run with the files that it has; a service that reloads has read them again."""
    fragment = values.get("FragmentPath", "")
    gone = bool(fragment) and not os.path.lexists(fragment)  # removed, and systemd was not told
    return {
        "present": values.get("LoadState") not in ("not-found", "masked", None) and not gone,
        "enabled": values.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias"),
        "active": values.get("ActiveState") in ("active", "activating", "reloading"),
        "failed": values.get("ActiveState") == "failed",
        "unread": values.get("NeedDaemonReload") == "yes",
        "since": moment(values, "ActiveEnterTimestamp" if name.endswith(".timer") else "StateChangeTimestamp"),
    }


def unit_states(wanted: list[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for word in wanted for name in (units_like(word) if "*" in word else [word])))
    if not names:
        return {}
    argv = ["systemctl", "show", "--timestamp=us+utc", "--property=" + UNIT_PROPERTIES, *names]
    states = {}
    for name, block in zip(names, (output_of(argv) or "").split("\n\n"), strict=False):
        states[name] = unit_state(name, dict(line.split("=", 1) for line in block.splitlines() if "=" in line))
    return states


def account_state(name: str) -> dict[str, Any] | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": found.pw_uid,
        "gid": found.pw_gid,
        "home": found.pw_dir,
        "shell": found.pw_shell,
        "group": name_of(grp.getgrgid, found.pw_gid),
        "groups": sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem),
    }


def package_versions(names: list[str]) -> dict[str, str]:
    if not names:
        return {}
    shown = (
        output_of(["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Status}\t${Version}\n", *names]) or ""
    )
    rows = [line.split("\t") for line in shown.splitlines() if line.count("\t") == 2]
    return {name: version for name, status, version in rows if status == "installed"}


def candidate_versions(names: list[str]) -> dict[str, str | None]:
    """The version that apt would install of each package, None where it knows none."""
    if not names:
        return {}
    found: dict[str, str | None] = dict.fromkeys(names)
    name = ""
    for line in (output_of(["apt-cache", "policy", *names]) or "").splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found[name] = line.split(":", 1)[1].strip()
    return found


def docker(*words: str) -> tuple[str, str]:
    """What docker printed and what it complained of; its exit code says too little: `inspect` fails for one of many."""
    try:
        done = subprocess.run(
            ["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return "", "the daemon gave no answer in %d s" % PATIENCE
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace").strip()


def docker_state(images: list[str], repositories: list[str], containers: list[str]) -> dict[str, Any] | None:
    """Versions, images and containers; None where Docker is not installed; `error` where its daemon does not answer."""
    if which("docker", os.environ.get("PATH", os.defpath)) is None:
        return None
    printed, complaint = docker("version", "--format", "{{json .}}")
    versions = json.loads(printed) if printed.startswith("{") else {}
    server = (versions.get("Server") or {}).get("Version")
    state: dict[str, Any] = {
        "engine": server,
        "compose": docker("compose", "version", "--short")[0].strip().lstrip("v") or None,
        "error": None if server else complaint or "the daemon does not answer",
        "images": dict.fromkeys(images),
        "repositories": {name: {} for name in repositories},
        "containers": dict.fromkeys(containers),
    }
    if not server:
        return state
    for name in images:
        for found in json.loads(docker("image", "inspect", name)[0] or "[]"):
            state["images"][name] = {
                "id": found["Id"],
                "digests": found.get("RepoDigests") or [],
                "labels": found["Config"].get("Labels") or {},
            }
    for name in repositories:
        listed = docker("image", "ls", "--format", "{{.ID}} {{.Tag}}", name)[0].splitlines()
        for identity, tag in (line.split(None, 1) for line in listed):
            state["repositories"][name].setdefault(identity, []).append(tag)
    for name in containers:
        for found in json.loads(docker("container", "inspect", name)[0] or "[]"):
            state["containers"][name] = {
                "running": found["State"]["Running"],
                "health": (found["State"].get("Health") or {}).get("Status"),
                "image": found["Image"],
                "labels": found["Config"].get("Labels") or {},
            }
    return state


def os_state() -> dict[str, Any]:
    release = dict(line.split("=", 1) for line in (text_of("/etc/os-release") or "").splitlines() if "=" in line)
    systemd = (output_of(["systemctl", "--version"]) or "systemd 0").split()[1]
    return {
        "id": release.get("ID", "").strip('"'),
        "codename": release.get("VERSION_CODENAME", "").strip('"'),
        "version_id": release.get("VERSION_ID", "").strip('"'),
        "architecture": os.uname().machine,
        "dpkg": output_of(["dpkg", "--print-architecture"]) or "",
        "python": sys.version.split()[0],
        "systemd": int(systemd) if systemd.isdigit() else 0,
        "python_apt": os.path.isdir("/usr/lib/python3/dist-packages/apt"),
    }


# What is looked at one by one: as what it is asked for, where the answer stands, and who gives it.
EACH: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("paths", "paths", path_state),
    ("links", "links", link_state),
    ("trees", "trees", tree_seen),
    ("trees", "compiled", compiled),
    ("folders", "folders", folder_state),
    ("read", "texts", text_of),
    ("accounts", "accounts", account_state),
)
OF_DOCKER = ("images", "repositories", "containers")
TOGETHER = ("units", "packages", "candidates", "programs")
ASKED = (*dict.fromkeys(asked for asked, _, _ in EACH), *TOGETHER, *OF_DOCKER)
ANSWERS = (*(answer for _, answer, _ in EACH), *TOGETHER, "instead", "docker", "os", "now", "notes")


def look(wanted: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, as it is now."""
    global PATIENCE  # noqa: PLW0603  (one program, one run)
    PATIENCE = int(wanted.get("patience", PATIENCE))
    NOTES.clear()
    walked.cache_clear()
    tree_seen.cache_clear()
    programs, files = {argv[0]: argv for argv in wanted.get("programs", [])}, wanted.get("instead", {})
    running = {name: begun(argv) for name, argv in programs.items() if name not in files}  # while this one looks
    instead = {name: texts for name, its in files.items() if (texts := told_by_files(its)) is not None}
    running |= {name: begun(programs[name]) for name in files if name in programs and name not in instead}
    docker_lists = [wanted.get(name, []) for name in OF_DOCKER]
    packages = package_versions(wanted.get("packages", []))
    return {
        **{answer: {name: ask(name) for name in wanted.get(asked, [])} for asked, answer, ask in EACH},
        "units": unit_states(wanted.get("units", [])),
        "packages": packages,
        "candidates": candidate_versions([name for name in wanted.get("candidates", []) if name not in packages]),
        "docker": docker_state(*docker_lists) if wanted.get("docker") or any(docker_lists) else None,
        "os": os_state(),
        "programs": {name: printed_by(program) for name, program in running.items()},
        "instead": instead,
        "now": time.time(),
        "notes": list(NOTES),
    }


def main(wanted: dict[str, Any]) -> None:
    """Print what was asked for, as a line of JSON."""
    print(json.dumps(look(wanted)))
