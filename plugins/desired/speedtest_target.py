"""What a measurement target has: the role speedtest_target."""

from __future__ import annotations

from typing import Any

from plugins.desired import templates
from plugins.desired.things import (
    UNIT_DIRECTORY,
    Goes,
    Thing,
    account,
    directory,
    file,
    instances,
    leftover,
    package,
    unit,
)

ROLE = "speedtest_target"
LIBRESPEED = "speedtest-librespeed.service"
IRTT = "speedtest-irtt.service"
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths that the role's tasks and templates use. `v`: the role's inputs, less their prefix."""
    return {"garbage_file": f"{v['dir']}/garbage"}


def besides(v: Values) -> Values:
    """What is looked at besides the things."""
    return {"paths": [names(v)["garbage_file"]]}


def found(v: Values, observed: Values) -> Values:
    """Whether the bytes that are downloaded from here have to be made, or made anew."""
    wanted = v["state"] == "present" and int(v["librespeed_port"]) > 0
    seen = observed["paths"].get(names(v)["garbage_file"]) or {}
    differs = wanted and seen.get("size") != int(v["garbage_bytes"])
    return {"garbage_differs": differs, "due": differs}


def things(v: Values) -> list[Thing]:
    """Everything that a target may have; a port or a protocol that the inventory names no longer goes."""
    librespeed, ports = int(v["librespeed_port"]) > 0, v["iperf3_ports"]
    iperf3 = [f"speedtest-iperf3@{port}.service" for port in ports]
    stock, irtt = bool(v["stock_nginx_enabled"]), int(v["irtt_port"]) > 0
    return [
        package("nginx-light", when=librespeed),
        package("iperf3", when=bool(ports)),
        package("irtt", when=irtt),
        account(v["user"], home=v["dir"], login="/usr/sbin/nologin", goes=Goes.OFF),
        directory(v["dir"]),
        directory(v["config_dir"]),
        file(
            f"{v['config_dir']}/nginx.conf",
            text(v, "etc/speedtest-target/nginx.conf"),
            when=librespeed,
            restarts=[LIBRESPEED],
        ),
        file(
            f"{UNIT_DIRECTORY}{LIBRESPEED}",
            text(v, f"etc/systemd/system/{LIBRESPEED}"),
            when=librespeed,
            restarts=[LIBRESPEED],
        ),
        leftover(names(v)["garbage_file"], when=librespeed),
        unit(LIBRESPEED, when=librespeed),
        # its package starts it as soon as it is installed
        unit("nginx.service", when=librespeed, goes=Goes.NEVER, package="nginx-light", enabled=stock, active=stock),
        file(
            f"{UNIT_DIRECTORY}speedtest-iperf3@.service",
            text(v, "etc/systemd/system/speedtest-iperf3@.service"),
            when=bool(ports),
            restarts=iperf3,
        ),
        *[unit(name) for name in iperf3],
        instances("speedtest-iperf3@*.service"),
        file(f"{UNIT_DIRECTORY}{IRTT}", text(v, f"etc/systemd/system/{IRTT}"), when=irtt, restarts=[IRTT]),
        unit(IRTT, when=irtt),
        # its package starts it as soon as it is installed, with nothing to keep it in
        unit("irtt.service", when=irtt, goes=Goes.NEVER, package="irtt", enabled=False, active=False),
    ]


def text(v: Values, name: str) -> str:
    """A template's text for this target."""
    return templates.rendered(ROLE, name, {**{f"{ROLE}_{key}": value for key, value in v.items()}, **names(v)})
