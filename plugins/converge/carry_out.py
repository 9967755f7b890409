"""Carry out a plan on this very machine: what roles/managed_host does from elsewhere, in the same order.

What looks, what compares and what changes files and units is the code of Ansible's side (plugins/modules and
plugins/desired); only packages, accounts and releases, which it leaves to Ansible's own modules, are brought here.
"""

from __future__ import annotations

import compileall
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from plugins.converge.bundle import Bundle, RefusedError
from plugins.desired.plan import PlanError, plan, request
from plugins.modules import host_files, host_state, host_units

PACKAGE_SECONDS = 900
CHECK_SECONDS = 60
Plan = dict[str, Any]
Artifact = Callable[[], bytes]


class FailedError(Exception):
    """Something of it could not be done; the next run tries again."""


def planned(desired: dict[str, list[Any]]) -> Plan:
    """What differs on this machine. Raises FailedError for what cannot be compared, RefusedError for nonsense."""
    try:
        return plan(desired, host_state.look(request(desired, {})))
    except PlanError as error:
        raise FailedError(str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(f"it is signed, but what it wants makes no sense: {error!r}") from error


def carried_out(bundle: Bundle, todo: Plan, artifact: Artifact) -> list[str]:
    """Do what a plan says; what was done. Raises FailedError, RefusedError before anything was changed."""
    if todo["refused"]:
        raise RefusedError(f"stopped before anything was changed: {todo['refused'][0]}")
    done: list[str] = []
    if todo["unread"]:
        done += units(daemon_reload=True)
    done += install(todo, artifact)
    check_settings(bundle, todo)
    done += remove(todo)
    done += configure(todo)
    done += schedule(todo)
    if todo["folders"]:
        done += files(absent=todo["folders"])
    return done


def install(todo: Plan, artifact: Artifact) -> list[str]:
    """Packages, accounts, directories and releases. Nothing that is at work is touched by them."""
    done: list[str] = []
    if todo["packages"]:
        run(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"], PACKAGE_SECONDS)
        argv = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install", "--"]
        run([*argv, *todo["packages"]], PACKAGE_SECONDS)
        done += todo["packages"]
    for item in todo["accounts"]:
        make_account(item)
        done.append(item["name"])
    for of_root in (True, False):  # a parent is root's before its service can put anything in its place
        chosen = [item for item in todo["directories"] if (item["owner"] == "root") == of_root]
        done += files(directories=chosen)
        if of_root and todo["again"]:
            refused = planned({"directories": todo["again"]})["refused"]
            if refused:
                raise FailedError(refused[0])
    for item in todo["releases"]:
        put_release(item, artifact())
        done.append(item["path"])
    return done


def make_account(item: dict[str, Any]) -> None:
    """An account of the system; one that is there is put right."""
    name, there = item["name"], host_state.account_state(item["name"])
    options = [
        word
        for option, key in (("--uid", "uid"), ("--home-dir" if not there else "--home", "home"), ("--shell", "shell"))
        if key in item
        for word in (option, str(item[key]))
    ]
    groups = ["--groups", ",".join(item["groups"])] if item.get("groups") else []
    if there:
        run(["usermod", *options, *(["--append", *groups] if groups else []), name])
        return
    if "uid" in item and run(["getent", "group", name], expected=(0, 2)) == "":
        run(["groupadd", "--system", "--gid", str(item["uid"]), name])
    group = ["--gid", name] if "uid" in item else []
    run(["useradd", "--system", "--no-create-home", *options, *group, *groups, name])


def put_release(item: dict[str, Any], artifact: bytes) -> None:
    """It is made beside a damaged one and takes its place in one step: whatever starts meanwhile finds a release."""
    new = f"{item['path']}.new"
    files(absent=[new], directories=[{"path": new, "owner": "root", "group": "root", "mode": "0755"}])
    unpack(artifact, Path(new))
    if host_state.tree_state(new) != item["digest"]:
        files(absent=[new])
        raise RefusedError(f"{item['path']}: what was unpacked is not the release that the bundle names")
    compileall.compile_dir(f"{new}/speedtest_logger", ddir=f"{item['path']}/speedtest_logger", quiet=1)
    os.sync()  # before it takes its place: a power cut leaves the old one or a whole one
    files(moves=[{"path": item["path"], "source": new}])


def unpack(artifact: bytes, folder: Path) -> None:
    """An artifact's directories and files, root's; anything else in it is refused."""
    try:
        with tarfile.open(fileobj=io.BytesIO(artifact), mode="r:gz") as packed:
            for entry in packed:
                name = PurePosixPath(entry.name)
                if name.is_absolute() or ".." in name.parts or not (entry.isdir() or entry.isfile()):
                    raise RefusedError(f"the release holds {entry.name!r}, which is no file of its own")
                if entry.isdir():
                    (folder / name).mkdir(mode=0o755, exist_ok=True)
                    continue
                content = packed.extractfile(entry)
                descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with open(descriptor, "wb") as stream:
                    stream.write(content.read() if content else b"")
                    os.fchmod(descriptor, 0o755 if entry.mode & 0o100 else 0o644)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise FailedError(f"the release cannot be unpacked: {error}") from error


def check_settings(bundle: Bundle, todo: Plan) -> None:
    """The release that the node shall run accepts the settings that it shall have, before either is used."""
    changing = [item["path"] for kind in ("releases", "files", "links") for item in todo[kind]]
    wanted = [item["content"] for item in bundle.desired.get("files", []) if item["path"] == bundle.settings]
    if not changing or not wanted or not bundle.desired.get("releases"):
        return
    program = f"{bundle.desired['releases'][0]['path']}/bin/speedtest-logger"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="speedtest-settings-") as file:
        file.write(wanted[0])
        file.flush()
        run([program, "--env-file", file.name, "config", "check"], CHECK_SECONDS)


def remove(todo: Plan) -> list[str]:
    """What must not be there."""
    done: list[str] = []
    if todo["absent_units"]:
        done += units(absent=todo["absent_units"])
    done += files(absent=todo["absent_paths"])
    if todo["absent_paths"] and todo["daemon_reload"]:
        units(daemon_reload=True)
    for name in todo["absent_accounts"]:
        run(["userdel", name])
        done.append(name)
    return done


def configure(todo: Plan) -> list[str]:
    """Files, then what leads to them."""
    return files(files=todo["files"]) + files(attributes=todo["attributes"], links=todo["links"])


def schedule(todo: Plan) -> list[str]:
    """Units run as they should, with their configuration."""
    done: list[str] = []
    if todo["daemon_reload"] or todo["units"] or todo["restart"]:
        done += units(daemon_reload=todo["daemon_reload"], units=todo["units"], restart=todo["restart"])
    if todo["reload"]:
        done += units(reload=todo["reload"])
    return done


def files(**wanted: list[Any]) -> list[str]:
    """As the module host_files does it. Raises FailedError."""
    return answered(host_files.make({**wanted, "check": False, "diff": False}))


def units(**wanted: Any) -> list[str]:
    """As the module host_units does it. Raises FailedError."""
    return answered(host_units.tell({**wanted, "check": False}))


def answered(answer: dict[str, Any]) -> list[str]:
    """What was done, of a module's answer. Raises FailedError."""
    if answer.get("failed"):
        raise FailedError(answer["msg"])
    return list(answer["done"])


def run(argv: list[str], seconds: float = CHECK_SECONDS, expected: tuple[int, ...] = (0,)) -> str:
    """What a program printed. Raises FailedError with its last words."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=seconds, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"{argv[0]}: {error}") from error
    if done.returncode not in expected:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace").rpartition("\n")[2]
        raise FailedError(f"{said or 'no word'} (`{' '.join([Path(argv[0]).name, *argv[1:]])}`: {done.returncode})")
    return done.stdout.decode(errors="replace")


def artifact_of(bundle: Bundle, fetch: Callable[[str, int], bytes]) -> bytes:
    """The release's artifact as the bundle names it. Raises RefusedError for another one."""
    content = fetch(bundle.release["file"], bundle.release["bytes"])
    if hashlib.sha256(content).hexdigest() != bundle.release["sha256"]:
        raise RefusedError(f"{bundle.release['file']} is not the release that the bundle names")
    return content
