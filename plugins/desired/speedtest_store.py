"""What a host with an object store has, SeaweedFS: the role speedtest_store."""

from __future__ import annotations

import json
from typing import Any

from plugins.desired import software, templates
from plugins.desired.things import (
    UNIT_DIRECTORY,
    Goes,
    Thing,
    account,
    directory,
    file,
    folder,
    leftover,
    link,
    package,
    unit,
    venv,
)

ROLE = "speedtest_store"
CONFIG = "/etc/speedtest-store"
UNIT = "speedtest-store.service"
VOLUME_MB = 256  # objects are kept in files of this size
# What the key may do in its bucket, and nowhere else.
RIGHTS = ("Read", "Write", "List", "Tagging")
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    install = v["install_dir"]
    return {
        "venv": f"{install}/venv",
        "venv_dir": software.venv_dir(f"{install}/venvs", v["requirements_file"]),
        "weed": f"{install}/venv/bin/weed",
        "s3_file": f"{CONFIG}/s3.json",
    }


def besides(_: Values) -> Values:
    """What is looked at besides the things."""
    return {}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    n = names(v)
    before = observed["links"].get(n["venv"])
    replaced = [{"directory": f"{v['install_dir']}/venvs", "keep": [n["venv_dir"], before]}]
    return {"due": False, "replaced": replaced if before and before != n["venv_dir"] else []}


def things(v: Values) -> list[Thing]:
    """Everything that a store may have; its objects are data."""
    n, install = names(v), v["install_dir"]
    before = f"{install}/previous-venv"
    return [
        package("python3-venv"),
        account(v["user"], home=v["dir"], login="/usr/sbin/nologin"),
        directory(v["dir"], v["user"], mode="0700", goes=Goes.PURGE),
        directory(install),
        directory(f"{install}/venvs"),
        venv(n["venv_dir"], v["requirements_file"], []),
        folder(f"{install}/venvs", [n["venv_dir"]], [n["venv"], before]),
        link(n["venv"], n["venv_dir"], previous=before, restarts=[UNIT]),
        leftover(before, when=True),
        directory(CONFIG, mode="0700"),
        file(n["s3_file"], s3_json(v), mode="0600", secret=True, restarts=[UNIT]),
        file(f"{UNIT_DIRECTORY}{UNIT}", text(v, n), restarts=[UNIT]),
        unit(UNIT),
    ]


def s3_json(v: Values) -> str:
    """Who may do what, as SeaweedFS reads it."""
    who = {
        "name": "publisher",
        "credentials": [{"accessKey": v["access_key"], "secretKey": v["secret_key"]}],
        "actions": [f"{right}:{v['bucket']}" for right in RIGHTS],
    }
    return json.dumps({"identities": [who]}, indent=2) + "\n"


def text(v: Values, n: Values) -> str:
    """The unit's text."""
    port = int(v["port"])
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **n,
        "master_port": port + 1,
        "volume_port": port + 2,
        "filer_port": port + 3,
        "volume_mb": VOLUME_MB,
        "volumes": int(v["max_gb"]) * 1000 // VOLUME_MB,
    }
    return templates.rendered(ROLE, f"etc/systemd/system/{UNIT}", values)
