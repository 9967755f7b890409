"""What is wrong with the inventory: reads it from Ansible, and asks speedtest_logger.inventory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2 import Undefined, UndefinedError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.hostvars import whole
from speedtest_logger.inventory import check, names, roles
from speedtest_logger.inventory.found import Failure, Inventory

SHOWN = 200


def plain(value: Any) -> Any:
    """A value without Ansible's lazy containers, whose copies are as costly as the whole inventory.

    Raises AnsibleError for a template that fails: Ansible hands over a mark that only fails where it is used.
    """
    if isinstance(value, Undefined):
        try:
            str(value)
        except Exception as error:  # whatever it is, it says why
            raise AnsibleFilterError(str(error)) from error
        raise AnsibleFilterError("it is not defined")
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def variables(values: Any) -> dict[str, object]:
    """Those of a host's variables that concern us; a template that fails says why in its place."""
    found: dict[str, object] = {}
    for name in values:
        if name in CONCERNS or (name not in OTHERS and concerns(name)):
            try:
                found[name] = plain(values[name])
            except (AnsibleError, UndefinedError) as error:
                found[name] = Failure(" ".join(str(error).split())[:SHOWN])
    return found


CONCERNS: set[str] = set(roles.known())
OTHERS: set[str] = set()


def concerns(name: str) -> bool:
    """Whether a name concerns us; each is asked once, however many hosts have it."""
    mine = names.concerns_us(name)
    (CONCERNS if mine else OTHERS).add(name)
    return mine


def folders(sources: list[str], playbook_dir: str) -> tuple[Path, ...]:
    """Where Ansible looks for host_vars/ and group_vars/: beside each source and beside the playbook."""
    paths = [Path(source) for source in sources if "," not in source]
    return (*(path if path.is_dir() else path.parent for path in paths), Path(playbook_dir))


def inventory_problems(
    hostvars: Any, groups: dict[str, list[str]], sources: Any = (), playbook_dir: str = str(ROOT)
) -> list[str]:
    """Everything that is wrong with the inventory, each with the variable, the value seen and what to set."""
    listed = [sources] if isinstance(sources, str) else [str(source) for source in sources or ()]
    hostvars = whole(hostvars)
    hosts = sorted({host for members in groups.values() for host in members})
    inventory = Inventory(
        hosts={host: variables(hostvars[host]) for host in hosts},
        groups={group: list(members) for group, members in groups.items()},
        sources=tuple(listed),
        folders=folders(listed, playbook_dir),
        checkout=ROOT,
    )
    return check.problems(inventory)


def inventory_hosts(groups: dict[str, list[str]], sources: Any = ()) -> str:
    """All hosts, as a play's pattern. Raises where there are none: a play without hosts would be left out, not fail."""
    if any(groups.values()):
        return "all"
    said = inventory_problems({}, groups, sources)
    raise AnsibleFilterError("nothing was touched; the inventory has problems: " + " ".join(said))


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"inventory_problems": inventory_problems, "inventory_hosts": inventory_hosts}
