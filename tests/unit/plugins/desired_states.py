"""What roles want by their defaults, and what the tests of several of them are given."""

from __future__ import annotations

from datetime import date

from plugins.desired import roles
from speedtest_logger.inventory.roles import known

UNITS = "/etc/systemd/system/"
SLOTS = {"interval_seconds": 3600, "offset_seconds": 7, "on_calendar": ["*-*-* *:00:07"]}
DATA = {
    "speedtest_logger": ["/var/lib/speedtest-telemetry", "/var/log/speedtest-telemetry"],
    "speedtest_archive": ["/srv/speedtest-archive"],
    "speedtest_dashboard": ["/var/lib/speedtest-dashboard"],
    "speedtest_database": ["/var/lib/speedtest-database", "/srv/speedtest-archive/database"],
    "speedtest_front": ["/var/lib/speedtest-front"],
    "speedtest_monitoring": ["/var/lib/speedtest-monitoring"],
    "speedtest_cluster": [],
    "speedtest_store": ["/srv/speedtest-store"],
    "speedtest_target": [],
}
USERS = [{"name": "ada", "password": "scrypt$16384$8$1$c2FsdA==$aGFzaA=="}]
KEYS = [{"name": "grafana", "id": "abcdefgh", "sha256": "0" * 64, "scopes": ["read"], "expires": None}]
RUNTIMES = ("systemd", "compose")
SHARES = [{"location": "home", "sha256": "1" * 64, "expires": date(2027, 1, 31)}]
NAME = "speed.example.org"
WATCHED = {"server": True, "exporter": True, "monitors": [], "nodes": [], "dashboard": ""}
STOCK = (
    "nginx",
    "caddy",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "irtt",
    "systemd-sysctl",
)  # of packages
OWN = {
    ("ingest_interval", "speedtest_archive"),
    ("workbench_port", "speedtest_dashboard"),
}  # what a role does not take from another one
# What stays when all is taken off, since it is others' too, or was there before.
OTHERS = {
    "/mnt/usb/restic",
    "/mnt/usb/table",
    "/mnt/usb/plain",
    "/etc/postgresql-common",
    "/etc/postgresql-common/createcluster.d",
}


def wanted(role, here, **changes):
    prefix = f"{role}_"
    plain = {name: item.default for name, item in known().items() if name.startswith(prefix)}
    values = {name.removeprefix(prefix): value for name, value in plain.items()}
    given = {name: value for name, value in here.items() if name in values and (name, role) not in OWN}
    return roles.Wanted(
        role, {**values, **given, **({"node_name": "attic"} if "node_name" in values else {}), **changes}
    )


def is_gone(path, lists):
    return any(path == above or path.startswith(f"{above}/") for above in lists.get("absent_paths", []))


def paths_of(lists):
    return {item["path"] for name in ("files", "directories", "links") for item in lists.get(name, [])}


def files_of(role, here, **changes):
    return {item["path"]: item for item in wanted(role, here, **changes).desired["files"]}
