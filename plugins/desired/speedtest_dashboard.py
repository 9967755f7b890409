"""What the dashboard has on the archive host: the role speedtest_dashboard."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from plugins.desired import images, software, templates
from plugins.desired.things import (
    UNIT_DIRECTORY,
    Goes,
    Thing,
    account,
    directory,
    file,
    folder,
    image,
    leftover,
    project,
    repository,
    unit,
    venv,
)
from speedtest_logger.domains import is_loopback
from speedtest_logger.inventory.kinds import as_written

ROLE = "speedtest_dashboard"
IMPORTS = ("duckdb", "fastapi", "jinja2", "numpy", "pyarrow.parquet", "uvicorn", "websockets")
CONFIG = "/etc/speedtest-dashboard"
UNIT = "speedtest-dashboard.service"
WORKBENCH = "speedtest-workbench.service"
WORKBENCH_IMPORTS = ("duckdb", "pandas", "pyarrow.parquet", "streamlit")
PROGRAM = "/usr/local/bin/speedtest-dashboard"
PROJECT = {"name": "speedtest-dashboard", "container": "speedtest-dashboard"}
REPOSITORY = "speedtest-dashboard"
# Who may, in files that only the service can read; by the input's name.
SECRETS = ("users", "keys", "shares")
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths and names that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {
        **software.names(v),
        "wanted": v["version"],
        "config_dir": CONFIG,
        "unit": UNIT,
        "program": PROGRAM,
        "services": services(v),
        "project": PROJECT,
        "repository": REPOSITORY,
        "image": f"{REPOSITORY}:{v['version']}",
        "image_file": f"{v['install_dir']}/image.tar.gz",
    }


def services(v: Values) -> list[Values]:
    """What has to answer: where it is asked, and the command line that shows what it said."""
    found = [{"name": "the dashboard", "url": health_url(v), "said": said(v)}]
    if has_workbench(v):
        url = f"http://127.0.0.1:{v['workbench_port']}/workbench/_stcore/health"
        found.append({"name": "the workbench", "url": url, "said": journal(WORKBENCH)})
    return found


def said(v: Values) -> list[str]:
    """The command line that shows what the dashboard said."""
    if v["runtime"] == "compose":
        return ["docker", "container", "logs", "--tail", "20", PROJECT["container"]]
    return journal(UNIT)


def journal(unit_name: str) -> list[str]:
    """The command line that shows what a unit said."""
    return ["journalctl", "--unit", unit_name, "--lines", "20", "--no-pager", "--output", "cat"]


def besides(v: Values) -> Values:
    """What is looked at besides the things: whose group may read the archive."""
    return {"accounts": [v["archive_user"]]}


def found(v: Values, observed: Values) -> Values:
    """What this run replaces; nothing has to be done that no plan says."""
    return {"due": False, "replaced": software.replaced(v, observed)}


def things(v: Values) -> list[Thing]:
    """Everything that a dashboard may have, whichever runtime. The archive's role makes the group that may read it."""
    systemd, compose = v["runtime"] == "systemd", v["runtime"] == "compose"
    return [
        account(v["user"], home=v["dir"], login="/usr/sbin/nologin", groups=[v["archive_user"]]),
        directory(v["dir"], v["user"], mode="0700", goes=Goes.PURGE),
        directory(CONFIG),
        *software.things(v, IMPORTS, restarts=readers(v), packages=systemd, images=REPOSITORY if compose else ""),
        file(PROGRAM, text(v, "usr/local/bin/speedtest-dashboard"), mode="0755"),
        file(f"{CONFIG}/dashboard.env", environment(v), restarts=[UNIT]),
        *[secret_file(v, name) for name in SECRETS],
        file(f"{UNIT_DIRECTORY}{UNIT}", text(v, f"etc/systemd/system/{UNIT}"), when=systemd, restarts=[UNIT]),
        unit(UNIT, when=systemd),
        *container(v, compose=compose),
        *workbench(v),
    ]


def readers(v: Values) -> list[str]:
    """The units that run a release."""
    return [UNIT, WORKBENCH] if has_workbench(v) else [UNIT]


def has_workbench(v: Values) -> bool:
    """Whether there is a workbench; preflight refuses one where it could not be."""
    return bool(v["workbench_enabled"]) and v["runtime"] == "systemd" and v["state"] == "present"


def workbench(v: Values) -> list[Thing]:
    """Free questions in a browser, with Python packages of their own: another lock is another folder."""
    when, place = has_workbench(v), f"{v['install_dir']}/workbench"
    path, made = f"{UNIT_DIRECTORY}{WORKBENCH}", []
    if when:
        python = software.venv_dir(place, v["workbench_requirements_file"])
        made = [venv(python, v["workbench_requirements_file"], WORKBENCH_IMPORTS), folder(place, [python], [])]
    content = text(v, f"etc/systemd/system/{WORKBENCH}", python=f"{python}/bin/python") if when else ""
    return [
        directory(place, when=when),
        *made,
        file(path, content, when=when, restarts=[WORKBENCH]),
        unit(WORKBENCH, when=when),
    ]


def container(v: Values, *, compose: bool) -> list[Thing]:
    """What runs it in a container, which is made anew when its digest is another one.

    The numbers of the account and of the archive's group are the host's own: they are filled in where it was seen.
    """
    n, numbers = names(v), [v["user"], v["archive_user"]]
    made = {**PROJECT, "image": n["image"], "directory": CONFIG, "label": "speedtest.config", "numbers": numbers}
    digest = compose_digest(v, made)
    content = compose_file(v, {**made, "digest": digest})
    pulled = compose and v["image_source"] == "pull"
    got = images.got(ROLE, v, n, "docker/Dockerfile.dashboard", {}) if compose and v["state"] == "present" else None
    return [
        file(f"{CONFIG}/compose.yml", content, when=compose, numbers=numbers),
        *([image(got)] if got else []),
        repository(REPOSITORY, when=compose),
        *([repository(v["image"].partition("@")[0])] if pulled else []),
        project({**made, "digest": digest}, when=compose),
        leftover(n["image_file"]),
    ]


def compose_file(v: Values, made: Values) -> str:
    """The Compose project, `made` in the words of host_state."""
    return text(v, "etc/speedtest-dashboard/compose.yml", project=made)


def compose_digest(v: Values, made: Values) -> str:
    """SHA-256 of all that the container is made from, and the numbers it runs by."""
    who = [secret_content(v, name) for name in SECRETS]
    made_from = "\0".join([compose_file(v, {**made, "digest": ""}), environment(v), *who])
    numbers = f"<uid of {v['user']}> <gid of {v['user']}> <gid of {v['archive_user']}>"
    return f"{hashlib.sha256(made_from.encode()).hexdigest()} {numbers}"


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
    """A file of users, keys or shares, where there are any: systemd hands it over, a container's account reads it."""
    own = {"group": v["user"], "mode": "0640"} if v["runtime"] == "compose" else {"mode": "0600"}
    content = secret_content(v, name)
    return file(f"{CONFIG}/{name}.json", content, when=bool(v[name]), secret=True, restarts=[UNIT], **own)


def secret_content(v: Values, name: str) -> str:
    """The users, keys or shares as the dashboard reads them."""
    return json.dumps([as_written(entry) for entry in v[name]], indent=2) + "\n"


def health_url(v: Values) -> str:
    """Where the host itself asks whether the dashboard is well."""
    bind = str(v["bind"])
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104  (nothing listens here)
    return f"http://{f'[{address}]' if ':' in address else address}:{v['port']}/health"


def text(v: Values, name: str, **more: Any) -> str:
    """A template's text for this dashboard."""
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **names(v),
        "secrets": [each for each in SECRETS if v[each]],
        "loopback": is_loopback(v["bind"]),
        **more,
    }
    return templates.rendered(ROLE, name, values)
