"""What an archive host has: the role speedtest_archive. authorized_keys and schedule.json depend on the nodes."""

from __future__ import annotations

import json
import shlex
from typing import Any

from plugins.desired import software, templates
from plugins.desired.things import (
    UNIT_DIRECTORY,
    Goes,
    Thing,
    account,
    answer,
    directory,
    file,
    leftover,
    package,
    unit,
)
from speedtest_logger import schedule
from speedtest_logger.inventory.kinds import plain

ROLE = "speedtest_archive"
# What the account owns in its archive.
CHILDREN = (
    "inbox", "raw-inbox", "log-inbox", "probe-inbox", "archive", "raw", "logs", "probes", "manifest", "quarantine",
    "state", "gathered", "work",
)  # fmt: skip
SERVICES = ("speedtest-ingest", "speedtest-upkeep", "speedtest-journal")
IMPORTS = ("apprise", "duckdb", "pandas", "pyarrow.parquet")
SSHD_FILE = "/etc/ssh/sshd_config.d/50-speedtest-archive.conf"
# What sshd must say that it would do with a connection of the account.
SSHD_HEEDS = ["disableforwarding yes", "permittty no", "clientaliveinterval 15", "maxsessions 2"]
# Holds repository and password, which the account that nodes log into must not: it could delete the backups.
BACKUP_ACCOUNT = "speedtest-backup"
BACKUP_HOME = "/var/lib/speedtest-backup"
CONFIG = "/etc/speedtest-archive"
BACKUP_CACHE = "/var/cache/speedtest-backup"
# Knows where messages go, and reaches the network; it only reads the archive.
ALERTS_ACCOUNT = "speedtest-alerts"
# Has the keys of an object store, and reaches the network; it only reads the archive.
PUBLISH_ACCOUNT = "speedtest-publish"
# Takes deliveries over HTTP; the front leads to its socket.
RECEIVER_UNIT = "speedtest-receive-http.service"
RECEIVER = "/run/speedtest-receive-http/socket"
STORE_IMPORTS = ("deltalake", "obstore")
SHARED_SOCKET = "/run/speedtest-shared-inbox.sock"
LIMIT = "limit_"
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {
        **software.names(packaged(v)),
        "fleet_dir": f"{v['dir']}/fleet",
        "tokens_file": f"{v['home_dir']}/tokens",
        "invitations_file": f"{v['home_dir']}/invitations",
        "receiver": RECEIVER,
        "backups_dir": f"{v['dir']}/backups",
        "sshd_file": SSHD_FILE,
        "sshd_asked": ["sshd", "-T", "-C", f"user={v['user']},host=localhost,addr=127.0.0.1"],
        "sshd_heeds": SSHD_HEEDS,
        "backup_account": BACKUP_ACCOUNT,
        "backup_home": BACKUP_HOME,
        "backup_config_dir": CONFIG,
        "alerts_account": ALERTS_ACCOUNT,
        "alerts_dir": f"{v['dir']}/alerts",
        "alerts_file": f"{CONFIG}/alerts.json",
        "publish_account": PUBLISH_ACCOUNT,
        "store_dir": f"{v['dir']}/store",
        "store_file": f"{CONFIG}/store.env",
    }


def besides(_: Values) -> Values:
    """What is looked at besides the things."""
    return {}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    return {"due": False, "replaced": software.replaced(packaged(v), observed)}


def things(v: Values) -> list[Thing]:
    """Everything that an archive host may have."""
    n = names(v)
    return [
        package("openssh-server"),
        account(v["user"], home=v["home_dir"], login="/bin/sh"),
        *other_accounts(v),
        *directories(v, n),
        *software.things(packaged(v), imports(v), [RECEIVER_UNIT] if v["https_enabled"] else ()),
        file("/usr/local/bin/speedtest-archive", text(v, n, "usr/local/bin/speedtest-archive"), mode="0755"),
        *connections(v, n),
        *over_https(v, n),
        *units(v, n),
        directory(CONFIG, mode="0700", when=enabled(v) or alerts_enabled(v) or publishes(v)),
        *backups(v, n),
        *alerts(v, n),
        *publishing(v, n),
        *sharing(v, n),
    ]


def imports(v: Values) -> tuple[str, ...]:
    """Modules that must load in its environment."""
    return (*IMPORTS, *(STORE_IMPORTS if publishes(v) else ()))


def packaged(v: Values) -> Values:
    """The inputs, with the lock of packages that this archive needs."""
    return {**v, "requirements_file": v["store_requirements_file"]} if publishes(v) else v


def directories(v: Values, n: Values) -> list[Thing]:
    """Its directories; dir is root's, so that the account cannot put anything else in its children's place."""
    user = v["user"]
    return [
        directory(v["home_dir"], "root", user, "0750"),
        directory(f"{v['home_dir']}/.ssh", "root", user, "0750"),
        directory(v["dir"], "root", user, "0750", goes=Goes.PURGE),
        directory(n["fleet_dir"], "root", user, "0750", goes=Goes.PURGE),
        *[directory(f"{v['dir']}/{name}", user, mode="0750", goes=Goes.PURGE) for name in CHILDREN],
    ]


def connections(v: Values, n: Values) -> list[Thing]:
    """What bounds the nodes' connections and deliveries."""
    limits = {f"SPEEDTEST_LIMIT_{name.removeprefix(LIMIT).upper()}": v[name] for name in v if name.startswith(LIMIT)}
    sshd = "etc/ssh/sshd_config.d/50-speedtest-archive.conf"
    return [
        file(f"{n['fleet_dir']}/limits.env", templates.env_file(ROLE, limits), group=v["user"], mode="0640"),
        file(
            SSHD_FILE,
            text(v, n, sshd, old_sshd=False),
            # sshd of OpenSSH before 9.2 does not know two of the options
            older={"package": "openssh-server", "before": "9.2", "content": text(v, n, sshd, old_sshd=True)},
            validate="/usr/sbin/sshd -t -f %s",
            reloads=["ssh.service"],
        ),
        answer(n["sshd_asked"], SSHD_HEEDS, f"sshd does not heed {SSHD_FILE}"),
    ]


def over_https(v: Values, n: Values) -> list[Thing]:
    """What takes deliveries over HTTP behind the front; whose tokens it knows, nodes.yml says."""
    on = bool(v["https_enabled"])
    content = text(v, n, f"etc/systemd/system/{RECEIVER_UNIT}")
    return [
        file(f"{UNIT_DIRECTORY}{RECEIVER_UNIT}", content, when=on, restarts=[RECEIVER_UNIT]),
        unit(RECEIVER_UNIT, when=on),
        leftover(n["tokens_file"], when=on),
        leftover(n["invitations_file"], when=on and bool(v["invitations_enabled"])),
    ]


def units(v: Values, n: Values) -> list[Thing]:
    """Its services and their timers."""
    return [
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=runs(v, service),
                restarts=[name] if name.endswith(".timer") else [],
            )
            for service in SERVICES
            for name in (f"{service}.service", f"{service}.timer")
        ],
        *[unit(f"{service}.timer", when=runs(v, service)) for service in SERVICES],
    ]


def runs(v: Values, service: str) -> bool:
    """Whether a service runs by itself: hosts that share an archive take the inbox in by turns."""
    return service != "speedtest-ingest" or not shares(v)


def other_accounts(v: Values) -> list[Thing]:
    """Those that hold the backups and send messages; they stay where they are not wanted any more, as what they own."""
    return [
        account(PUBLISH_ACCOUNT, when=publishes(v), login="/usr/sbin/nologin", groups=[v["user"]]),
        account(ALERTS_ACCOUNT, when=alerts_enabled(v), login="/usr/sbin/nologin", groups=[v["user"]]),
        account(
            BACKUP_ACCOUNT,
            when=enabled(v),
            home=BACKUP_HOME,
            login="/usr/sbin/nologin",
            groups=[v["user"]],  # reads what is to be saved
        ),
    ]


def backups(v: Values, n: Values) -> list[Thing]:
    """What saves the archive where a repository is named.

    backups/ is its group's to read: so the archive knows what became of backups. The repository itself stays.
    """
    on, repository = enabled(v), v["backup_repository"]
    local = repository.startswith("/")
    return [
        package("restic", when=on),
        directory(BACKUP_HOME, BACKUP_ACCOUNT, mode="0700", when=on, goes=Goes.ABSENT),
        directory(n["backups_dir"], BACKUP_ACCOUNT, v["user"], "2750", when=on, goes=Goes.PURGE),
        *([directory(repository, BACKUP_ACCOUNT, mode="0700", goes=Goes.NEVER)] if local else []),
        leftover(BACKUP_CACHE, goes=Goes.ABSENT),
        file(f"{CONFIG}/backup.env", backup_env(v), when=on, mode="0600", secret=True),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=on,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in ("speedtest-backup-stage.service", "speedtest-backup.service", "speedtest-backup.timer")
        ],
        unit("speedtest-backup.timer", when=on),
    ]


def enabled(v: Values) -> bool:
    """Whether backups are made."""
    return bool(v["backup_repository"])


def alerts(v: Values, n: Values) -> list[Thing]:
    """What judges the archive's slots each minute and sends messages, where the inventory says to whom.

    alerts/ is the archive's group's to read: so the dashboard knows what lasts. Addresses are in a file of root's.
    """
    on = alerts_enabled(v)
    return [
        directory(n["alerts_dir"], ALERTS_ACCOUNT, v["user"], "2750", when=on, goes=Goes.PURGE),
        file("/usr/local/bin/speedtest-alerts", text(v, n, "usr/local/bin/speedtest-alerts"), when=on, mode="0755"),
        file(n["alerts_file"], alerts_json(v), when=on, mode="0600", secret=True),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=on,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in ("speedtest-alerts.service", "speedtest-alerts.timer")
        ],
        unit("speedtest-alerts.timer", when=on),
    ]


def alerts_enabled(v: Values) -> bool:
    """Whether anybody is to be told."""
    return bool(v["alerts_destinations"] or v["alerts_heartbeat_url"])


def publishing(v: Values, n: Values) -> list[Thing]:
    """What carries the records to an object store where an address is named.

    store/ is the archive's group's to read: so the archive knows how it goes. The table itself stays.
    """
    on = publishes(v) and not shares(v)
    return [
        directory(n["store_dir"], PUBLISH_ACCOUNT, v["user"], "2750", when=on),
        *[directory(place, PUBLISH_ACCOUNT, v["user"], "2750", goes=Goes.NEVER) for place in published_here(v)],
        file(n["store_file"], store_env(v), when=publishes(v), mode="0600", secret=True),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=on,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in (
                "speedtest-publish.service",
                "speedtest-publish.timer",
                "speedtest-publish-upkeep.service",
                "speedtest-publish-upkeep.timer",
            )
        ],
        unit("speedtest-publish.timer", when=on),
        unit("speedtest-publish-upkeep.timer", when=on),
    ]


def published_here(v: Values) -> list[str]:
    """Directories of this host that records are published to."""
    return [v[name] for name in ("store_address", "store_tree") if v[name].startswith("/")]


def publishes(v: Values) -> bool:
    """Whether the records are published."""
    return bool(v["store_address"])


def publish_tree(v: Values) -> str:
    """The options by which plain files are published too."""
    if not v["store_tree"]:
        return ""
    return f" --tree {v['store_tree']}" + (" --results" if v["store_tree_results"] else "")


def sharing(v: Values, n: Values) -> list[Thing]:
    """What makes a host one of several: deliveries go into the store, and it leads or follows each minute.

    The service that puts them there has the store's keys, which the account that nodes log into must not have.
    """
    on = shares(v)
    to_socket = templates.env_file(ROLE, {"SPEEDTEST_SHARED_SOCKET": SHARED_SOCKET})
    return [
        file(f"{n['fleet_dir']}/shared.env", to_socket, when=on, group=v["user"], mode="0640"),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=on,
                restarts=[] if name == "speedtest-share.service" else [name],
            )
            for name in (
                "speedtest-share.service",
                "speedtest-share.timer",
                "speedtest-shared-inbox.service",
                "speedtest-shared-inbox.socket",
            )
        ],
        unit("speedtest-share.timer", when=on),
        unit("speedtest-shared-inbox.socket", when=on),
    ]


def shares(v: Values) -> bool:
    """Whether the host shares the archive with others."""
    return publishes(v) and bool(v["shared"])


def store_env(v: Values) -> str:
    """What programs for S3 read."""
    variables = {
        "AWS_ACCESS_KEY_ID": v["store_access_key"],
        "AWS_SECRET_ACCESS_KEY": v["store_secret_key"],
        "AWS_ENDPOINT_URL": v["store_endpoint"],
        "AWS_REGION": v["store_region"],
        "AWS_ALLOW_HTTP": "true" if v["store_endpoint"].startswith("http://") else "",
    }
    note = "handed to speedtest-publish.service, and read by speedtest-archive where root runs it by hand"
    return templates.env_file(ROLE, variables, note)


def alerts_json(v: Values) -> str:
    """What speedtest_logger.alerts.settings reads."""
    content = {
        "rules": plain(v["alerts_rules"]),
        "grace_seconds": int(v["alerts_grace_seconds"]),
        "heartbeat_url": str(v["alerts_heartbeat_url"]),
        "link": str(v["alerts_link"]),
        "destinations": plain(v["alerts_destinations"]),
    }
    return json.dumps(content, indent=2) + "\n"


def backup_env(v: Values) -> str:
    """restic's own variables, and ours."""
    variables = {
        "RESTIC_REPOSITORY": v["backup_repository"],
        "RESTIC_PASSWORD": v["backup_password"],
        "RESTIC_CACHE_DIR": BACKUP_CACHE,
        "SPEEDTEST_RESTIC_OPTIONS": " ".join(shlex.quote(option) for option in v["backup_options"]),
        **v["backup_environment"],
    }
    note = "read by speedtest-backup.service, and by speedtest-archive where root runs it by hand"
    return templates.env_file(ROLE, variables, note)


def prune_options(v: Values) -> list[str]:
    """What speedtest-archive prune is told every night; nothing where all is kept."""
    days, size = int(v["keep_days"]), v["keep_size"]
    raw_days, log_days, probe_days = (int(v[f"keep_{name}_days"]) for name in ("raw", "log", "probe"))
    return [
        *([f"--older-than {days}d"] if days > 0 else []),
        *([f"--max-size {size}"] if size else []),
        *([f"--raw-older-than {raw_days}d"] if raw_days > 0 else []),
        *([f"--logs-older-than {log_days}d"] if log_days > 0 else []),
        *([f"--probes-older-than {probe_days}d"] if probe_days > 0 else []),
    ]


def text(v: Values, n: Values, name: str, **more: Any) -> str:
    """A template's text for this archive host."""
    interval = schedule.parse_duration(v["ingest_interval"])
    repository = v["backup_repository"]
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **n,
        "ingest_calendar": schedule.Schedule(interval, 20 % interval).on_calendar(),
        "prune_options": prune_options(v),
        "channel_seconds": int(v["limit_seconds"]) + 60,
        "backup_keep": f"--keep-daily {v['backup_keep_daily']} --keep-weekly {v['backup_keep_weekly']} "
        f"--keep-monthly {v['backup_keep_monthly']}",
        "shared_socket": SHARED_SOCKET,
        "store_writes": [n["store_dir"], *published_here(v)],
        "publish_tree": publish_tree(v),
        "backup_writes": [n["backups_dir"], BACKUP_HOME, *([repository] if repository.startswith("/") else [])],
        **more,
    }
    return templates.rendered(ROLE, name, values)
