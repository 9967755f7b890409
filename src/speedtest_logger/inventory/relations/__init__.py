"""Values that are right one by one and wrong together, on one host or in the whole fleet."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import BadValueError, Inventory, Problem, View
from speedtest_logger.inventory.relations.archive import backups, limits, planting, publishing, sharing
from speedtest_logger.inventory.relations.cluster import cluster_keys, cluster_ports
from speedtest_logger.inventory.relations.common import MONITORING, Relation, image_of
from speedtest_logger.inventory.relations.dashboard import dashboard, dashboard_access, dashboard_port, workbench
from speedtest_logger.inventory.relations.database import database
from speedtest_logger.inventory.relations.front import front, front_certificate, front_named, front_ports
from speedtest_logger.inventory.relations.host import accounts, directories, docker_key, release
from speedtest_logger.inventory.relations.kubernetes import kubernetes
from speedtest_logger.inventory.relations.logger import licence, node_settings, own_server
from speedtest_logger.inventory.relations.monitoring import (
    monitoring_grafana,
    monitoring_people,
    monitoring_ports,
    monitoring_ways,
)
from speedtest_logger.inventory.relations.pull import pull
from speedtest_logger.inventory.relations.secrets import secrets_of_host
from speedtest_logger.inventory.relations.store import store_keys, store_ports
from speedtest_logger.inventory.relations.target import ports

RELATIONS: dict[str, tuple[Relation, ...]] = {
    "": (accounts, directories, docker_key, secrets_of_host),
    "speedtest_logger": (node_settings, own_server, licence, image_of("speedtest_logger"), pull, kubernetes),
    "speedtest_archive": (backups, publishing, planting, sharing, limits),
    "speedtest_dashboard": (
        *(dashboard, dashboard_access, dashboard_port, workbench),
        *(front_named, image_of("speedtest_dashboard")),
    ),
    "speedtest_database": (database,),
    "speedtest_front": (front, front_certificate, front_ports),
    "speedtest_monitoring": (monitoring_people, monitoring_ports, monitoring_grafana),
    "speedtest_cluster": (cluster_keys, cluster_ports),
    "speedtest_store": (store_keys, store_ports),
    "speedtest_target": (ports,),
}
RELEASED = ("speedtest_logger", "speedtest_archive", "speedtest_dashboard", "speedtest_database", "speedtest_cluster")


def of_host(view: View, inventory: Inventory) -> Iterator[Problem]:
    """What is wrong on one host. A relation of which one value is wrong by itself is left out."""
    for role, relations in RELATIONS.items():
        for relation in relations if role in view.roles or not role else ():
            try:
                yield from list(relation(view))
            except BadValueError:
                continue
    for role in RELEASED:
        if role in view.roles:
            yield from release(view, f"{role}_version", f"{role}_artifact_dir", inventory.checkout)
    if "speedtest_monitoring" in view.roles and not {MONITORING + "state", MONITORING + "addresses"} & view.bad:
        yield from monitoring_ways(view, inventory)
