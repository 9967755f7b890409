"""What a monitoring host and the nodes that it watches have to know of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from speedtest_logger import domains
from speedtest_logger.inventory.found import DASHBOARD, DATABASE, FRONT, MONITORING, NODES, default_node_name
from speedtest_logger.record import RUNTIMES_WITHOUT_LOGIN

PREFIX = "speedtest_monitoring_"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (what others listen on)
Value = Callable[[str, str], Any]  # of a host a variable, or its default; None for one that is a template
Groups = Mapping[str, list[str]]


def watched(groups: Groups) -> list[str]:
    """Hosts that the role has something to do on: monitoring hosts, and where there is one, nodes."""
    hosts = groups.get(MONITORING, [])
    return list(dict.fromkeys([*hosts, *(groups.get(NODES, []) if hosts else [])]))


def fleet(value: Value, groups: Groups, host: str) -> dict[str, Any]:
    """What the rest of the inventory means for a host.

    `server`: it is a monitoring host, which asks `nodes` and `dashboard`; `exporter`: it is a node that answers
    `monitors`, and nobody else; `database`: a monitoring host has the database too.
    """
    server, node = host in groups.get(MONITORING, []), host in groups.get(NODES, [])
    monitors = [name for name in groups.get(MONITORING, []) if value(name, f"{PREFIX}state") == "present"]
    exporter = node and bool(monitors) and has_exporter(value, groups, host)
    addresses = [address for name in monitors if name != host for address in addresses_of(value, name)]
    return {
        "server": server,
        "exporter": exporter,
        "monitors": list(dict.fromkeys(addresses)) if exporter else [],
        "nodes": nodes(value, groups, host) if server else [],
        "dashboard": dashboard(value, groups, host) if server else "",
        "database": server and has_database(value, groups, host),
    }


def addresses_of(value: Value, host: str) -> list[str]:
    """The addresses that a monitoring host asks from; none where only its name is known."""
    reached = str(value(host, "ansible_host") or host)
    return list(value(host, f"{PREFIX}addresses")) or ([reached] if domains.is_address(reached) else [])


def nodes(value: Value, groups: Groups, host: str) -> list[dict[str, str]]:
    """Nodes with an exporter: name, location, and where this host reaches it."""
    return [
        {
            "node": str(value(node, "speedtest_logger_node_name") or default_node_name(node)),
            "location": str(value(node, "speedtest_logger_location")),
            "target": with_port(exporter_address(value, node, host), value(node, f"{PREFIX}exporter_port")),
        }
        for node in groups.get(NODES, [])
        if has_exporter(value, groups, node) and value(node, f"{PREFIX}state") == "present"
    ]


def has_exporter(value: Value, groups: Groups, node: str) -> bool:
    """Whether a node has one: not in a cluster, which brings none; one that pulls, where it is said how to reach it."""
    if value(node, f"{PREFIX}exporter_enabled") is not True:
        return False
    if node in groups.get(MONITORING, []):
        return True
    if value(node, "speedtest_logger_runtime") in RUNTIMES_WITHOUT_LOGIN:
        return False
    return value(node, "speedtest_logger_converge") != "pull" or bool(value(node, f"{PREFIX}exporter_address"))


def exporter_address(value: Value, node: str, host: str) -> str:
    """Where a monitoring host reaches a node's exporter: its own on loopback, unless that listens elsewhere."""
    bind = str(value(node, f"{PREFIX}exporter_bind"))
    if node == host:
        return bind if bind and bind not in EVERYWHERE else "127.0.0.1"
    return str(value(node, f"{PREFIX}exporter_address") or value(node, "ansible_host") or node)


def dashboard(value: Value, groups: Groups, host: str) -> str:
    """The URL under which a monitoring host reaches the dashboard; empty where there is none, or no way to it."""
    places = [name for name in groups.get(DASHBOARD, []) if value(name, "speedtest_dashboard_state") == "present"]
    if not places:
        return ""
    place = places[0]
    bind, port = str(value(place, "speedtest_dashboard_bind")), value(place, "speedtest_dashboard_port")
    if place == host:
        return f"http://{with_port('127.0.0.1' if bind in EVERYWHERE else bind, port)}"
    if place in groups.get(FRONT, []) and value(place, "speedtest_front_state") == "present":
        name, https = str(value(place, "speedtest_front_name")), value(place, "speedtest_front_https_port")
        return f"https://{name}{'' if int(https) == 443 else f':{https}'}" if name else ""
    if bind in EVERYWHERE:
        return f"http://{with_port(str(value(place, 'ansible_host') or place), port)}"
    return "" if domains.is_loopback(bind) else f"http://{with_port(bind, port)}"


def has_database(value: Value, groups: Groups, host: str) -> bool:
    """Whether a host has the database on a server of its own, which nothing but a socket there reaches."""
    here = host in groups.get(DATABASE, []) and value(host, "speedtest_database_state") == "present"
    return here and not value(host, "speedtest_database_dsn")


def with_port(host: str, port: object) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"
