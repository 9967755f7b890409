"""What a node has whose logger runs in a container."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from plugins.desired import images, templates
from plugins.desired.logger_texts import ROLE, logger_env, needs_icmp, text
from plugins.desired.things import Goes, Thing, file, image, leftover, project, repository, unit
from speedtest_logger.metrics import TEXTFILE_DIR

COMMAND = "/usr/local/bin/speedtest-logger"
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker" / "compose.yml"
PROJECT = {"name": "speedtest", "container": "speedtest-logger"}
PUT_BACK = (
    "A release that is put back uses the image that the node has kept; run site.yml to get the inventory's release."
)
ECHO_REQUESTS = "/etc/sysctl.d/60-speedtest-probes.conf"
Values = dict[str, Any]


def containers(v: Values, n: Values, *, compose: bool) -> list[Thing]:
    """What runs it in a container; the container is made anew when its digest is another one."""
    folder_of, digest = v["config_dir"], compose_digest(v, n)
    variables = {**compose_environment(v, n), "LOGGER_CONFIG_DIGEST": digest}
    pulled = v["image_source"] == "pull"
    return [
        file(f"{folder_of}/compose.yml", compose_file(n), when=compose),
        file(f"{folder_of}/.env", templates.env_file(ROLE, variables), when=compose),
        file(COMMAND, text(v, n, "usr/local/bin/speedtest-logger"), when=compose, mode="0755"),
        *([image(image_of(v, n))] if compose and v["state"] == "present" else []),
        repository("speedtest-logger", when=compose),
        *([repository(v["image"].partition("@")[0], when=compose)] if pulled else []),
        project(
            {
                **PROJECT,
                "directory": folder_of,
                "image": n["image"],
                "label": "speedtest.config",
                "digest": digest,
            },
            when=compose,
        ),
        leftover(n["image_file"]),
        *echo_requests(v, n),
    ]


def image_of(v: Values, n: Values) -> Values:
    """The image, and how the node gets it; one that is kept is there."""
    if n["kept"]:
        return {**images.named(n["image"], n["wanted"]), "hint": PUT_BACK}
    return images.got(ROLE, v, n, file="docker/Dockerfile.logger", arguments={"UID": str(v["uid"])})


def compose_environment(v: Values, n: Values) -> Values:
    """The variables of docker/compose.yml; inside the container paths are as on the node."""
    places = {"CONFIG": v["config_dir"], "STATE": v["state_dir"], "LOG": v["log_dir"], "ENGINES": n["program_dir"]}
    if n["metrics_paths"]:
        places["METRICS"] = TEXTFILE_DIR
    return {
        "LOGGER_IMAGE": n["image"],
        "LOGGER_UID": v["uid"],
        "LOGGER_NETWORK": v["container_network"],
        "LOGGER_MEMORY": v["container_memory"],
        "LOGGER_PIDS": v["container_pids"],
        **{f"LOGGER_{name}_{end}": place for name, place in places.items() for end in ("DIR", "PATH")},
    }


def compose_file(n: Values) -> str:
    """docker/compose.yml; without the metrics' directory where the node has none, for Docker would make it."""
    lines = COMPOSE_FILE.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if n["metrics_paths"] or "metrics" not in line.lower())


def compose_digest(v: Values, n: Values) -> str:
    """SHA-256 of all that the container is made from."""
    made_from = compose_file(n) + json.dumps(compose_environment(v, n)) + logger_env(v)
    return hashlib.sha256(made_from.encode()).hexdigest()


def echo_requests(v: Values, n: Values) -> list[Thing]:
    """What lets a container send them, which can have no capability as its account; a unit has one."""
    wanted = needs_icmp(v) and v["runtime"] == "compose"
    content = text(v, n, ECHO_REQUESTS.removeprefix("/"))
    return [
        file(ECHO_REQUESTS, content, when=wanted, restarts=["systemd-sysctl.service"]),
        unit("systemd-sysctl.service", when=wanted, goes=Goes.NEVER),
    ]
