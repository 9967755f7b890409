"""Observe a host in one remote call, compare with the desired state here, and return a plan of what differs."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plugins.remote import RemoteProgram

Desired = dict[str, Any]
LISTS = (
    "packages",
    "accounts",
    "directories",
    "folders",
    "releases",
    "files",
    "attributes",
    "links",
    "units",
    "images",
    "projects",
    "marks",
    "answers",
    "absent_paths",
    "absent_readers",
    "absent_units",
    "absent_accounts",
    "absent_projects",
    "absent_images",
)
# What a change of a file under these directories asks of systemd.
UNIT_DIRECTORY = "/etc/systemd/system/"
TEMPLATED = re.compile(r"@[^.]*\.")
WHAT_NOW = "somebody put it there; look at it, remove it, and run again"


def request(desired: Desired, extra: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments for everything that the desired state names; never the content of anything."""
    kinds = ("directories", "files", "attributes", "links", "marks")
    files = desired.get("files", [])
    units = [unit["name"] for unit in desired.get("units", [])] + unit_files(desired) + desired.get("absent_units", [])
    read = files + desired.get("absent_readers", [])
    readers = [name for item in read for key in ("restarts", "reloads") for name in item.get(key, [])]
    folders = desired.get("folders", [])
    asked = {"patience": extra["patience"]} if "patience" in extra else {}
    return {
        "paths": [item["path"] for name in kinds for item in desired.get(name, [])]
        + desired.get("absent_paths", [])
        + extra.get("paths", []),
        "links": [item["path"] for item in desired.get("links", [])]
        + [link for item in folders for link in item.get("keep_links", [])]
        + extra.get("links", []),
        "trees": [item["path"] for item in desired.get("releases", [])],
        "folders": [item["path"] for item in folders],
        "units": list(dict.fromkeys(units + readers)),
        "accounts": [item["name"] for item in desired.get("accounts", [])] + desired.get("absent_accounts", []),
        "packages": desired.get("packages", []),
        "read": extra.get("read", []) + [item["path"] for item in files if "merge" in item],
        "candidates": extra.get("candidates", []),
        "programs": extra.get("programs", []) + [item["program"] for item in desired.get("answers", [])],
        "docker": extra.get("docker", False),
        "images": [item["name"] for item in desired.get("images", [])],
        "containers": [item["container"] for name in ("projects", "absent_projects") for item in desired.get(name, [])],
        "repositories": desired.get("absent_images", []) + [item["images"] for item in folders if "images" in item],
        **asked,
    }


def unit_files(desired: Desired) -> list[str]:
    """The units whose files the desired state holds; a template is none, its instances are."""
    paths = [item["path"] for item in desired.get("files", [])]
    names = [path.removeprefix(UNIT_DIRECTORY) for path in paths if path.startswith(UNIT_DIRECTORY)]
    return [name for name in names if "/" not in name and "@." not in name]


def plan(desired: Desired, observed: dict[str, Any]) -> dict[str, Any]:
    """What must be done, list by list, the units to restart, and the same in words as `drift`.

    `refused` names what stands where something of another kind belongs: nothing is done on such a host. `unread` are
    units whose files a run before this one wrote without telling systemd. `secrets` are files with no content here.
    """
    drift: list[str] = []
    files = [fitting(merged(item, observed), observed) for item in desired.get("files", [])]
    desired = {**desired, "files": files}
    refused = [words for words in wrong_kinds(desired, observed) if differs(drift, words)]
    made = {
        name: [item for item in desired.get(name, []) if differs(drift, difference(item, observed))]
        for name, difference in DIFFERENCES.items()
    }
    unread = [name for name in our_units(desired, observed) if differs(drift, not_read(name, made["files"], observed))]
    return {
        **made,
        "files": [item for item in made["files"] if not item.get("secret")],
        "secrets": [without_content(item) for item in made["files"] if item.get("secret")],
        "links": [link for item in made["links"] for link in with_way_back(item, observed)],
        "units": [
            {**item, "present": observed["units"].get(item["name"], {}).get("present", False)} for item in made["units"]
        ],
        "absent_units": [name for name in unwanted(desired, observed) if differs(drift, unit_gone(name, observed))],
        "absent_images": [
            image for name in desired.get("absent_images", []) for image in images_left(drift, name, observed)
        ],
        **unused(desired, observed, drift),
        "restart": restarts(desired, made, observed, drift),
        "reload": reloads(desired, made, observed, drift),
        "again": desired.get("directories", []) if taken_over(made["directories"], observed) else [],
        "unread": unread,
        "refused": refused,
        "drift": drift,
        "differs": bool(drift),
        "daemon_reload": any(item["path"].startswith(UNIT_DIRECTORY) for item in made["files"])
        or any(path.startswith(UNIT_DIRECTORY) for path in made["absent_paths"]),
    }


def without_content(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("content", "older")}


def fitting(item: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """A file whose reader may be too old: `older` names its package, the version that is new enough, other content."""
    older = item.get("older")
    installed = observed["packages"].get(older["package"]) if older else None
    if not older or not installed or upstream(installed) >= upstream(older["before"]):
        return item
    return {**item, "content": older["content"]}


def upstream(version: str) -> list[int]:
    """The numbers that a package's version begins with, its epoch left out."""
    return [int(number) for number in re.findall(r"\d+", re.sub(r"^\d+:|[^\d.:].*$", "", version))]


def wrong_kinds(desired: Desired, observed: dict[str, Any]) -> list[str]:
    """What stands where something of another kind belongs and is not repaired: its owner may put anything there."""
    seen = observed["paths"]
    found = [not_what_is_wanted(item["path"], "directory", seen) for item in desired.get("directories", [])]
    found += [not_what_is_wanted(item["path"], "file", seen, may_be_link=True) for item in desired.get("files", [])]
    found += [not_what_is_wanted(item["path"], "file", seen) for item in desired.get("attributes", [])]
    found += [
        f"{item['path']}: is a directory, not a link: {WHAT_NOW}"
        for item in desired.get("links", [])
        if (seen.get(item["path"]) or {}).get("kind") == "directory"
    ]
    return [words for words in dict.fromkeys(found) if words]


def not_what_is_wanted(path: str, kind: str, paths: dict[str, Any], *, may_be_link: bool = False) -> str | None:
    """In words; None where nothing is there, the right thing is, or a link that root has put in a file's place."""
    seen = paths.get(path)
    if seen is None or (seen["kind"] == kind and seen.get("hard_links", 1) == 1):
        return None
    if seen["kind"] == "link" and may_be_link and seen["safe"]:
        return None
    if seen["kind"] == "unreachable":
        return f"{path}: {printable(seen['by'])} on the way to it is a link that is not root's: {WHAT_NOW}"
    if seen["kind"] == kind:
        return f"{path}: is a file of {seen['owner']} with {seen['hard_links']} names (hard links): {WHAT_NOW}"
    return f"{path}: is {kind_of(seen)} of {seen['owner']}, not a {kind}: {WHAT_NOW}"


def kind_of(seen: dict[str, Any]) -> str:
    return f"a link to {printable(seen.get('target') or '?')}" if seen["kind"] == "link" else f"a {seen['kind']}"


def printable(text: str) -> str:
    """A name that somebody else has chosen."""
    return "".join(character if character.isprintable() else "?" for character in text)[:200]


def our_units(desired: Desired, observed: dict[str, Any]) -> list[str]:
    """Units whose files are written here or must go."""
    names = [item["name"] for item in desired.get("units", [])] + unit_files(desired) + unwanted(desired, observed)
    return list(dict.fromkeys(names))


def not_read(name: str, files: list[dict[str, Any]], observed: dict[str, Any]) -> str | None:
    """A unit's file that systemd has not read; one that differs besides is written and read anyway."""
    if f"{UNIT_DIRECTORY}{name}" in [item["path"] for item in files]:
        return None
    unread = observed["units"].get(name, {}).get("unread")
    return f"unit {name}: systemd has not read its new file" if unread else None


def newer_than(name: str, item: dict[str, Any], observed: dict[str, Any]) -> bool:
    """Whether a file was written after a running unit has read it. One from the future tells nothing."""
    since = observed["units"].get(name, {}).get("since")
    written = (observed["paths"].get(item["path"]) or {}).get("modified")
    if since is None or written is None or not observed["units"][name]["active"]:
        return False
    return bool(since < written <= observed["now"])


def restarts(desired: Desired, made: dict[str, Any], observed: dict[str, Any], drift: list[str]) -> list[str]:
    """Units to restart: what they are made from differs, or an earlier run changed it and restarted nothing."""
    running = {item["name"] for item in desired.get("units", []) if item.get("active", True)}
    starting = {item["name"] for item in made["units"]}
    changed = {
        name for kind in ("files", "links", "releases") for item in made[kind] for name in item.get("restarts", [])
    }
    owed = owing(desired, made, observed, "restarts") & (running - starting) - changed
    drift += [f"unit {name}: still runs with its old configuration" for name in sorted(owed)]
    # a package may have started its unit before its configuration was there
    ours = {item["path"] for item in desired["files"]}
    fresh = {name for name in starting if UNIT_DIRECTORY + TEMPLATED.sub("@.", name) in ours}
    return sorted((changed | owed) & (running - fresh))


def reloads(desired: Desired, made: dict[str, Any], observed: dict[str, Any], drift: list[str]) -> list[str]:
    """Running units, not ours, that must read a file of ours again."""
    gone = [item for item in desired.get("absent_readers", []) if item["path"] in made["absent_paths"]]
    changed = {name for item in made["files"] + gone for name in item.get("reloads", [])}
    owed = owing(desired, made, observed, "reloads") - changed
    drift += [f"unit {name}: has not read its new configuration" for name in sorted(owed)]
    return sorted(name for name in changed | owed if observed["units"].get(name, {}).get("active"))


def owing(desired: Desired, made: dict[str, Any], observed: dict[str, Any], key: str) -> set[str]:
    """Units that run since before a file that is right by now was written."""
    right = [item for item in desired["files"] if item not in made["files"]]
    return {name for item in right for name in item.get(key, []) if newer_than(name, item, observed)}


def taken_over(directories: list[dict[str, Any]], observed: dict[str, Any]) -> bool:
    """Whether a directory becomes root's alone where others could put something until then."""
    seen = [observed["paths"].get(item["path"]) for item in directories if item["owner"] == "root"]
    return any(found["owner"] != "root" or int(found["mode"], 8) & 0o022 for found in seen if found)


def with_way_back(item: dict[str, Any], observed: dict[str, Any]) -> list[dict[str, Any]]:
    """A link, and before it the one that `previous` names and that leads to what it has led to until now."""
    seen = observed["links"].get(item["path"])
    return [{"path": item["previous"], "target": seen}, item] if seen and "previous" in item else [item]


def unused(desired: Desired, observed: dict[str, Any], drift: list[str]) -> dict[str, list[str]]:
    """Releases and the like that nothing leads to, with their images; a run that was killed has not pruned them."""
    paths, images = [], []
    for item in desired.get("folders", []):
        links = [observed["links"].get(link) for link in item.get("keep_links", [])]
        kept = [path.rsplit("/", 1)[-1] for path in [*item["keep"], *links] if path]
        names = [name for name in observed["folders"].get(item["path"]) or [] if name not in kept]
        paths += [f"{item['path']}/{name}" for name in names]
        listed = docker_of(observed)["repositories"].get(item.get("images"), {})
        images += [identity for identity, tags in listed.items() if not set(tags) & set(kept)]
    drift += [f"{path}: nothing uses it any more" for path in paths]
    drift += [f"image {image}: nothing uses it any more" for image in images]
    return {"folders": paths, "unused_images": images}


def differs(drift: list[str], words: str | None) -> bool:
    """Note a difference in words; False where there is none."""
    if words:
        drift.append(words)
    return bool(words)


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


def release(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["trees"].get(item["path"])
    if seen == item["digest"]:
        return None if observed["compiled"].get(item["path"]) else f"{item['path']}: its code is not compiled"
    return f"{item['path']}: {'missing' if seen is None else 'content, mode or owner differs'}"


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


def images_left(drift: list[str], repository: str, observed: dict[str, Any]) -> list[str]:
    """Images of a repository that must not be there."""
    names = docker_of(observed)["repositories"].get(repository, {})
    return [name for name in sorted(names) if differs(drift, f"image {repository} ({name}) is still there")]


def merged(item: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """A JSON file that others write too: `merge` holds our keys, all else in it stays. Raises AnsibleActionFail."""
    if "merge" not in item:
        return item
    text = (observed["texts"].get(item["path"]) or "").strip()
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise AnsibleActionFail(
            f"{item['path']}: seen no JSON ({error}); put it right or delete it, then run again. Nothing was changed."
        ) from error
    if not isinstance(found, dict):
        raise AnsibleActionFail(f"{item['path']}: seen {text[:60]!r}; a JSON object is wanted. Nothing was changed.")
    wanted = {**found, **item["merge"]}
    content = observed["texts"][item["path"]] if wanted == found and text else json.dumps(wanted, indent=2) + "\n"
    return {**item, "content": content}


def path_gone(path: str, observed: dict[str, Any]) -> str | None:
    return f"{path} is still there" if observed["paths"].get(path) else None


def unwanted(desired: Desired, observed: dict[str, Any]) -> list[str]:
    """Units that must not be there; of a pattern all that were seen and are not desired."""
    patterns, kept = desired.get("absent_units", []), [item["name"] for item in desired.get("units", [])]
    names = [name for pattern in patterns for name in fnmatch.filter(sorted({pattern, *observed["units"]}), pattern)]
    return [name for name in names if name not in kept and "*" not in name]


def unit_gone(name: str, observed: dict[str, Any]) -> str | None:
    """An instance of a template is gone when it neither runs nor starts again: its file is its template's."""
    seen = observed["units"].get(name, {})
    left = seen.get("enabled") if "@" in name else seen.get("present")
    return f"unit {name} is still there" if seen.get("active") or left else None


def account_gone(name: str, observed: dict[str, Any]) -> str | None:
    return f"account {name} is still there" if observed["accounts"].get(name) else None


def mark(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A path that says by being there, or by not being there, that something was ended."""
    is_there = observed["paths"].get(item["path"]) is not None
    return str(item["words"]) if is_there != item.get("present", True) else None


def answer(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """A program that prints all of certain lines; one that is not installed is missed elsewhere."""
    printed = observed["programs"].get(item["program"][0])
    missing = [] if printed is None else [line for line in item["lines"] if line not in printed.splitlines()]
    return f"{item['words']} ({missing[0]})" if missing else None


DIFFERENCES: dict[str, Callable[[Any, dict[str, Any]], str | None]] = {
    "packages": package,
    "accounts": account,
    "directories": directory,
    "releases": release,
    "files": file,
    "attributes": file,
    "links": link,
    "units": unit,
    "images": image,
    "projects": project,
    "marks": mark,
    "answers": answer,
    "absent_projects": project_gone,
    "absent_paths": path_gone,
    "absent_accounts": account_gone,
}


class ActionModule(RemoteProgram):
    """`desired` is the state, `extra` what to read besides; the result has `plan` and what was observed."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        desired, extra = arguments.get("desired", {}), arguments.get("extra", {})
        unknown = sorted(set(desired) - set(LISTS))
        if unknown:
            return {**result, "failed": True, "msg": f"host_state: no such list: {', '.join(unknown)}"}
        observed = self.ask_host("host_state", request(desired, extra), task_vars)
        if observed.get("failed"):
            return {**result, **observed}
        result.update(observed)
        result["plan"] = plan(desired, observed)
        result["changed"] = False
        return result
