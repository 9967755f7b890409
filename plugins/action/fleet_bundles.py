"""Write a signed bundle for each node that brings itself to its desired state: no connection to any of them.

What a bundle says is what site.yml would bring: the same roles' desired state, the same slots.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.action.fleet_look import ActionModule as Looking
from plugins.desired import docker_host, speedtest_logger, speedtest_monitoring
from plugins.desired.bundle_folder import kept_files, packed, written
from plugins.desired.bundles import BundleError, Node, is_leaving
from plugins.filter.monitoring import monitoring_hosts
from plugins.hosts import pulls
from plugins.hostvars import whole
from speedtest_logger.inventory.found import MONITORING, NODES

DAY = 86_400


class ActionModule(Looking):
    """`read`, `files`, `host_key`, `archive`: as fleet_look has them; `key`, `folder`, `valid_days`: of bundles."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super(Looking, self).run(tmp, task_vars)
        arguments = self._task.args
        self.hostvars, self.groups = whole(task_vars["hostvars"]), task_vars["groups"]
        self.members = {**self.groups, MONITORING: monitoring_hosts(self.groups)}
        self.problems: dict[str, dict[str, Any]] = {}
        hosts = [host for host in task_vars["ansible_play_hosts"] if host in self.groups.get(NODES, [])]
        hosts = [host for host in hosts if pulls(self.hostvars, host)]
        state = self.known()
        if state is None:
            return {**result, "failed": True, "msg": self.unknown}
        nodes = [node for host in hosts if (node := self.node(host, state))]
        if self.problems:
            return {**result, "failed": True, "msg": [f"{host}: {one['msg']}" for host, one in self.problems.items()]}
        if self._task.check_mode:
            return {**result, "changed": True, "hosts": hosts, "files": [], "named": []}
        days, folder = float(arguments["valid_days"]), Path(arguments["folder"])
        try:
            files, named = written(folder, nodes, Path(arguments["key"]), days * DAY, time.time())
            more = {"files": files, "named": named, "packed": str(packed(folder, files)), "kept": kept_files(folder)}
        except (BundleError, OSError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": bool(files), "hosts": hosts, **more}

    def node(self, host: str, state: dict[str, Any]) -> Node | None:
        """What the roles want on a node; None, and a problem, where one of its variables cannot be read.

        Of one that is taken off Docker stays, as by remove.yml, and the exporter goes.
        """
        logger = self.wanted(speedtest_logger.ROLE, host, self.of_fleet(host, state))
        leaves = logger is not None and is_leaving(logger)
        docker = self.wanted(docker_host.ROLE, host) if self.contained(NODES, host) and not leaves else None
        watched = host in self.members[MONITORING] and host not in self.groups.get(MONITORING, [])
        given = {**self.watching(host), **({f"{speedtest_monitoring.ROLE}_state": "absent"} if leaves else {})}
        exporter = self.wanted(speedtest_monitoring.ROLE, host, given) if watched else None
        return Node(logger, docker, exporter) if logger else None
