"""What must be done on a machine: the desired state against what the module host_state has seen there."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

from plugins.desired.kinds import KINDS, docker_of, kind_of, printable, unit_gone
from plugins.desired.things import UNIT_DIRECTORY, Desired
from plugins.modules.host_state import ASKED

TEMPLATED = re.compile(r"@[^.]*\.")
NUMBER = re.compile(r"<(uid|gid) of ([^<>\s]+)>")


WHAT_NOW = "somebody put it there; look at it, remove it, and run again"


class PlanError(ValueError):
    """What stands on the machine cannot be compared with what is wanted."""


def request(desired: Desired, extra: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments for everything that the desired state names; never the content of anything."""
    asked: dict[str, list[Any]] = {name: list(extra.get(name, [])) for name in ASKED}
    for kind in KINDS:
        for item in desired.get(kind.name, []):
            for name, values in kind.asks(item).items():
                asked[name] += values
    asked["units"] += unit_files(desired)
    options: dict[str, Any] = {name: extra[name] for name in ("docker", "patience", "instead") if name in extra}
    return {**options, **{name: unique(values) for name, values in asked.items()}}


def unique(values: list[Any]) -> list[Any]:
    """Values without repetitions, in their order; command lines are lists themselves."""
    return [value for place, value in enumerate(values) if value not in values[:place]]


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
    files = [numbered(fitting(merged(item, observed), observed), observed) for item in desired.get("files", [])]
    projects = [numbered(item, observed) for item in desired.get("projects", [])]
    desired = {**desired, "files": files, "projects": projects}
    refused = [words for words in wrong_kinds(desired, observed) if differs(drift, words)]
    made = {
        kind.name: [item for item in desired.get(kind.name, []) if differs(drift, kind.differs(item, observed))]
        for kind in KINDS
        if kind.differs
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
        "projects": started_anew(desired, made),
        "absent_units": [
            *[name for name in unwanted(desired, observed) if differs(drift, unit_gone(name, observed))],
            *[name for item in gone_readers(desired, made) for name in item.get("stops", [])],
        ],
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


def numbered(item: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """An item whose text has the numbers of accounts in it, which each host has given itself: `numbers` names them.

    <uid of NAME> and <gid of NAME> stand for them; that of an account which is yet to come stays as it is.
    """

    def number(found: re.Match[str]) -> str:
        seen = observed["accounts"].get(found[2]) if found[2] in item["numbers"] else None
        return str(seen[found[1]]) if seen else found[0]

    texts = [name for name in ("content", "digest") if name in item] if "numbers" in item else []
    return {**item, **{name: NUMBER.sub(number, item[name]) for name in texts}}


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
    changed = {name for item in made["files"] + gone_readers(desired, made) for name in item.get("reloads", [])}
    owed = owing(desired, made, observed, "reloads") - changed
    drift += [f"unit {name}: has not read its new configuration" for name in sorted(owed)]
    stopped = {name for item in gone_readers(desired, made) for name in item.get("stops", [])}
    running = {name for name in changed | owed if observed["units"].get(name, {}).get("active")}
    return sorted(running - stopped)


def gone_readers(desired: Desired, made: dict[str, Any]) -> list[dict[str, Any]]:
    """Files that go now, with the units of others that read them."""
    return [item for item in desired.get("absent_readers", []) if above(item["path"], made["absent_paths"])]


def above(path: str, paths: list[str]) -> bool:
    """Whether a path is one of some, or lies in one."""
    return any(path == one or path.startswith(f"{one}/") for one in paths)


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


def started_anew(desired: Desired, made: dict[str, Any]) -> list[dict[str, Any]]:
    """Projects that differ, and those whose image is got anew under its name: what runs is still the one before."""
    renewed = {item["name"] for item in made["images"]}
    return [item for item in desired.get("projects", []) if item in made["projects"] or item["image"] in renewed]


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


def images_left(drift: list[str], repository: str, observed: dict[str, Any]) -> list[str]:
    """Images of a repository that must not be there."""
    names = docker_of(observed)["repositories"].get(repository, {})
    return [name for name in sorted(names) if differs(drift, f"image {repository} ({name}) is still there")]


def merged(item: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """A JSON file that others write too: `merge` holds our keys, all else in it stays. Raises PlanError."""
    if "merge" not in item:
        return item
    text = (observed["texts"].get(item["path"]) or "").strip()
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise PlanError(
            f"{item['path']}: seen no JSON ({error}); put it right or delete it, then run again. Nothing was changed."
        ) from error
    if not isinstance(found, dict):
        raise PlanError(f"{item['path']}: seen {text[:60]!r}; a JSON object is wanted. Nothing was changed.")
    wanted = {**found, **item["merge"]}
    content = observed["texts"][item["path"]] if wanted == found and text else json.dumps(wanted, indent=2) + "\n"
    return {**item, "content": content}


def unwanted(desired: Desired, observed: dict[str, Any]) -> list[str]:
    """Units that must not be there; of a pattern all that were seen and are not desired."""
    patterns, kept = desired.get("absent_units", []), [item["name"] for item in desired.get("units", [])]
    names = [name for pattern in patterns for name in fnmatch.filter(sorted({pattern, *observed["units"]}), pattern)]
    return [name for name in names if name not in kept and "*" not in name]
