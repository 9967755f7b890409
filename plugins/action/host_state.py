"""Observe a host in one remote call, compare with the desired state here, and return a plan of what differs."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

Desired = dict[str, Any]
LISTS = (
    "packages",
    "accounts",
    "directories",
    "releases",
    "files",
    "attributes",
    "links",
    "units",
    "images",
    "projects",
    "absent_paths",
    "absent_units",
    "absent_accounts",
    "absent_projects",
    "absent_images",
)
# What a change of a file under these directories asks of systemd.
UNIT_DIRECTORY = "/etc/systemd/system/"


def request(desired: Desired, extra: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments for everything that the desired state names."""
    files = [item["path"] for name in ("directories", "files", "attributes") for item in desired.get(name, [])]
    return {
        "paths": files + desired.get("absent_paths", []) + extra.get("paths", []),
        "links": [item["path"] for item in desired.get("links", [])] + extra.get("links", []),
        "trees": [item["path"] for item in desired.get("releases", [])],
        "units": [unit["name"] for unit in desired.get("units", [])] + desired.get("absent_units", []),
        "accounts": [item["name"] for item in desired.get("accounts", [])] + desired.get("absent_accounts", []),
        "packages": desired.get("packages", []),
        "read": extra.get("read", []) + [item["path"] for item in desired.get("files", []) if item.get("diff", True)],
        "candidates": extra.get("candidates", []),
        "programs": extra.get("programs", []),
        "docker": extra.get("docker", False),
        "images": [item["name"] for item in desired.get("images", [])],
        "containers": [item["container"] for name in ("projects", "absent_projects") for item in desired.get(name, [])],
        "repositories": desired.get("absent_images", []),
    }


def plan(desired: Desired, observed: dict[str, Any]) -> dict[str, Any]:
    """What must be done, list by list, the units to restart, and the same in words as `drift`."""
    drift: list[str] = []
    desired = {**desired, "files": [merged(item, observed) for item in desired.get("files", [])]}
    made = {
        "packages": [name for name in desired.get("packages", []) if differs(drift, package(name, observed))],
        "accounts": [item for item in desired.get("accounts", []) if differs(drift, account(item, observed))],
        "directories": [item for item in desired.get("directories", []) if differs(drift, directory(item, observed))],
        "releases": [item for item in desired.get("releases", []) if differs(drift, release(item, observed))],
        "files": [item for item in desired.get("files", []) if differs(drift, file(item, observed))],
        "attributes": [item for item in desired.get("attributes", []) if differs(drift, file(item, observed))],
        "links": [item for item in desired.get("links", []) if differs(drift, link(item, observed))],
        "units": [
            {**item, "present": observed["units"].get(item["name"], {}).get("present", False)}
            for item in desired.get("units", [])
            if differs(drift, unit(item, observed))
        ],
        "images": [item for item in desired.get("images", []) if differs(drift, image(item, observed))],
        "projects": [item for item in desired.get("projects", []) if differs(drift, project(item, observed))],
        "absent_projects": [
            item for item in desired.get("absent_projects", []) if differs(drift, project_gone(item, observed))
        ],
        "absent_images": [
            image for name in desired.get("absent_images", []) for image in images_left(drift, name, observed)
        ],
        "absent_paths": [path for path in desired.get("absent_paths", []) if differs(drift, path_gone(path, observed))],
        "absent_units": [name for name in unwanted(desired, observed) if differs(drift, unit_gone(name, observed))],
        "absent_accounts": [
            name for name in desired.get("absent_accounts", []) if differs(drift, account_gone(name, observed))
        ],
    }
    changed = [item for name in ("files", "links", "releases") for item in made[name]]
    running = {item["name"] for item in desired.get("units", []) if item.get("active", True)}
    starting = {item["name"] for item in made["units"]}
    restart = {name for item in changed for name in item.get("restarts", [])}
    return {
        **made,
        "restart": sorted(restart & running - starting),
        "drift": drift,
        "differs": bool(drift),
        "daemon_reload": any(item["path"].startswith(UNIT_DIRECTORY) for item in made["files"])
        or any(path.startswith(UNIT_DIRECTORY) for path in made["absent_paths"]),
    }


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
    seen = observed["paths"].get(item["path"])
    if seen is None or seen["kind"] != "directory":
        return f"{item['path']}: {'missing' if seen is None else 'no directory'}"
    wrong = owned(item, seen)
    return f"{item['path']}: {', '.join(wrong)}" if wrong else None


def file(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["paths"].get(item["path"])
    if seen is None or seen["kind"] != "file":
        return f"{item['path']}: {'missing' if seen is None else 'no file'}"
    wrong = owned(item, seen)
    if "content" in item and seen["sha256"] != hashlib.sha256(item["content"].encode()).hexdigest():
        wrong.insert(0, "content differs")
    if "bytes" in item and seen["size"] != item["bytes"]:
        wrong.insert(0, f"{seen['size']} bytes, not {item['bytes']}")
    return f"{item['path']}: {', '.join(wrong)}" if wrong else None


def release(item: dict[str, Any], observed: dict[str, Any]) -> str | None:
    seen = observed["trees"].get(item["path"])
    if seen == item["digest"]:
        return None
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
    names: list[str] = docker_of(observed)["repositories"].get(repository, [])
    return [name for name in names if differs(drift, f"image {repository} ({name}) is still there")]


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


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """`desired` is the state, `extra` what to read besides; the result has `plan` and what was observed."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        desired, extra = arguments.get("desired", {}), arguments.get("extra", {})
        unknown = sorted(set(desired) - set(LISTS))
        if unknown:
            return {**result, "failed": True, "msg": f"host_state: no such list: {', '.join(unknown)}"}
        observed = self._execute_module("host_state", module_args=request(desired, extra), task_vars=task_vars)
        if observed.get("failed"):
            return {**result, **observed}
        result.update(observed)
        result["plan"] = plan(desired, observed)
        result["changed"] = False
        return result
