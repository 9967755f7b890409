"""What is in front of the dashboard on its host, Caddy with TLS: the role speedtest_front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugins.desired import templates
from plugins.desired.things import UNIT_DIRECTORY, Goes, Thing, account, directory, file, package, unit

ROLE = "speedtest_front"
ACCOUNT = "speedtest-front"
CONFIG = "/etc/speedtest-front"
STATE = "/var/lib/speedtest-front"
UNIT = "speedtest-front.service"
CADDY = "/usr/bin/caddy"
RECEIVER = "/run/speedtest-receive-http/socket"  # speedtest_archive's
# In a folder that goes again: Caddy makes what its configuration names while it looks at it.
CHECK = (
    '/bin/sh -c \'place=$(mktemp -d) && trap "rm -rf $place" EXIT && '
    f'HOME=$place XDG_DATA_HOME=$place XDG_CONFIG_HOME=$place {CADDY} validate --adapter caddyfile --config "$0"\' %s'
)
Values = dict[str, Any]


def names(_: Values) -> Values:
    """Paths that the role's tasks and templates use."""
    return {
        "config_dir": CONFIG,
        "state_dir": STATE,
        "unit": UNIT,
        "account": ACCOUNT,
        "caddy": CADDY,
        "root_file": f"{STATE}/caddy/pki/authorities/local/root.crt",
    }


def besides(_: Values) -> Values:
    """What is looked at besides the things."""
    return {}


def found(_: Values, __: Values) -> Values:
    """Nothing has to be done that no plan says."""
    return {"due": False}


def things(v: Values) -> list[Thing]:
    """Everything that a front may have; certificates and the internal authority are data."""
    return [
        package("caddy"),
        # its package starts it as soon as it is installed, on the front's ports
        unit("caddy.service", goes=Goes.NEVER, package="caddy", enabled=False, active=False),
        account(ACCOUNT, home=STATE, login="/usr/sbin/nologin"),
        directory(STATE, ACCOUNT, mode="0700", goes=Goes.PURGE),
        directory(CONFIG, "root", ACCOUNT, "0750"),
        directory(f"{CONFIG}/pages", "root", ACCOUNT, "0750"),
        *certificates(v),
        readable("pages/down.html", text(v, "etc/speedtest-front/pages/down.html")),
        readable("Caddyfile", text(v, "etc/speedtest-front/Caddyfile"), validate=CHECK, restarts=[UNIT]),
        file(f"{UNIT_DIRECTORY}{UNIT}", text(v, f"etc/systemd/system/{UNIT}"), restarts=[UNIT]),
        unit(UNIT),
    ]


def readable(name: str, content: str, **more: Any) -> Thing:
    """A file of root's in the front's folder that its account reads."""
    return file(f"{CONFIG}/{name}", content, group=ACCOUNT, mode="0640", **more)


def certificates(v: Values) -> list[Thing]:
    """Files of the control machine that the front needs there: its certificate, or whom it trusts to make one."""
    files, ca = v["tls"] == "files", v["tls"] == "acme" and bool(v["acme_ca_file"])
    return [
        copied(v, "certificate_file", "certificate.pem", when=files),
        copied(v, "key_file", "key.pem", when=files, secret=True),
        copied(v, "acme_ca_file", "acme-ca.pem", when=ca),
    ]


def copied(v: Values, name: str, to: str, *, when: bool, **more: Any) -> Thing:
    """A file of the control machine, where it is wanted."""
    wanted = when and v["state"] == "present"
    content = Path(v[name]).read_text(encoding="utf-8") if wanted else ""
    return readable(to, content, when=when, restarts=[UNIT], **more)


def text(v: Values, name: str) -> str:
    """A template's text for this front."""
    bind = str(v["dashboard_bind"])
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **names(v),
        "dashboard": f"{f'[{bind}]' if ':' in bind else bind}:{v['dashboard_port']}",
        "receiver": RECEIVER,
        "port_in_url": "" if int(v["https_port"]) == 443 else f":{v['https_port']}",
    }
    return templates.rendered(ROLE, name, values)
