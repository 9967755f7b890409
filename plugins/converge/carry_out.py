"""Carry out a plan on this very machine: what roles/managed_host does from elsewhere, in the same order.

What looks, what compares and what changes files and units is the code of Ansible's side (plugins/modules and
plugins/desired); only packages, accounts, releases, downloads and containers, which it leaves to Ansible's own modules,
are brought here.
"""

from __future__ import annotations

import compileall
import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from plugins.converge import containers, fetch
from plugins.converge.archives import unpack
from plugins.converge.bundle import Bundle, RefusedError
from plugins.converge.containers import Serve
from plugins.converge.programs import FailedError, install_packages, run
from plugins.desired.plan import PlanError, plan, request
from plugins.modules import host_files, host_state, host_units

MOST_DOWNLOADED = 200_000_000
DOWNLOAD_SECONDS = 900
Plan = dict[str, Any]


def planned(desired: dict[str, list[Any]]) -> Plan:
    """What differs on this machine. Raises FailedError for what cannot be compared, RefusedError for nonsense."""
    try:
        return plan(desired, host_state.look(request(desired, {})))
    except PlanError as error:
        raise FailedError(str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(f"it is signed, but what it wants makes no sense: {error!r}") from error


def drift(bundle: Bundle) -> list[str]:
    """What differs from all that a bundle wants, in words. Raises as `planned`."""
    return [
        *containers.lacking(bundle.docker),
        *(words for wanted in bundle.wants() for words in planned(wanted)["drift"]),
    ]


def carried_out(bundle: Bundle, serve: Serve) -> list[str]:
    """Be what a bundle wants; what was done. Raises FailedError, RefusedError before anything was changed."""
    check_places(bundle)
    done = containers.bring_docker(bundle.docker)
    for wanted in bundle.wants():
        done += brought(wanted, bundle, serve)
    return done


def check_places(bundle: Bundle) -> None:
    """Raise RefusedError where something of another kind stands where a thing belongs."""
    for wanted in bundle.wants():
        if refused := planned(wanted)["refused"]:
            raise RefusedError(f"stopped before anything was changed: {refused[0]}")


def brought(wanted: dict[str, list[Any]], bundle: Bundle, serve: Serve) -> list[str]:
    """Carry out what differs, and look again: what a link has led to until now is unused only then."""
    done: list[str] = []
    for _ in range(2):
        todo = planned(wanted)
        if not todo["differs"]:
            return done
        done += step(todo, bundle, serve)
    if left := planned(wanted)["drift"]:
        raise FailedError(f"not all is as it should be: {left[0]}")
    return done


def step(todo: Plan, bundle: Bundle, serve: Serve) -> list[str]:
    """Do what a plan says; what was done."""
    done = units(daemon_reload=True) if todo["unread"] else []
    done += install(todo, bundle, serve)
    check_settings(bundle, todo)
    for item in todo["images"]:
        containers.have_image(item, serve)
        done.append(item["name"])
    return [*done, *remove(todo), *configure(todo), *schedule(todo), *remove_unused(todo)]


def install(todo: Plan, bundle: Bundle, serve: Serve) -> list[str]:
    """Packages, accounts, directories, downloads and releases. Nothing that is at work is touched by them."""
    done = install_packages(todo["packages"])
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
    for item in todo["downloads"]:
        put_download(item)
        done.append(item["path"])
    for item in todo["releases"]:
        put_release(item, artifact_of(bundle, serve))
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


def put_download(item: dict[str, Any]) -> None:
    """A program that no package provides, made beside its place. Raises RefusedError for another than was promised."""
    new = Path(f"{item['path']}.new")
    files(absent=[str(new)], directories=[{"path": str(new), "owner": "root", "group": "root", "mode": "0755"}])
    file = new / Path(item["file"]).name
    fetch.saved(fetch.from_elsewhere(item["url"], MOST_DOWNLOADED, DOWNLOAD_SECONDS), item["sha256"], file)
    file.chmod(0o755)
    if "program" in item:
        with file.open("rb") as archive:
            unpack(archive, new)
        program = new / Path(item["program"]).relative_to(item["path"])
        if not program.is_file():
            raise RefusedError(f"{item['url']} holds no {program.relative_to(new)}")
        program.chmod(0o755)  # an archive that was made on Windows knows no modes
    files(moves=[{"path": item["path"], "source": str(new)}])


def put_release(item: dict[str, Any], artifact: bytes) -> None:
    """It is made beside a damaged one and takes its place in one step: whatever starts meanwhile finds a release."""
    new = f"{item['path']}.new"
    files(absent=[new], directories=[{"path": new, "owner": "root", "group": "root", "mode": "0755"}])
    unpack(io.BytesIO(artifact), Path(new))
    if host_state.tree_state(new) != item["digest"]:
        files(absent=[new])
        raise RefusedError(f"{item['path']}: what was unpacked is not the release that the bundle names")
    compileall.compile_dir(f"{new}/speedtest_logger", ddir=f"{item['path']}/speedtest_logger", quiet=1)
    os.sync()  # before it takes its place: a power cut leaves the old one or a whole one
    files(moves=[{"path": item["path"], "source": new}])


def check_settings(bundle: Bundle, todo: Plan) -> None:
    """The release that the node shall run accepts the settings that it shall have, before either is used."""
    release = next((item["path"] for item in bundle.desired.get("releases", [])), None)
    wanted = [item["content"] for item in bundle.desired.get("files", []) if item["path"] == bundle.settings]
    parts = [item for kind in ("releases", "files", "links") for item in todo[kind]]
    used = any(item["path"] in (release, bundle.settings) or item.get("target") == release for item in parts)
    if not used or not wanted or not release:
        return
    program = f"{release}/bin/speedtest-logger"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="speedtest-settings-") as file:
        file.write(wanted[0])
        file.flush()
        run([program, "--env-file", file.name, "config", "check"])


def remove(todo: Plan) -> list[str]:
    """What must not be there."""
    done: list[str] = []
    if todo["absent_units"]:
        done += units(absent=todo["absent_units"])
    for item in todo["absent_projects"]:
        containers.end(item)
        done.append(item["name"])
    containers.remove_images(todo["absent_images"])
    done += [*todo["absent_images"], *files(absent=todo["absent_paths"])]
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
    """Units and containers run as they should, with their configuration."""
    done: list[str] = []
    if todo["daemon_reload"] or todo["units"] or todo["restart"]:
        done += units(daemon_reload=todo["daemon_reload"], units=todo["units"], restart=todo["restart"])
    if todo["reload"]:
        done += units(reload=todo["reload"])
    for item in todo["projects"]:
        containers.start(item)
        done.append(item["name"])
    return done


def remove_unused(todo: Plan) -> list[str]:
    """What nothing leads to any more."""
    containers.remove_images(todo["unused_images"])
    return [*files(absent=todo["folders"]), *todo["unused_images"]]


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


def artifact_of(bundle: Bundle, serve: Serve) -> bytes:
    """The release's artifact as the bundle names it. Raises RefusedError for another one."""
    content = b"".join(serve(bundle.release["file"], bundle.release["bytes"]))
    if hashlib.sha256(content).hexdigest() != bundle.release["sha256"]:
        raise RefusedError(f"{bundle.release['file']} is not the release that the bundle names")
    return content
