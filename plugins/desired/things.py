"""Things that a role wants on a machine, in one flat list; what must not be there is computed from it.

A thing is there while its `when` holds and the role's state is present. Otherwise it goes, as far as `goes` says: so a
removal, or another runtime, can forget nothing that was ever put there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from plugins.desired.kinds import GOING, PATHS

Item = dict[str, Any]
Desired = dict[str, list[Any]]  # the lists of host_state: what must be there, and absent_… what must not
UNIT_DIRECTORY = "/etc/systemd/system/"


class Goes(enum.Enum):
    """When something that is no longer wanted is taken off."""

    OFF = "as soon as its condition does not hold"
    ABSENT = "with the role's state absent"
    PURGE = "with the state absent and purge: it is data"
    NEVER = "never: it is others' too"


@dataclass(frozen=True)
class Thing:
    """One thing: its kind is the name of the list of host_state that its item belongs to."""

    kind: str
    item: Any
    when: bool = True
    goes: Goes = Goes.OFF


def package(name: str, *, when: bool = True) -> Thing:
    """A Debian package; it stays."""
    return Thing("packages", name, when, Goes.NEVER)


def account(
    name: str,
    home: str | None = None,
    login: str | None = None,
    *,
    when: bool = True,
    goes: Goes = Goes.PURGE,
    **more: Any,
) -> Thing:
    """A system account, or one that is there already; `more`: uid, groups."""
    places = {key: value for key, value in (("home", home), ("shell", login)) if value}
    return Thing("accounts", {"name": name, **places, **more}, when, goes)


def directory(
    path: str,
    owner: str = "root",
    group: str | None = None,
    mode: str = "0755",
    *,
    when: bool = True,
    goes: Goes = Goes.OFF,
) -> Thing:
    """A directory; its group is its owner's where none is given."""
    return Thing("directories", {"path": path, "owner": owner, "group": group or owner, "mode": mode}, when, goes)


def file(
    path: str, content: str, *, restarts: Iterable[str] = (), when: bool = True, goes: Goes = Goes.OFF, **more: Any
) -> Thing:
    """A file of root's; `restarts`: who reads it; `more`: owner, group, mode, reloads, secret, validate, older, stops.

    `stops`: units of a package that are stopped and disabled with it when it goes: without it they are not ours.
    """
    owned = {"owner": "root", "group": "root", "mode": "0644"}
    readers = {"restarts": list(restarts)} if restarts else {}
    return Thing("files", {"path": path, "content": content, **owned, **readers, **more}, when, goes)


def attributes(path: str, group: str = "root", mode: str = "0644") -> Thing:
    """A file that is made on the machine: only whose it is, is said here."""
    return Thing("attributes", {"path": path, "owner": "root", "group": group, "mode": mode}, goes=Goes.NEVER)


def link(path: str, to: str, *, when: bool = True, **more: Any) -> Thing:
    """A symbolic link; `previous`: another one that then leads to what this one has led to."""
    return Thing("links", {"path": path, "target": to, **more}, when)


def unit(name: str, *, when: bool = True, goes: Goes = Goes.OFF, **more: Any) -> Thing:
    """A systemd unit that is enabled and runs; `more`: enabled, active, package."""
    return Thing("units", {"name": name, **more}, when, goes)


def release(path: str, artifact: str, digest: str, *, when: bool = True, **more: Any) -> Thing:
    """A release of this project, unpacked and compiled; `more`: restarts."""
    return Thing("releases", {"path": path, "artifact": artifact, "digest": digest, **more}, when, Goes.NEVER)


def download(path: str, url: str, sha256: str, program: str | None = None) -> Thing:
    """A file from elsewhere in a directory of its own, known by its SHA-256; `program`: what an archive has in it."""
    item = {"path": path, "file": f"{path}/{url.rpartition('/')[2]}", "url": url, "sha256": sha256}
    return Thing("downloads", {**item, **({"program": f"{path}/{program}"} if program else {})}, goes=Goes.NEVER)


def venv(path: str, requirements: str, imports: Iterable[str], *, when: bool = True) -> Thing:
    """A Python environment with what a hashed lock of the control machine names; `imports`: modules that must load."""
    item = {"path": path, "mark": f"{path}/complete", "requirements": requirements, "imports": list(imports)}
    return Thing("venvs", item, when, Goes.NEVER)


def folder(path: str, keep: list[str], keep_links: list[str], **more: Any) -> Thing:
    """A directory in which only some directories stay: those named, and those that links lead to."""
    return Thing("folders", {"path": path, "keep": keep, "keep_links": keep_links, **more}, goes=Goes.NEVER)


def image(item: Item, *, when: bool = True) -> Thing:
    """A Docker image; its repository says what goes."""
    return Thing("images", item, when, Goes.NEVER)


def repository(name: str, *, when: bool = True) -> Thing:
    """A Docker repository, whose images go."""
    return Thing("repositories", name, when)


def project(item: Item, *, when: bool = True) -> Thing:
    """A Compose project of one container."""
    return Thing("projects", item, when)


def mark(path: str, words: str, *, present: bool = True) -> Thing:
    """A path that says by being there, or by not being there, that something was ended."""
    return Thing("marks", {"path": path, "words": words, **({} if present else {"present": False})}, goes=Goes.NEVER)


def answer(program: list[str], lines: list[str], words: str) -> Thing:
    """A program that prints all of certain lines."""
    return Thing("answers", {"program": program, "lines": lines, "words": words}, goes=Goes.NEVER)


def leftover(path: str, *, when: bool = False, goes: Goes = Goes.OFF) -> Thing:
    """A path that something else makes: only that it goes is said here."""
    return Thing("leftovers", {"path": path}, when, goes)


def instances(pattern: str) -> Thing:
    """Units of a template: those that are not wanted by name go."""
    return Thing("units", {"name": pattern}, when=False)


def resolved(things: Iterable[Thing], state: str = "present", *, purge: bool = False) -> Desired:
    """The lists of host_state: what must be there, and what must not."""
    things = list(things)
    wanted = [thing for thing in things if state == "present" and thing.when]
    gone = [thing for thing in things if thing not in wanted and must_go(thing, state, purge=purge)]
    made: Desired = {}
    for thing in wanted:
        if thing.kind not in ("leftovers", "repositories"):
            made.setdefault(thing.kind, []).append(thing.item)
    kept = {thing.item["path"] for thing in wanted if has_path(thing)}
    lists = {
        **{f"absent_{kind}": [thing.item for thing in gone if thing.kind == kind] for kind in GOING},
        "absent_paths": outermost([thing.item["path"] for thing in gone if has_path(thing)], kept),
        "absent_units": units_of(gone, wanted),
        # the last goes first: it may be in the group of the one before
        "absent_accounts": [thing.item["name"] for thing in reversed(gone) if thing.kind == "accounts"],
        "absent_images": [thing.item for thing in gone if thing.kind == "repositories"],
        "absent_readers": [readers(thing.item) for thing in gone if has_readers(thing)],
    }
    return {**made, **{name: found for name, found in lists.items() if found}}


def must_go(thing: Thing, state: str, *, purge: bool) -> bool:
    """Whether a thing that is not wanted is taken off."""
    if state == "present":
        return thing.goes is Goes.OFF
    return thing.goes in (Goes.OFF, Goes.ABSENT) or (thing.goes is Goes.PURGE and purge)


def has_path(thing: Thing) -> bool:
    """Whether a thing is a path of its own."""
    return thing.kind in (*PATHS, "leftovers")


def has_readers(thing: Thing) -> bool:
    """Whether units of others read a thing."""
    return thing.kind == "files" and bool({"reloads", "stops"} & set(thing.item))


def readers(item: Item) -> Item:
    """A file and who reads it, or stops without it."""
    return {name: item[name] for name in ("path", "reloads", "stops") if name in item}


def outermost(paths: list[str], kept: set[str]) -> list[str]:
    """Paths less those that stay under another condition, and those that go with a directory above them."""
    left = [path for path in dict.fromkeys(paths) if path not in kept]
    return [path for path in left if not any(path.startswith(f"{above}/") for above in left)]


def units_of(gone: list[Thing], wanted: list[Thing]) -> list[str]:
    """Units that go, by their name or with their file; a template's file has no unit of its own."""
    kept = {thing.item["name"] for thing in wanted if thing.kind == "units"}
    names = []
    for thing in gone:
        if thing.kind == "units":
            names.append(thing.item["name"])
        elif thing.kind == "files" and thing.item["path"].startswith(UNIT_DIRECTORY):
            name = thing.item["path"].removeprefix(UNIT_DIRECTORY)
            names += [name] if "/" not in name and "@." not in name else []
    return [name for name in dict.fromkeys(names) if name not in kept]
