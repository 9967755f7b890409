"""What the dashboard has on the archive host: the role speedtest_dashboard."""

from __future__ import annotations

import json
from typing import Any

from plugins.desired import software, templates
from plugins.desired.things import UNIT_DIRECTORY, Goes, Thing, account, directory, file, unit
from speedtest_logger.domains import is_loopback
from speedtest_logger.inventory.kinds import as_written

ROLE = "speedtest_dashboard"
IMPORTS = ("duckdb", "fastapi", "jinja2", "numpy", "pyarrow.parquet", "uvicorn", "websockets")
CONFIG = "/etc/speedtest-dashboard"
UNIT = "speedtest-dashboard.service"
PROGRAM = "/usr/local/bin/speedtest-dashboard"
# Who may, in files of root's that only the service is handed; by the input's name.
SECRETS = ("users", "keys", "shares")
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {**software.names(v), "config_dir": CONFIG, "unit": UNIT, "program": PROGRAM, "health_url": health_url(v)}


def besides(_: Values) -> Values:
    """What is looked at besides the things."""
    return {}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    return {"due": False, "replaced": software.replaced(v, observed)}


def things(v: Values) -> list[Thing]:
    """Everything that a dashboard may have. The archive's role makes the group that may read the archive."""
    return [
        account(v["user"], home=v["dir"], login="/usr/sbin/nologin", groups=[v["archive_user"]]),
        directory(v["dir"], v["user"], mode="0700", goes=Goes.PURGE),
        directory(CONFIG),
        *software.things(v, IMPORTS, restarts=[UNIT]),
        file(PROGRAM, text(v, "usr/local/bin/speedtest-dashboard"), mode="0755"),
        file(f"{CONFIG}/dashboard.env", environment(v), restarts=[UNIT]),
        *[secret_file(v, name) for name in SECRETS],
        file(f"{UNIT_DIRECTORY}{UNIT}", text(v, f"etc/systemd/system/{UNIT}"), restarts=[UNIT]),
        unit(UNIT),
    ]


def environment(v: Values) -> str:
    """dashboard.env: everything but who may."""
    variables = {
        "SPEEDTEST_ARCHIVE_DIR": v["archive_dir"],
        "SPEEDTEST_DASHBOARD_DIR": v["dir"],
        "SPEEDTEST_DASHBOARD_BIND": v["bind"],
        "SPEEDTEST_DASHBOARD_PORT": v["port"],
        "SPEEDTEST_DASHBOARD_HOSTS": ",".join(v["hosts"]),
        "SPEEDTEST_DASHBOARD_FRONT": v["front"],
        "SPEEDTEST_DASHBOARD_INGEST_INTERVAL": v["ingest_interval"],
        "SPEEDTEST_DASHBOARD_TIME_ZONE": v["time_zone"],
        "SPEEDTEST_DASHBOARD_TITLE": v["title"],
        "CORS_ORIGINS": ",".join(v["cors_origins"]),
        "LOG_LEVEL": v["log_level"],
    }
    return templates.env_file(ROLE, variables, f"read by {UNIT}, and by {PROGRAM} where root runs it by hand")


def secret_file(v: Values, name: str) -> Thing:
    """A file of users, keys or shares, where there are any."""
    content = json.dumps([as_written(entry) for entry in v[name]], indent=2) + "\n"
    path = f"{CONFIG}/{name}.json"
    return file(path, content, when=bool(v[name]), mode="0600", secret=True, restarts=[UNIT])


def health_url(v: Values) -> str:
    """Where the host itself asks whether the dashboard is well."""
    bind = str(v["bind"])
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104  (nothing listens here)
    return f"http://{f'[{address}]' if ':' in address else address}:{v['port']}/health"


def text(v: Values, name: str) -> str:
    """A template's text for this dashboard."""
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **names(v),
        "secrets": [each for each in SECRETS if v[each]],
        "loopback": is_loopback(v["bind"]),
    }
    return templates.rendered(ROLE, name, values)
