"""What watches the fleet on its host, and what answers it on nodes: the role speedtest_monitoring."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from plugins.desired import alertmanager, prometheus, speedtest_database, templates
from plugins.desired.things import UNIT_DIRECTORY, Goes, Thing, directory, file, link, package, unit

ROLE = "speedtest_monitoring"
FILES = Path(__file__).resolve().parents[2] / "roles" / ROLE / "files"
DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
CONFIG = "/etc/speedtest-monitoring"
STATE = "/var/lib/speedtest-monitoring"
GRAFANA = "/etc/grafana/provisioning"
GRAFANA_ACCOUNT = "grafana"  # its package's, with a group of that name
ACCOUNT = "prometheus"  # Debian's, of all three
PROMETHEUS, ALERTMANAGER, EXPORTER = "prometheus", "prometheus-alertmanager", "prometheus-node-exporter"
KEY = f"{CONFIG}/secrets/dashboard-key"
TEXTFILES = "/var/lib/prometheus/node-exporter"
METRICS = "/var/lib/speedtest-metrics/speedtest.prom"
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths and addresses that the role's tasks and templates use."""
    asked = [f"http://{prometheus.place_of(v)}/-/ready", f"http://127.0.0.1:{v['alertmanager_port']}/-/ready"]
    return {
        "config_dir": CONFIG,
        "state_dir": STATE,
        "textfile_dir": TEXTFILES,
        "units": [f"{name}.service" for name in (PROMETHEUS, ALERTMANAGER, EXPORTER)],
        "urls": [*(asked if serves(v) else []), *([exporter_url(v)] if exports(v) else [])],
    }


def exporter_url(v: Values) -> str:
    """Where a node's exporter answers on the node itself."""
    bind = str(v["exporter_bind"])
    host = "127.0.0.1" if bind in ("", "0.0.0.0", "::") else bind  # noqa: S104  (what it may be told to listen on)
    return f"http://{f'[{host}]' if ':' in host else host}:{v['exporter_port']}/"


def besides(v: Values) -> Values:
    """What is looked at besides the things: whose group may read what Grafana logs in with."""
    return {"accounts": [GRAFANA_ACCOUNT]} if shows_database(v) else {}


def found(v: Values, observed: Values) -> Values:
    """Nothing has to be done that no plan says; `refused_grafana`: why Grafana cannot be shown the database."""
    return {"due": False, "refused_grafana": refusal(v, observed)}


def refusal(v: Values, observed: Values) -> str:
    """Why Grafana cannot be shown the database of its host; empty where it can, or shall not."""
    if v["state"] != "present" or not shows_database(v):
        return ""
    if not v["grafana_database_password"]:
        return (
            f"{ROLE}_grafana_enabled is true, and nobody may read the database of this host: set "
            "speedtest_database_reader_password (`openssl rand -base64 24`, in a vault)"
        )
    if not observed["accounts"].get(GRAFANA_ACCOUNT):
        return (
            f"seen no account {GRAFANA_ACCOUNT}, which alone may read what Grafana logs into the database with: "
            f"install Grafana's package first, or set {ROLE}_grafana_enabled to false"
        )
    return ""


def watches(v: Values) -> bool:
    """Whether the host is a monitoring host, with a server of its own or the owner's."""
    return bool(v["fleet"].get("server"))


def serves(v: Values) -> bool:
    """Whether Prometheus and Alertmanager run on the host."""
    return watches(v) and v["mode"] == "server"


def has_grafana(v: Values) -> bool:
    """Whether the Grafana on a monitoring host is told what there is to show."""
    return watches(v) and bool(v["grafana_enabled"])


def shows_database(v: Values) -> bool:
    """Whether that Grafana is shown the database on the same host."""
    return has_grafana(v) and bool(v["fleet"].get("database"))


def exports(v: Values) -> bool:
    """Whether the host is a node with an exporter."""
    return bool(v["fleet"].get("exporter"))


def things(v: Values) -> list[Thing]:
    """Everything that a monitoring host or a node may have; what Prometheus has collected is data."""
    return [*of_server(v), *of_files(v), *of_grafana(v), *of_database(v), *of_node(v)]


def of_server(v: Values) -> list[Thing]:
    """Debian's Prometheus and Alertmanager with a configuration of ours; theirs in /etc/prometheus is not touched."""
    here = serves(v)
    check = "/usr/bin/promtool check config --syntax-only %s"
    return [
        package(PROMETHEUS, when=here),
        package(ALERTMANAGER, when=here),
        directory(STATE, when=here, goes=Goes.PURGE),
        directory(f"{STATE}/prometheus", ACCOUNT, mode="0700", when=here, goes=Goes.PURGE),
        directory(f"{STATE}/alertmanager", ACCOUNT, mode="0700", when=here, goes=Goes.PURGE),
        directory(f"{CONFIG}/secrets", "root", ACCOUNT, "0750", when=here),
        secret("dashboard-key", v["dashboard_key"], when=here),
        secret("remote-write-password", v["remote_write_password"], when=here),
        secret("remote-write-token", v["remote_write_token"], when=here),
        written(
            f"{CONFIG}/prometheus.yml",
            lambda: prometheus.config(v, CONFIG, KEY if v["dashboard_key"] else ""),
            validate=check,
            reloads=[f"{PROMETHEUS}.service"],
            when=here,
        ),
        written(
            f"{CONFIG}/alertmanager.yml",
            lambda: alertmanager.config(v),
            group=ACCOUNT,
            mode="0640",
            secret=True,
            validate="/usr/bin/amtool check-config %s",
            reloads=[f"{ALERTMANAGER}.service"],
            when=here,
        ),
        *service(v, PROMETHEUS, when=here),
        *service(v, ALERTMANAGER, when=here),
    ]


def of_files(v: Values) -> list[Thing]:
    """What any Prometheus needs to know of the fleet; rules that the owner puts beside ours stay."""
    here = watches(v)
    checked: Values = {"validate": "/usr/bin/promtool check rules %s"} if serves(v) else {}
    return [
        directory(CONFIG, when=here),
        directory(f"{CONFIG}/targets", when=here),
        directory(f"{CONFIG}/rules", when=here),
        written(f"{CONFIG}/targets/nodes.yml", lambda: prometheus.node_targets(v), when=here),
        written(f"{CONFIG}/targets/dashboard.yml", lambda: prometheus.dashboard_targets(v), when=here),
        written(
            f"{CONFIG}/rules/speedtest.yml",
            lambda: (FILES / "rules.yml").read_text(encoding="utf-8"),
            reloads=[f"{PROMETHEUS}.service"],
            when=here,
            **checked,
        ),
        written(
            f"{CONFIG}/scrape_configs.yml",
            lambda: prometheus.as_yaml({"scrape_configs": prometheus.scrape_jobs(v, CONFIG, "")}),
            when=here and not serves(v),
        ),
    ]


def of_grafana(v: Values) -> list[Thing]:
    """Dashboards, and what makes the Grafana that is on the host show them."""
    here = watches(v)
    told = has_grafana(v)
    return [
        directory(f"{CONFIG}/dashboards", when=here),
        *dashboards("*.json", when=here),
        written(
            f"{GRAFANA}/datasources/speedtest.yaml",
            lambda: text(v, "etc/grafana/provisioning/datasources/speedtest.yaml"),
            when=told,
        ),
        written(
            f"{GRAFANA}/dashboards/speedtest.yaml",
            lambda: text(v, "etc/grafana/provisioning/dashboards/speedtest.yaml"),
            when=told,
        ),
    ]


def of_database(v: Values) -> list[Thing]:
    """What makes that Grafana show the database on the same host; nobody else on it may read the password."""
    here = shows_database(v)
    return [
        directory(f"{CONFIG}/dashboards/postgresql", when=here),
        *dashboards("postgresql/*.json", when=here),
        written(
            f"{GRAFANA}/datasources/speedtest-postgresql.yaml",
            lambda: text(v, "etc/grafana/provisioning/datasources/speedtest-postgresql.yaml"),
            group=GRAFANA_ACCOUNT,
            mode="0640",
            secret=True,
            when=here,
        ),
    ]


def dashboards(pattern: str, *, when: bool) -> list[Thing]:
    """Grafana's dashboards of the checkout, at the same places in a folder on the host."""
    return [
        written(
            f"{CONFIG}/dashboards/{source.relative_to(DASHBOARDS)}",
            partial(source.read_text, encoding="utf-8"),
            when=when,
        )
        for source in sorted(DASHBOARDS.glob(pattern))
    ]


def of_node(v: Values) -> list[Thing]:
    """Debian's node exporter, which also shows what the logger says of itself."""
    here = exports(v)
    return [
        package("dbus", when=here),  # by which the exporter asks systemd for the state of units
        package(EXPORTER, when=here),
        *service(v, EXPORTER, when=here),
        link(f"{TEXTFILES}/speedtest.prom", METRICS, when=here),
    ]


def service(v: Values, name: str, *, when: bool) -> list[Thing]:
    """Debian's unit with a drop-in of ours; without it the unit is somebody else's."""
    unit_name = f"{name}.service"
    place = f"{unit_name}.d/speedtest.conf"
    return [
        written(
            f"{UNIT_DIRECTORY}{place}",
            lambda: text(v, f"etc/systemd/system/{place}"),
            restarts=[unit_name],
            stops=[unit_name],
            when=when,
        ),
        unit(unit_name, package=name, when=when, goes=Goes.NEVER),
    ]


def written(path: str, content: Callable[[], str], *, when: bool, **more: Any) -> Thing:
    """A file whose content is made only where it is wanted: a fleet has many nodes and one monitoring host."""
    return file(path, content() if when else "", when=when, **more)


def secret(name: str, content: str, *, when: bool) -> Thing:
    """A file that only Debian's account reads, where there is something to put into it."""
    return file(
        f"{CONFIG}/secrets/{name}", str(content), group=ACCOUNT, mode="0640", secret=True, when=when and bool(content)
    )


def text(v: Values, name: str) -> str:
    """A template's text for this host."""
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **names(v),
        "listen": listening(v["bind"], v["port"]),
        "listen_exporter": listening(v["exporter_bind"], v["exporter_port"]),
        "database_socket_dir": speedtest_database.SOCKET_DIR,
        "database_password": as_grafana_reads(v["grafana_database_password"]),
    }
    return templates.rendered(ROLE, name, values)


def as_grafana_reads(value: object) -> str:
    """A text as a value of Grafana's provisioning, which is YAML and puts variables in the place of what follows $."""
    return json.dumps(str(value).replace("$", "$$"), ensure_ascii=False)


def listening(bind: object, port: object) -> str:
    """ADDRESS:PORT as Go's servers take it; without an address all of them."""
    return f"{f'[{bind}]' if ':' in str(bind) else bind}:{port}"
