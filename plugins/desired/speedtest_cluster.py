"""What a member of the cluster has: the role speedtest_cluster. `members` are the certificates of all, from the run."""

from __future__ import annotations

from typing import Any

from plugins.desired import software, templates
from plugins.desired.things import UNIT_DIRECTORY, Goes, Thing, account, attributes, directory, file, leftover, unit
from speedtest_logger.distributed.keys import FILES

ROLE = "speedtest_cluster"
CONFIG = "/etc/speedtest-cluster"
PROGRAM = "/usr/local/bin/speedtest-cluster"
CACHE = "/var/cache/speedtest-cluster"
UNITS = {"scheduler": "speedtest-scheduler.service", "worker": "speedtest-worker.service"}
IMPORTS = ("distributed", "duckdb", "pyarrow.parquet", "deltalake", "obstore")
KEY, CERTIFICATE, MEMBERS = (f"{CONFIG}/{name}" for name in FILES)
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {**software.names(v), "config_dir": CONFIG, "key": KEY, "certificate": CERTIFICATE, "members_file": MEMBERS}


def besides(_: Values) -> Values:
    """What is looked at besides the things."""
    return {"read": [CERTIFICATE, MEMBERS]}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    return {"due": False, "replaced": software.replaced(v, observed)}


def things(v: Values) -> list[Thing]:
    """Everything that a member may have. Its key is made on the host, and goes with the rest."""
    n = names(v)
    mine = [UNITS[part] for part in UNITS if part in v["parts"]]
    works = "worker" in v["parts"]
    reads = [UNITS["worker"]] if works else []
    return [
        account(v["user"], login="/usr/sbin/nologin", goes=Goes.ABSENT),  # it owns nothing
        *software.things(v, IMPORTS, restarts=mine),
        directory(CONFIG, mode="0755"),
        attributes(KEY, mode="0600"),
        attributes(CERTIFICATE),
        file(MEMBERS, v.get("members", ""), restarts=mine),
        file(f"{CONFIG}/store.env", store_env(v), mode="0600", secret=True, when=works, restarts=reads),
        leftover(CACHE, when=works and v["cache_mb"] > 0),
        file(PROGRAM, text(v, n, "usr/local/bin/speedtest-cluster"), mode="0755"),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=part in v["parts"],
                restarts=[name] if part in v["parts"] else [],
            )
            for part, name in UNITS.items()
        ],
        *[unit(name, when=part in v["parts"]) for part, name in UNITS.items()],
    ]


def store_env(v: Values) -> str:
    """What programs for S3 read."""
    variables = {
        "AWS_ACCESS_KEY_ID": v["store_access_key"],
        "AWS_SECRET_ACCESS_KEY": v["store_secret_key"],
        "AWS_ENDPOINT_URL": v["store_endpoint"],
        "AWS_REGION": v["store_region"],
        "AWS_ALLOW_HTTP": "true" if v["store_endpoint"].startswith("http://") else "",
    }
    return templates.env_file(ROLE, variables, "handed to speedtest-worker.service")


def text(v: Values, n: Values, name: str) -> str:
    """A template's text for this member."""
    values = {**{f"{ROLE}_{key}": value for key, value in v.items()}, **n}
    return templates.rendered(ROLE, name, values)
