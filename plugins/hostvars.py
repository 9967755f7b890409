"""Hosts' variables as a task of theirs has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.vars.hostvars import HostVars, HostVarsVars


class Hosts(Mapping[str, Any]):
    """Ansible's `hostvars`, those of each host got once: Ansible makes them anew whenever it is asked.

    A variable may be a template that asks for other hosts' variables; as Ansible has them here, it could not.
    """

    def __init__(self, hostvars: HostVars) -> None:
        self.hostvars = hostvars
        self.known: dict[str, HostVarsVars] = {}

    def raw_get(self, host: str) -> dict[str, Any]:
        """A host's variables, templates as they are written."""
        return {**self.hostvars.raw_get(host), "hostvars": self.hostvars}

    def __getitem__(self, host: str) -> HostVarsVars:
        if host not in self.hostvars:
            raise KeyError(host)
        if host not in self.known:
            self.known[host] = HostVarsVars(self.raw_get(host), loader=self.hostvars._loader, host=host)
        return self.known[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hostvars)

    def __len__(self) -> int:
        return len(self.hostvars)


def whole(hostvars: Any) -> Any:
    """What Ansible hands over as `hostvars`, as a task has it; anything else is already."""
    return Hosts(hostvars) if isinstance(hostvars, HostVars) else hostvars
