"""Prometheus, whom it tells, and whom it asks."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory import monitoring as watching
from speedtest_logger.inventory import roles
from speedtest_logger.inventory.found import DASHBOARD as DASHBOARD_GROUP
from speedtest_logger.inventory.found import NODES, Inventory, Problem, View
from speedtest_logger.inventory.relations.common import DATABASE, MONITORING, as_list, problem
from speedtest_logger.inventory.relations.dashboard import dashboard_ports


def monitoring_people(view: View) -> Iterator[Problem]:
    """Who is told by mail is told by somebody, over a server."""
    if view[MONITORING + "state"] == "absent":
        return
    for name, what in (("mail_smarthost", "a server"), ("mail_from", "a sender")):
        if view[MONITORING + "mail_to"] and not view[MONITORING + name]:
            yield problem(view, MONITORING + name, f"{MONITORING}mail_to names people: mail needs {what} too")
    for login in ("mail", "remote_write"):
        username, password = f"{MONITORING}{login}_username", f"{MONITORING}{login}_password"
        if view[username] and not view[password]:
            yield problem(view, password, f"{username} is set: a login needs a password, from a vault")
    if view[MONITORING + "remote_write_username"] and view[MONITORING + "remote_write_token"]:
        words = f"{MONITORING}remote_write_username is set too: give a login or a token, not both"
        yield problem(view, MONITORING + "remote_write_token", words)


def monitoring_grafana(view: View) -> Iterator[Problem]:
    """The Grafana on the host of the database reads it with a password."""
    if "speedtest_database" not in view.roles or view[DATABASE + "dsn"]:
        return
    there = view[MONITORING + "state"] == view[DATABASE + "state"] == "present"
    if there and view[MONITORING + "grafana_enabled"] and not view[DATABASE + "reader_password"]:
        words = (
            f"{MONITORING}grafana_enabled is true, and Grafana on this host reads the database as speedtest_reader: "
            "give it a password (`openssl rand -base64 24`), from a vault"
        )
        yield problem(view, DATABASE + "reader_password", words)


def monitoring_ports(view: View) -> Iterator[Problem]:
    """Prometheus and Alertmanager have ports that nobody else has."""
    if view[MONITORING + "state"] == "absent" or view[MONITORING + "mode"] == "files":
        return
    others = dashboard_ports(view) if "speedtest_dashboard" in view.roles else []
    others += [MONITORING + "exporter_port"] if view[MONITORING + "exporter_enabled"] else []
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
    ports = [MONITORING + "port", MONITORING + "alertmanager_port"]
    for place, variable in enumerate(ports):
        for other in (*ports[:place], *others):
            if other not in view.bad and view[variable] in (view[other], *as_list(view[other])):
                yield problem(view, variable, f"{other} has it too: give each server a port of its own")


def monitoring_ways(view: View, inventory: Inventory) -> Iterator[Problem]:
    """Nodes know who may ask them, and the dashboard is where the monitoring host reaches it."""

    def value(host: str, name: str) -> object:
        values, default = inventory.hosts.get(host, {}), roles.known()[name].default
        return values.get(name, None if default is ... or "{{" in str(default) else default)

    if view[MONITORING + "state"] == "absent":
        return
    try:
        fleet = watching.fleet(value, inventory.groups, view.host)
        others = [node for node in inventory.groups.get(NODES, []) if node != view.host] if fleet["nodes"] else []
        addresses = watching.addresses_of(value, view.host)
    except (TypeError, ValueError):  # a value that is wrong by itself is named already
        return
    if others and not addresses:
        words = "nodes answer nobody but these, and ansible_host is a name: name the addresses that it asks from"
        yield problem(view, MONITORING + "addresses", words)
    shown = [host for host in inventory.groups.get(DASHBOARD_GROUP, []) if host != view.host]
    if shown and not fleet["dashboard"] and not view[MONITORING + "dashboard_url"]:
        words = (
            f"the dashboard on {shown[0]} listens on loopback: put this host's group speedtest_monitoring there, put "
            "a front before the dashboard, or name the URL under which this host reaches it"
        )
        yield problem(view, MONITORING + "dashboard_url", words)
