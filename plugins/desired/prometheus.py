"""Prometheus' configuration from a role's values: whom it asks, what it judges, where it sends figures."""

from __future__ import annotations

import json
from typing import Any

import yaml

Values = dict[str, Any]
NODE, DASHBOARD = "speedtest-node", "speedtest-dashboard"  # jobs that the rules and Grafana's dashboards name
HEADING = "# managed by Ansible: speedtest_monitoring\n"


def as_yaml(content: Any) -> str:
    """A YAML file of the role's; text from an inventory carries marks of Ansible's, which are left out."""
    plain = json.loads(json.dumps(content))
    return HEADING + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)


def node_targets(v: Values) -> str:
    """Nodes' exporters for file_sd. `instance` is the node's name: no address gets into what is kept or sent on."""
    nodes = v["fleet"].get("nodes", [])
    return as_yaml(
        [
            {
                "targets": [node["target"]],
                "labels": {"instance": node["node"], "node": node["node"], "location": node["location"]},
            }
            for node in nodes
        ]
    )


def dashboard_targets(v: Values) -> str:
    """The dashboard for file_sd; its figures name nodes and locations themselves."""
    place = dashboard_of(v).partition("://")[2]
    return as_yaml([{"targets": [place], "labels": {"instance": "dashboard"}}] if place else [])


def dashboard_of(v: Values) -> str:
    """The dashboard's URL, as the inventory says or as it was told."""
    return str(v["dashboard_url"] or v["fleet"].get("dashboard", ""))


def scrape_jobs(v: Values, folder: str, key_file: str) -> list[Values]:
    """The jobs about the fleet; whoever has a Prometheus already takes these too."""
    jobs: list[Values] = [
        {"job_name": NODE, "file_sd_configs": [{"files": [f"{folder}/targets/nodes.yml"]}]},
    ]
    if place := dashboard_of(v):
        key = {"authorization": {"credentials_file": key_file}} if key_file else {}
        jobs.append(
            {
                "job_name": DASHBOARD,
                "scheme": place.partition("://")[0],
                **key,
                "file_sd_configs": [{"files": [f"{folder}/targets/dashboard.yml"]}],
            }
        )
    return jobs


def own_jobs(v: Values) -> list[Values]:
    """Prometheus and Alertmanager themselves."""
    own = {"prometheus": place_of(v), "alertmanager": f"127.0.0.1:{v['alertmanager_port']}"}
    return [
        {"job_name": name, "static_configs": [{"targets": [place], "labels": {"instance": name}}]}
        for name, place in own.items()
    ]


def place_of(v: Values) -> str:
    """Where Prometheus answers on its own host."""
    bind = str(v["bind"])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104  (what it may be told to listen on)
    return f"{f'[{host}]' if ':' in host else host}:{v['port']}"


def config(v: Values, folder: str, key_file: str) -> str:
    """prometheus.yml."""
    every = f"{int(v['scrape_seconds'])}s"
    return as_yaml(
        {
            "global": {"scrape_interval": every, "scrape_timeout": timeout(v), "evaluation_interval": every},
            "rule_files": [f"{folder}/rules/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{v['alertmanager_port']}"]}]}]},
            "scrape_configs": [*scrape_jobs(v, folder, key_file), *own_jobs(v)],
            **({"remote_write": [remote_write(v, folder)]} if v["remote_write_url"] else {}),
        }
    )


def timeout(v: Values) -> str:
    """Seconds that an answer may take, never more than there are between two questions."""
    return f"{min(10, int(v['scrape_seconds']))}s"


def remote_write(v: Values, folder: str) -> Values:
    """Where figures are sent besides, and which."""
    secrets = f"{folder}/secrets"
    login: Values = {}
    if v["remote_write_token"]:
        login = {"authorization": {"credentials_file": f"{secrets}/remote-write-token"}}
    elif v["remote_write_username"]:
        login = {
            "basic_auth": {
                "username": v["remote_write_username"],
                "password_file": f"{secrets}/remote-write-password",
            }
        }
    keep = {"source_labels": ["__name__"], "regex": v["remote_write_names"], "action": "keep"}
    return {"url": v["remote_write_url"], **login, "write_relabel_configs": [keep]}
