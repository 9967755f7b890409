"""Look at all machines of a run at once, and say which of them differ from what the inventory wants of them.

One process asks all hosts; what a role wants is rendered once a host, in Python. A machine of which nothing could be
found out counts as one that differs: its role looks at it again by Ansible's own means.
"""

from __future__ import annotations

import functools
import shlex
import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from jinja2 import TemplateError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins import connections
from plugins.desired import (
    docker_host,
    logger_status,
    speedtest_archive,
    speedtest_dashboard,
    speedtest_database,
    speedtest_front,
    speedtest_logger,
    speedtest_monitoring,
    speedtest_store,
    speedtest_target,
)
from plugins.desired.logger_container import COMMAND
from plugins.desired.observation import request_of, seen, together
from plugins.desired.roles import ROLES_PATH, Wanted, wanted_by
from plugins.filter.fleet import fleet_known
from plugins.filter.monitoring import monitoring_fleet, monitoring_hosts
from plugins.hosts import fleet_nodes, no_login, pulls
from plugins.hostvars import whole
from plugins.remote import NO_SENSE, source_of, values_in, with_arguments
from speedtest_logger.inventory import roles, systems
from speedtest_logger.inventory.found import (
    ARCHIVE,
    DASHBOARD,
    DATABASE,
    FRONT,
    MONITORING,
    NODES,
    STORE,
    TARGETS,
    default_node_name,
)

SECONDS = 60
USES = {
    ARCHIVE: systems.ARCHIVE,
    DASHBOARD: systems.ARCHIVE,
    DATABASE: systems.ARCHIVE,
    FRONT: systems.ARCHIVE,
    STORE: systems.STORE,
    TARGETS: systems.TARGET,
    NODES: systems.NODE,
    MONITORING: systems.NODE,
}
# Roles whose desired state is the host's own: nothing of it comes from the rest of the fleet.
OWN = {
    ARCHIVE: speedtest_archive.ROLE,
    DASHBOARD: speedtest_dashboard.ROLE,
    DATABASE: speedtest_database.ROLE,
    FRONT: speedtest_front.ROLE,
    STORE: speedtest_store.ROLE,
    TARGETS: speedtest_target.ROLE,
}
CONTAINED = {NODES: "speedtest_logger_runtime", DASHBOARD: "speedtest_dashboard_runtime"}
# What is kept of what was seen: the rest is large, and nobody asks for it.
KEPT = ("plan", "programs", "docker", "links", "texts", "names", "notes", "settled")
MOST_KEPT = 5_000  # values for a role: all of them are gone through again for each host's variables
# What an answer of another form than the module's raises.
NO_ANSWER = (AnsibleError, *NO_SENSE)
Seen = dict[str, dict[str, Any]]


def brief(wanted: Wanted | None, besides: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an answer for a role, and what a program would have said instead of which files were read.

    `besides`: what was asked besides what the role wants. Raises NO_ANSWER for an answer of another form than the
    module's.
    """
    system = {name: str(answer["os"][name]) for name in ("id", "version_id", "dpkg", "python", "systemd")}
    numbers = [int(system["systemd"]), *map(int, system["python"].split(".")[:2])]
    if len(numbers) != len(("systemd", "major", "minor")):
        raise ValueError(system["python"])
    found = {name: value for name, value in seen(wanted, answer).items() if name in KEPT}
    if wanted and "instead" in besides and (texts := answer["instead"].get(COMMAND)):
        found["programs"] = {**found["programs"], COMMAND: logger_status.printed(wanted, texts, answer["now"])}
    if values_in(found) > MOST_KEPT:
        raise ValueError(f"more than {MOST_KEPT} values")
    return {**found, "system": {**system, "architecture": system["dpkg"]}}


@functools.cache
def defaults_of(role: str) -> dict[str, Any]:
    """A role's defaults, as templates where they are."""
    table = next(each for each in roles.ROLES if each.name == role)
    return {
        item.name: trust_as_template(item.default) if "{{" in str(item.default) else item.default
        for item in table.inputs
    }


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """`read`: what fleet_run has read of the archive host, `archive`: how nodes reach it, by transport.

    `programs`: what is run on hosts besides, by role; `enrols`: nodes that pull are looked at too.
    """

    BYPASS_HOST_LOOP = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.hostvars, self.groups = whole(task_vars["hostvars"]), task_vars["groups"]
        self.members = {**self.groups, MONITORING: monitoring_hosts(self.groups)}
        if self._task.args["read"].get("refused"):
            return {**result, "failed": True, "msg": self._task.args["read"]["msg"]}
        hosts = list(task_vars["ansible_play_hosts"])
        self.problems: dict[str, dict[str, Any]] = self.archives_problem()
        state = self.known()
        looked = self.look(hosts, state)
        asked = [host for host in hosts if self.mine(host)]
        due = [{"host": host, "groups": found} for host in asked if (found := self.due(host, looked.get(host)))]
        return {
            **result,
            "changed": False,
            **({"state": state} if state else {"unknown": self.unknown}),
            "hosts": looked,
            "due": due,
            "problems": self.problems,
            "silent": [host for host in asked if host not in looked and host not in self.problems],
        }

    def mine(self, host: str) -> list[str]:
        """The groups for which a host is looked at.

        A node that a cluster runs is left alone, and so is one that pulls, but where it is enrolled.
        """
        groups = [group for group in USES if host in self.members.get(group, [])]
        apart = pulls(self.hostvars, host) and not self._task.args.get("enrols")
        left = [NODES] if NODES in groups and (apart or no_login(self.hostvars, host)) else []
        if left and host not in self.groups.get(MONITORING, []):
            left.append(MONITORING)  # its exporter, which nobody could ask
        return [group for group in groups if group not in left]

    def archives_problem(self) -> dict[str, dict[str, Any]]:
        """Why the archive host could not be read: asked again, it would cost the same time again."""
        read = self._task.args["read"]
        return {} if "files" in read else {host: {"failed": True, **read} for host in self.groups.get(ARCHIVE, [])}

    def known(self) -> dict[str, Any] | None:
        """What the archive host holds of the fleet; None where that is not to be had, or makes no sense."""
        arguments = self._task.args
        nodes = fleet_nodes(self.hostvars, self.groups.get(NODES, []))
        writing = bool(arguments.get("writing", True))
        try:
            return fleet_known(arguments["read"], arguments["files"], nodes, arguments.get("host_key", ""), writing)
        except (AnsibleFilterError, *NO_SENSE) as error:
            self.unknown = str(error)
            return None

    def wants(self, host: str, state: dict[str, Any] | None) -> dict[str, Wanted | None]:
        """What each role wants on a host, by role; None where nobody can tell yet."""
        mine = [role for group, role in OWN.items() if host in self.groups.get(group, [])]
        wanted: dict[str, Wanted | None] = {role: self.wanted(role, host) for role in mine}
        if any(self.contained(group, host) for group in CONTAINED):
            wanted[docker_host.ROLE] = self.wanted(docker_host.ROLE, host)
        if NODES in self.mine(host):
            given = self.of_fleet(host, state) if state else None
            wanted[speedtest_logger.ROLE] = self.wanted(speedtest_logger.ROLE, host, given) if given else None
        if MONITORING in self.mine(host):
            wanted[speedtest_monitoring.ROLE] = self.wanted(speedtest_monitoring.ROLE, host, self.watching(host))
        return wanted

    def watching(self, host: str) -> dict[str, Any]:
        """What the rest of the fleet means for a monitoring host or a node; empty where a variable cannot be read."""
        try:
            return {f"{speedtest_monitoring.ROLE}_fleet": monitoring_fleet(self.hostvars, self.groups, host)}
        except (AnsibleError, TemplateError, LookupError, TypeError, ValueError) as error:
            self.problems[host] = {"failed": True, "msg": str(error)}
            return {}

    def contained(self, group: str, host: str) -> bool:
        """Whether what a group's role has on a host runs in a container."""
        runtime = self.hostvars[host].get(CONTAINED.get(group))
        return runtime == "compose" and host in self.groups.get(group, [])

    def of_fleet(self, host: str, state: dict[str, Any]) -> dict[str, Any]:
        """A node's inputs that come from the whole fleet."""
        name = str(self.hostvars[host].get("speedtest_logger_node_name") or default_node_name(host))
        transport = str(self.hostvars[host].get("speedtest_logger_transport") or "ssh")
        way = self._task.args["archive"].get(transport, {})
        ca = self._task.args.get("ca") or state["root"]
        given = {"archive_host_key": state["host_key"], "archive_ca": ca, "slots": state["slots"].get(name), **way}
        return {f"{speedtest_logger.ROLE}_{key}": value for key, value in given.items()}

    def wanted(self, role: str, host: str, given: Mapping[str, Any] | None = None) -> Wanted | None:
        """What a role wants on a host; None, and a problem, where one of its variables cannot be read."""
        variables = self.hostvars.raw_get(host)
        known = ChainMap({"role_path": str(ROLES_PATH / role)}, dict(given or {}), dict(variables), defaults_of(role))
        templar = self._templar.copy_with_new_env(available_variables=known)
        try:
            return wanted_by(role, known, templar, {})
        except (AnsibleError, TemplateError, LookupError, OSError, TypeError, ValueError) as error:
            self.problems[host] = {"failed": True, "msg": str(error)}
            return None

    def look(self, hosts: list[str], state: dict[str, Any] | None) -> dict[str, Seen]:
        """What was seen of each host that has answered, by role."""
        wanted: dict[str, dict[str, Wanted | None]] = {}
        seconds = float(self._task.args.get("seconds", SECONDS))
        answers = connections.ask_all(self.questions(hosts, state, wanted), seconds)
        looked = {}
        for host, answer in answers.items():
            if answer.get("failed"):
                self.problems[host] = answer
                continue
            try:
                looked[host] = {
                    role: brief(what, self.besides(role, what, host), answer) for role, what in wanted[host].items()
                }
            except NO_ANSWER as error:  # it may be somebody else's by now: what it says must not end the run
                self.problems[host] = {"failed": True, "msg": f"its answer makes no sense: {str(error)[:200]!r}"}
        return looked

    def questions(
        self, hosts: list[str], state: dict[str, Any] | None, wanted: dict[str, dict[str, Wanted | None]]
    ) -> Iterator[connections.Question]:
        """What hosts are asked that can be; what is wanted of them is added to `wanted`."""
        for host in hosts:
            by_role = {} if host in self.problems else self.wants(host, state)
            if not by_role or host in self.problems:
                continue
            variables = self.hostvars.raw_get(host)
            templar = self._templar.copy_with_new_env(available_variables=variables)
            line = connections.command_line(self, host, variables, templar)
            if line:
                asked: dict[str, Any] = {}
                try:
                    for role, what in by_role.items():
                        asked = together(asked, request_of(what, self.besides(role, what, host)))
                except (AnsibleError, TemplateError) as error:  # one of its variables cannot be read
                    self.problems[host] = {"failed": True, "msg": str(error)}
                    continue
                wanted[host] = by_role
                self._display.vvv(f"SSH: EXEC {shlex.join(line)}", host=variables.get("ansible_host") or host)
                yield connections.Question(host, line, with_arguments(source_of("host_state"), asked))

    def besides(self, role: str, wanted: Wanted | None, host: str) -> dict[str, Any]:
        """What is asked of a host for a role besides what the role wants."""
        programs = self._task.args.get("programs", {}).get(role, [])
        if not programs or role != speedtest_logger.ROLE:
            return {"programs": programs}
        config_dir = self.hostvars[host].get("speedtest_logger_config_dir") or defaults_of(role)[f"{role}_config_dir"]
        spared = logger_status.instead(wanted) if wanted else {}
        return {"programs": [logger_status.program(str(config_dir))], **({"instead": spared} if spared else {})}

    def due(self, host: str, looked: Seen | None) -> list[str]:
        """The groups of the hosts whose roles have something to do; `due_` and whose group it is."""
        groups = self.mine(host)
        if looked is None:
            return [f"due_{group}" for group in groups]
        of_group = {**OWN, NODES: speedtest_logger.ROLE, MONITORING: speedtest_monitoring.ROLE}
        found = []
        for group in groups:
            its = [of_group[group], *([docker_host.ROLE] if self.contained(group, host) else [])]
            mine = [looked[role] for role in its if role in looked]
            if systems.problem(mine[0]["system"], [USES[group]]) or not all(each.get("settled") for each in mine):
                found.append(f"due_{group}")
        return found
