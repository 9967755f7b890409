"""Observe a host in one remote call, compare with the desired state here, and return a plan of what differs."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible.plugins.action import ActionBase

Desired = dict[str, Any]
LISTS = (
    "packages",
    "accounts",
    "directories",
    "releases",
    "files",
    "links",
    "units",
    "absent_paths",
    "absent_units",
    "absent_accounts",
)
# What a change of a file under these directories asks of systemd.
UNIT_DIRECTORY = "/etc/systemd/system/"


def request(desired: Desired, extra: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments for everything that the desired state names."""
    files = [item["path"] for name in ("directories", "files") for item in desired.get(name, [])]
    return {
        "paths": files + desired.get("absent_paths", []) + extra.get("paths", []),
        "links": [item["path"] for item in desired.get("links", [])],
        "trees": [item["path"] for item in desired.get("releases", [])],
        "units": [unit["name"] for unit in desired.get("units", [])] + desired.get("absent_units", []),
        "accounts": [item["name"] for item in desired.get("accounts", [])] + desired.get("absent_accounts", []),
        "packages": desired.get("packages", []),
        "read": extra.get("read", []) + [item["path"] for item in desired.get("files", []) if item.get("diff", True)],
        "programs": extra.get("programs", []),
    }


def plan(desired: Desired, observed: dict[str, Any]) -> dict[str, Any]:
    """What must be done, list by list, the units to restart, and the same in words as `drift`."""
    drift: list[str] = []
    made = {
        "packages": [name for name in desired.get("packages", []) if differs(drift, package(name, observed))],
        "accounts": [item for item in desired.get("accounts", []) if differs(drift, account(item, observed))],
        "directories": [item for item in desired.get("directories", []) if differs(drift, directory(item, observed))],
        "releases": [item for item in desired.get("releases", []) if differs(drift, release(item, observed))],
        "files": [item for item in desired.get("files", []) if differs(drift, file(item, observed))],
        "links": [item for item in desired.get("links", []) if differs(drift, link(item, observed))],
        "units": [
            {**item, "present": observed["units"].get(item["name"], {}).get("present", False)}
            for item in desired.get("units", [])
            if differs(drift, unit(item, observed))
        ],
        "absent_paths": [path for path in desired.get("absent_paths", []) if differs(drift, path_gone(path, observed))],
        "absent_units": [name for name in desired.get("absent_units", []) if differs(drift, unit_gone(name, observed))],
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
    wrong = [f"{key} {seen[key]}" for key in ("home", "shell") if key in item and seen[key] != item[key]]
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


def path_gone(path: str, observed: dict[str, Any]) -> str | None:
    return f"{path} is still there" if observed["paths"].get(path) else None


def unit_gone(name: str, observed: dict[str, Any]) -> str | None:
    seen = observed["units"].get(name, {})
    return f"unit {name} is still there" if seen.get("active") or seen.get("present") else None


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
