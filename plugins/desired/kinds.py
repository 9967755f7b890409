"""The kinds of things on a machine: what the module host_state is asked for each, and in which words one differs.

A new kind is one row of KINDS, and what CONTRIBUTING.md names beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Observed = dict[str, Any]


def package(name: str, observed: dict[str, Any]) -> str | None:
    return None if name in observed["packages"] else f"package {name} is missing"


def account(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["accounts"].get(item["name"])
    if seen is None:
        return f"account {item['name']} is missing"
    keys = ("uid", "home", "shell")
    wrong = [f"{key} {seen[key]}" for key in keys if key in item and seen[key] != item[key]]
    wrong += [f"not in group {name}" for name in item.get("groups", []) if name not in seen["groups"]]
    return f"account {item['name']}: {', '.join(wrong)}" if wrong else None


def owned(item: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    return [f"{key} is {seen[key]}, not {item[key]}" for key in ("owner", "group", "mode") if seen[key] != item[key]]


def directory(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """One of another kind is refused, and named there."""
    seen = observed["paths"].get(item["path"])
    if seen is None:
        return f"{item['path']}: missing"
    if seen["kind"] != "directory":
        return None
    wrong = owned(item, seen)
    return f"{item['path']}: {', '.join(wrong)}" if wrong else None


def file(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["paths"].get(item["path"])
    if seen is None:
        return f"{item['path']}: missing"
    if seen["kind"] != "file":
        return f"{item['path']}: is {kind_of(seen)}, not a file" if seen["kind"] == "link" and seen["safe"] else None
    if seen.get("hard_links", 1) != 1:
        return None
    wrong = owned(item, seen)
    if "content" in item and seen["sha256"] != hashlib.sha256(item["content"].encode()).hexdigest():
        wrong.insert(0, "content differs")
    if "bytes" in item and seen["size"] != item["bytes"]:
        wrong.insert(0, f"{seen['size']} bytes, not {item['bytes']}")
    return f"{item['path']}: {', '.join(wrong)}" if wrong else None


def kind_of(seen: dict[str, Any]) -> str:
    return f"a link to {printable(seen.get('target') or '?')}" if seen["kind"] == "link" else f"a {seen['kind']}"


def printable(text: str) -> str:
    """A name that somebody else has chosen."""
    return "".join(character if character.isprintable() else "?" for character in text)[:200]


def release(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["trees"].get(item["path"])
    if seen == item["digest"]:
        return None if observed["compiled"].get(item["path"]) else f"{item['path']}: its code is not compiled"
    return f"{item['path']}: {'missing' if seen is None else 'content, mode or owner differs'}"


def download(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A file that is too large to be digested at each look is known by its name, which its digest is in."""
    seen = observed["paths"].get(item["file"])
    if seen is None or seen["kind"] != "file":
        return f"{item['file']}: missing"
    if seen["sha256"] not in (item["sha256"], None):
        return f"{item['file']}: content differs"
    program = item.get("program")
    return f"{program}: missing" if program and not observed["paths"].get(program) else None


def venv(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A Python environment; the mark in it is made last."""
    return None if observed["paths"].get(item["mark"]) else f"{item['path']}: the Python packages are not all there"


def link(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["links"].get(item["path"])
    if seen == item["target"]:
        return None
    return f"{item['path']}: {'no link' if seen is None else 'points to ' + seen}, not {item['target']}"


def unit(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["units"].get(item["name"], {})
    if item.get("package") and item["package"] not in observed["packages"]:
        return f"unit {item['name']}: its package {item['package']} is missing"
    wrong = [
        ("not " if wanted else "") + word
        for word, wanted in (("enabled", item.get("enabled", True)), ("active", item.get("active", True)))
        if wanted is not None and seen.get(word, False) != wanted
    ]
    return f"unit {item['name']}: {', '.join(wrong)}" if wrong else None


def docker_of(observed: dict[str, Any]) -> dict[str, Any]:
    """What was seen of Docker; empty where it is not installed."""
    return observed.get("docker") or {"images": {}, "containers": {}, "repositories": {}}


def image(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = docker_of(observed)["images"].get(item["name"])
    if seen is None:
        return f"image {item['name']} is missing"
    wrong = [
        f"{name.rsplit('.', 1)[-1]} is {seen['labels'].get(name)}, not {value}"
        for name, value in item.get("labels", {}).items()
        if seen["labels"].get(name) != value
    ]
    if item.get("pull") and item["pull"] not in seen["digests"]:
        wrong.append(f"it is not {item['pull']}")
    return f"image {item['name']}: {', '.join(wrong)}" if wrong else None


def project(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A Compose project of one container; its label `config` names the digest of all that it was made from."""
    found = docker_of(observed)
    seen, image_seen = found["containers"].get(item["container"]), found["images"].get(item["image"])
    if seen is None:
        return f"container {item['container']} is missing"
    if not seen["running"]:
        return f"container {item['container']} does not run"
    if seen["labels"].get(item["label"]) != item["digest"]:
        return f"container {item['container']} has another configuration"
    if image_seen and seen["image"] != image_seen["id"]:
        return f"container {item['container']} has another image than {item['image']}"
    return None


def project_gone(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = docker_of(observed)["containers"].get(item["container"])
    return f"container {item['container']} is still there" if seen else None


def path_gone(path: str, observed: dict[str, Any]) -> str | None:
    return f"{path} is still there" if observed["paths"].get(path) else None


def account_gone(name: str, observed: dict[str, Any]) -> str | None:
    return f"account {name} is still there" if observed["accounts"].get(name) else None


def unit_gone(name: str, observed: dict[str, Any]) -> str | None:
    """An instance of a template is gone when it neither runs nor starts again: its file is its template's.

    systemd remembers a unit that failed when its file is gone.
    """
    seen = observed["units"].get(name, {})
    left = seen.get("enabled") if "@" in name else seen.get("present")
    return f"unit {name} is still there" if seen.get("active") or seen.get("failed") or left else None


def mark(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A path that says by being there, or by not being there, that something was ended."""
    is_there = observed["paths"].get(item["path"]) is not None
    return str(item["words"]) if is_there != item.get("present", True) else None


def answer(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A program that prints all of certain lines; one that is not installed is missed elsewhere."""
    printed = observed["programs"].get(item["program"][0])
    missing = [] if printed is None else [line for line in item["lines"] if line not in printed.splitlines()]
    return f"{item['words']} ({missing[0]})" if missing else None


def asks_path(item: dict[str, Any]) -> dict[str, list[Any]]:
    return {"paths": [item["path"]]}


def asks_file(item: dict[str, Any]) -> dict[str, list[Any]]:
    """A file, its text where others write it too, and the units that must have read it."""
    return {
        "paths": [item["path"]],
        "read": [item["path"]] if "merge" in item else [],
        "units": [*item.get("restarts", []), *item.get("reloads", [])],
    }


def asks_folder(item: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        "folders": [item["path"]],
        "links": item.get("keep_links", []),
        "repositories": [item["images"]] if "images" in item else [],
    }


def asks_download(item: dict[str, Any]) -> dict[str, list[Any]]:
    return {"paths": [item[name] for name in ("file", "program") if name in item]}


@dataclass(frozen=True)
class Kind:
    """A list of the desired state: what the module is asked for each item, and in which words one differs.

    `differs` is None where the items of a list are looked at together (`plan`). A kind that goes again is a path
    (`is_path`: its item names it), or has a row absent_… of its own. One that is only told of has no task.
    """

    name: str
    asks: Callable[[Any], dict[str, list[Any]]]
    differs: Callable[[Any, Observed], str | None] | None
    is_path: bool = False
    told_only: bool = False


KINDS = (
    Kind("packages", lambda name: {"packages": [name]}, package),
    Kind("accounts", lambda item: {"accounts": [item["name"]]}, account),
    Kind("directories", asks_path, directory, is_path=True),
    Kind("releases", lambda item: {"trees": [item["path"]]}, release),
    Kind("downloads", asks_download, download),
    Kind("venvs", lambda item: {"paths": [item["mark"]]}, venv),
    Kind("files", asks_file, file, is_path=True),
    Kind("attributes", asks_path, file),
    Kind("links", lambda item: {"paths": [item["path"]], "links": [item["path"]]}, link, is_path=True),
    Kind("units", lambda item: {"units": [item["name"]]}, unit),
    Kind("images", lambda item: {"images": [item["name"]]}, image),
    Kind("projects", lambda item: {"containers": [item["container"]]}, project),
    Kind("marks", asks_path, mark, told_only=True),
    Kind("answers", lambda item: {"programs": [item["program"]]}, answer, told_only=True),
    Kind("folders", asks_folder, None),
    Kind("absent_projects", lambda item: {"containers": [item["container"]]}, project_gone),
    Kind("absent_paths", lambda path: {"paths": [path]}, path_gone),
    Kind("absent_accounts", lambda name: {"accounts": [name]}, account_gone),
    Kind("absent_units", lambda name: {"units": [name]}, None),
    Kind("absent_images", lambda name: {"repositories": [name]}, None),
    Kind("absent_readers", lambda item: {"units": item.get("reloads", [])}, None),
)
PATHS = {kind.name for kind in KINDS if kind.is_path}
# Kinds of which a list says what must not be there; what a path is goes by its path.
GOING = {name.removeprefix("absent_") for name in (kind.name for kind in KINDS) if name.startswith("absent_")}
