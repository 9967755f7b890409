"""What follows the archive into PostgreSQL on the archive host, and Debian's server: the role speedtest_database."""

from __future__ import annotations

from typing import Any

from plugins.desired import software, templates
from plugins.desired.things import UNIT_DIRECTORY, Goes, Thing, account, directory, file, package, unit

ROLE = "speedtest_database"
IMPORTS = ("duckdb", "psycopg", "pyarrow.parquet")
CONFIG = "/etc/speedtest-database"
SOCKET_DIR = "/run/speedtest-database"
PROGRAM = "/usr/local/bin/speedtest-database"
# Owns the server's files; the sink cannot touch them.
SERVER_ACCOUNT = "speedtest-postgresql"
SERVER = "speedtest-postgresql.service"
SYNC, DUMP = "speedtest-database", "speedtest-database-dump"
TIMESCALE = "postgresql-17-timescaledb"  # of Debian 13, whose server is 17
# Debian's packages make and start a server of their own, unless they are told not to.
CLUSTERS = "/etc/postgresql-common"
NO_CLUSTER = f"{CLUSTERS}/createcluster.d/speedtest.conf"
NO_CLUSTER_TEXT = "# managed by Ansible: speedtest_database\ncreate_main_cluster = false\n"
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths and names that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {
        **software.names(v),
        "config_dir": CONFIG,
        "socket_dir": SOCKET_DIR,
        "program": PROGRAM,
        "server_account": SERVER_ACCOUNT,
        "server": SERVER,
        "state_dir": f"{v['archive_dir']}/database",
        "units": [*([SERVER] if serves(v) else []), f"{SYNC}.service"],
        "no_cluster": {"path": NO_CLUSTER, "text": NO_CLUSTER_TEXT},
    }


def besides(v: Values) -> Values:
    """What is looked at besides the things: whose group may read the archive."""
    return {"accounts": [v["archive_user"]]}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    return {"due": False, "replaced": software.replaced(v, observed)}


def serves(v: Values) -> bool:
    """Whether the server is this host's own."""
    return not v["dsn"]


def things(v: Values) -> list[Thing]:
    """Everything that a sink may have. The archive's role makes the group that may read it."""
    n = names(v)
    return [
        account(v["user"], login="/usr/sbin/nologin", groups=[v["archive_user"]]),
        directory(n["state_dir"], v["user"], v["archive_user"], "2750", goes=Goes.PURGE),
        directory(CONFIG),
        *software.things(v, IMPORTS),
        file(PROGRAM, text(v, "usr/local/bin/speedtest-database"), mode="0755"),
        file(f"{CONFIG}/database.env", environment(v)),
        file(f"{CONFIG}/database_url", f"{v['dsn']}\n", when=not serves(v), mode="0600", secret=True),
        package("postgresql-client", when=not serves(v)),
        *server(v),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, f"etc/systemd/system/{name}"),
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in (f"{SYNC}.service", f"{SYNC}.timer", f"{DUMP}.service", f"{DUMP}.timer")
        ],
        unit(f"{SYNC}.timer"),
        unit(f"{DUMP}.timer"),
    ]


def server(v: Values) -> list[Thing]:
    """Debian's server with a directory, a configuration and a unit of ours; any other one on the host is not touched.

    The database is data, though all of it can be made again.
    """
    here, password = serves(v), v["reader_password"]
    return [
        directory(CLUSTERS, when=here, goes=Goes.NEVER),
        directory(f"{CLUSTERS}/createcluster.d", when=here, goes=Goes.NEVER),
        file(NO_CLUSTER, NO_CLUSTER_TEXT, when=here),
        package("postgresql", when=here),
        package(TIMESCALE, when=here and v["timescale_enabled"]),
        account(SERVER_ACCOUNT, home=v["dir"], login="/usr/sbin/nologin", when=here),
        directory(v["dir"], SERVER_ACCOUNT, mode="0700", when=here, goes=Goes.PURGE),
        *[
            file(f"{CONFIG}/{name}", text(v, f"etc/speedtest-database/{name}"), restarts=[SERVER], when=here)
            for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
        ],
        file(
            f"{CONFIG}/reader_password",
            f"{password}\n",
            restarts=[SERVER],
            when=here and bool(password),
            mode="0600",
            secret=True,
        ),
        file(f"{UNIT_DIRECTORY}{SERVER}", text(v, f"etc/systemd/system/{SERVER}"), restarts=[SERVER], when=here),
        unit(SERVER, when=here),
    ]


def environment(v: Values) -> str:
    """database.env: everything but secrets."""
    variables = {
        "SPEEDTEST_ARCHIVE_DIR": v["archive_dir"],
        "SPEEDTEST_DATABASE_KEEP_MONTHS": v["keep_months"],
        "SPEEDTEST_DATABASE_TIMEOUT": v["timeout_seconds"],
        **({"SPEEDTEST_DATABASE_TIMESCALE": "true"} if v["timescale_enabled"] else {}),
    }
    return templates.env_file(ROLE, variables, f"read by {SYNC}.service, and by {PROGRAM} where root runs it by hand")


def text(v: Values, name: str) -> str:
    """A template's text for this host."""
    values = {**{f"{ROLE}_{key}": value for key, value in v.items()}, **names(v), "serves": serves(v)}
    return templates.rendered(ROLE, name, values)
