"""What a node has: the role speedtest_logger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plugins.converge import bundle
from plugins.desired import images, templates
from plugins.desired.things import (
    UNIT_DIRECTORY,
    Goes,
    Thing,
    account,
    attributes,
    directory,
    download,
    file,
    folder,
    image,
    leftover,
    link,
    mark,
    package,
    project,
    release,
    repository,
    unit,
)
from plugins.lookup.release import release as artifact_of
from speedtest_logger import schedule
from speedtest_logger.engines.catalogue import ENGINES, Package
from speedtest_logger.inventory import environment, settings
from speedtest_logger.inventory.found import View
from speedtest_logger.inventory.settings import in_variables, variable_of
from speedtest_logger.metrics import TEXTFILE_DIR
from speedtest_logger.node import config
from speedtest_logger.node.archive_hosts import host_and_port
from speedtest_logger.node.config import SSH_PORT
from speedtest_logger.node.unit_times import UnitTimes, timeout_seconds
from speedtest_logger.probes.catalogue import PROBES

ROLE = "speedtest_logger"
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker" / "compose.yml"
STATE_FOLDERS = ("outbox", "results", "raw", "rejected", "probes", "state")
PROJECT = {"name": "speedtest", "container": "speedtest-logger"}
PUT_BACK = (
    "A release that is put back uses the image that the node has kept; run site.yml to get the inventory's release."
)
ECHO_REQUESTS = "/etc/sysctl.d/60-speedtest-probes.conf"
# where speedtest-converge looks: it has no settings, so that nothing but its bundle decides what it does
PULL_CONFIGURATION, PULL_STATE = "/etc/speedtest-converge", "/var/lib/speedtest-converge"
COMMAND = "/usr/local/bin/speedtest-logger"
PACKAGED = "/usr/lib/speedtest-telemetry"  # where the package for machines without Ansible has its program
Values = dict[str, Any]


def names(v: Values) -> Values:
    """Paths and names that the role's tasks and its templates use. `v`: the role's inputs, less their prefix.

    `wanted` is the release to run, `kept` whether it lies there already, `discarded` whether the one that runs goes.
    """
    install, config = v["install_dir"], v["config_dir"]
    wanted = v.get("wanted") or v["version"]
    return {
        "wanted": wanted,
        "kept": bool(v.get("kept")),
        "discarded": bool(v.get("discarded")),
        "releases_dir": f"{install}/releases",
        "release_dir": f"{install}/releases/{wanted}",
        "program_dir": f"{install}/engines",
        "current": f"{install}/current",
        "previous": f"{install}/previous",
        # leads to the release that ran before while the one that replaces it has not proved itself
        "proving": f"{install}/proving",
        "key_file": f"{config}/id_ed25519",
        "token_file": f"{config}/token",
        "ca_file": f"{config}/{settings.CA_FILE}",
        # what proves the node to the archive, and what of that the archive is told
        "proofs": [f"{config}/id_ed25519.pub", *([f"{config}/token.sha256"] if v["transport"] == "https" else [])],
        "receipt": f"{v['state_dir']}/state/last_receipt.json",
        "state_paths": [f"{v['state_dir']}/{name}" for name in STATE_FOLDERS],
        "metrics_paths": [TEXTFILE_DIR] if v["metrics_enabled"] else [],
        "project": PROJECT,
        "image": f"speedtest-logger:{wanted}",
        "image_file": f"{install}/image.tar.gz",
    }


def besides(v: Values) -> Values:
    """What is looked at besides the things."""
    n = names(v)
    return {
        "paths": [n["key_file"], n["receipt"], PACKAGED],
        "links": [n["current"], n["previous"], n["proving"]],
        "read": n["proofs"],
    }


def found(v: Values, observed: Values) -> Values:
    """Releases on the node: the one that runs, the one before that has yet to be proved right, and what follows.

    A node that runs another release than it should, or one that was not proved, must prove the new one. Where the one
    that ran before is wanted again, it has done so long ago. One that has delivered nothing yet has to show it can.
    """
    n, present = names(v), v["state"] == "present"
    target = observed["links"].get(n["current"]) or ""
    running = target.removeprefix(f"{n['releases_dir']}/") if target.startswith(f"{n['releases_dir']}/") else ""
    before = (observed["links"].get(n["proving"]) or "").rpartition("/")[2]
    unlike = running != n["wanted"] or bool(before)
    upgrading = bool(present and running and before != n["wanted"] and unlike)
    delivers = present and bool(v["archive_address"])
    proved = all(observed["texts"].get(file) for file in n["proofs"])
    silent = delivers and not (observed["paths"].get(n["receipt"]) and proved)
    return {
        "refusals": [*beside_package(observed), *refusals(v, observed["os"])] if present else [],
        "running": running,
        "before": before,
        "upgrading": upgrading,
        "due": upgrading or silent,
    }


def things(v: Values) -> list[Thing]:
    """Everything that a node may have, whichever runtime."""
    n = names(v)
    systemd, compose = v["runtime"] == "systemd", v["runtime"] == "compose"
    return [
        package("openssh-client"),
        *[package(brings.name, when=systemd) for brings in packages(v).values()],
        *[package(name, when=systemd) for name in probe_packages(v)],
        own_account(v),
        *directories(v, n),
        *downloads(v, n),
        *releases(v, n, compose=compose),
        *configuration(v, n),
        *links(v, n, systemd=systemd),
        *units(v, n, systemd=systemd),
        *pulling(v, n),
        *containers(v, n, compose=compose),
    ]


def own_account(v: Values) -> Thing:
    """The account that measures and delivers."""
    return account(v["user"], uid=v["uid"], home=v["state_dir"], login="/usr/sbin/nologin")


def packages(v: Values) -> dict[str, Package]:
    """The packages that bring the engines of the chain, less those of engines that are downloaded."""
    named = {name: ENGINES[name].package for name in v["engines"] if name not in v["downloads"]}
    return {name: brings for name, brings in named.items() if brings}


def probe_packages(v: Values) -> list[str]:
    """The packages that bring the programs of the probes."""
    return [brings for name in v["probes"] if (brings := PROBES[name].package)]


def directories(v: Values, n: Values) -> list[Thing]:
    """Its directories; state_dir is root's, so that the account cannot put anything else in its children's place."""
    user = v["user"]
    return [
        directory(v["install_dir"]),
        directory(n["releases_dir"]),
        directory(n["program_dir"]),
        directory(v["config_dir"]),
        directory(v["log_dir"], user, mode="0750", goes=Goes.PURGE),
        directory(v["state_dir"], "root", user, "0750", goes=Goes.PURGE),
        *[directory(path, user, mode="0750", goes=Goes.PURGE) for path in n["state_paths"]],
        directory(TEXTFILE_DIR, user, when=bool(n["metrics_paths"])),
    ]


def downloads(v: Values, n: Values) -> list[Thing]:
    """Engines that no package provides, in the order of the input."""
    return [
        download(f"{n['program_dir']}/{one['sha256'][:12]}", one["url"], one["sha256"], one.get("program"))
        for one in v["downloads"].values()
    ]


def releases(v: Values, n: Values, *, compose: bool) -> list[Thing]:
    """The release to run, and which others may lie there: those that a link leads to, with their images."""
    links = [n["previous"], n["proving"], *([] if n["discarded"] else [n["current"]])]
    unproved = f"release {n['wanted']} has not proved yet that it measures; the next run of site.yml has it do so"
    images = {"images": "speedtest-logger"} if compose else {}  # an image is tagged with its release
    return [
        folder(n["releases_dir"], [n["release_dir"]], links, **images),
        *([release_of(v, n)] if v["state"] == "present" and not n["kept"] else []),
        mark(n["proving"], unproved, present=False),
    ]


def release_of(v: Values, n: Values) -> Thing:
    """The release's artifact."""
    made = artifact_of(n["wanted"], Path(v["artifact_dir"]))
    return release(n["release_dir"], made["path"], made["digest"])


def configuration(v: Values, n: Values) -> list[Thing]:
    """Settings, the archive's host key, and the node's own key, which is made there: for root and who delivers."""
    return [
        file(f"{v['config_dir']}/logger.env", logger_env(v), group=v["user"], mode="0640"),
        file(f"{v['config_dir']}/known_hosts", known_hosts(v)),
        attributes(n["key_file"], v["user"], "0640"),
        attributes(f"{n['key_file']}.pub"),
        *token(v, n),
    ]


def token(v: Values, n: Values) -> list[Thing]:
    """What a node that delivers over https proves itself by, made there too, and what it trusts the archive by."""
    https = v["transport"] == "https"
    digest = f"{n['token_file']}.sha256"
    return [
        file(n["ca_file"], v["archive_ca"].strip() + "\n", when=https and bool(v["archive_ca"])),
        *([attributes(n["token_file"], v["user"], "0640"), attributes(digest)] if https else []),
        *([] if https else [leftover(n["token_file"]), leftover(digest)]),
    ]


def links(v: Values, n: Values, *, systemd: bool) -> list[Thing]:
    """Its links; a downloaded engine is run under program_dir/ENGINE."""
    return [
        link(n["current"], n["release_dir"]),
        link("/var/log/speedtest-diag.log", f"{v['log_dir']}/speedtest-diag.log"),
        link(COMMAND, f"{n['current']}/bin/speedtest-logger", when=systemd),
        *[
            link(f"{n['program_dir']}/{engine}", thing.item.get("program", thing.item["file"]))
            for engine, thing in zip(v["downloads"], downloads(v, n), strict=True)
        ],
    ]


def units(v: Values, n: Values, *, systemd: bool) -> list[Thing]:
    """Its units."""
    awake, probes = bool(v["stayawake_enabled"]), systemd and bool(v["probes"])
    return [
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=systemd,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in (
                "speedtest-logger.service",
                "speedtest-logger.timer",
                "speedtest-push.service",
                "speedtest-push.timer",
            )
        ],
        unit("speedtest-logger.timer", when=systemd),
        unit("speedtest-push.timer", when=systemd),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}"),
                when=probes,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in ("speedtest-probe.service", "speedtest-probe.timer")
        ],
        unit("speedtest-probe.timer", when=probes),
        file(
            f"{UNIT_DIRECTORY}speedtest-stayawake.service",
            text(v, n, "etc/systemd/system/speedtest-stayawake.service"),
            when=awake,
            restarts=["speedtest-stayawake.service"],
        ),
        unit("speedtest-stayawake.service", when=awake),
    ]


def pulling(v: Values, n: Values) -> list[Thing]:
    """What a node has that brings itself to its desired state: whom it believes, and what it has taken."""
    pull = v["converge"] == "pull"
    config = {"node": v["node_name"], "url": v["pull_url"]}
    return [
        directory(PULL_CONFIGURATION, when=pull),
        directory(PULL_STATE, when=pull),
        file(f"{PULL_CONFIGURATION}/pull.json", json.dumps(config, indent=2) + "\n", when=pull),
        file(f"{PULL_CONFIGURATION}/allowed_signers", bundle.allowed_signers(v["pull_signers"]), when=pull),
        link("/usr/local/bin/speedtest-converge", f"{n['current']}/bin/speedtest-converge", when=pull),
        *[
            file(
                f"{UNIT_DIRECTORY}{name}",
                text(v, n, f"etc/systemd/system/{name}") if pull else "",
                when=pull,
                restarts=[name] if name.endswith(".timer") else [],
            )
            for name in ("speedtest-converge.service", "speedtest-converge.timer")
        ],
        unit("speedtest-converge.timer", when=pull),
    ]


def needs_icmp(v: Values) -> bool:
    """Whether a probe sends echo requests."""
    return any(PROBES[name].needs_icmp for name in v["probes"])


def echo_requests(v: Values, n: Values) -> list[Thing]:
    """What lets a container send them, which can have no capability as its account; a unit has one."""
    wanted = needs_icmp(v) and v["runtime"] == "compose"
    content = text(v, n, ECHO_REQUESTS.removeprefix("/"))
    return [
        file(ECHO_REQUESTS, content, when=wanted, restarts=["systemd-sysctl.service"]),
        unit("systemd-sysctl.service", when=wanted, goes=Goes.NEVER),
    ]


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


def logger_env(v: Values) -> str:
    """logger.env: the node's settings."""
    return environment.logger_env(view(v))


def beside_package(observed: Values) -> Iterator[str]:
    """Two that look after one node would undo each other's work."""
    if observed["paths"].get(PACKAGED):
        yield (
            f"{PACKAGED}: seen the package speedtest-logger, which looks after this node without Ansible; 'apt remove "
            "speedtest-logger' there first: its results stay"
        )


def view(v: Values) -> View:
    """The inputs as the inventory's own checks see them."""
    return View(str(v["node_name"]), {f"{ROLE}_{name}": value for name, value in v.items()}, (ROLE,))


def refusals(v: Values, system: Values) -> Iterator[str]:
    """What is wrong with the inputs, in the words of the node's own check, and engines that this system has not."""
    own, wrong = config.read(environment.environment(view(v)))
    yield from map(in_variables, wrong)
    for each in config.contradictions(own):
        yield f"{variable_of(each.variable)}: seen {each.value}; {in_variables(each.words)}"
    if v["archive_address"] and not v["archive_host_key"]:
        yield (
            "speedtest_logger_archive_host_key: seen nothing; set the archive host's public key, nothing is trusted "
            "unseen"
        )
    if v["transport"] == "ssh" and len(v["archive_others"]) != len(v["archive_other_keys"]):
        yield (
            f"speedtest_logger_archive_other_keys: seen {len(v['archive_other_keys'])}; give the host key of each of "
            "speedtest_logger_archive_others, in their order"
        )
    everywhere = " or ".join(
        name for name, program in ENGINES.items() if program.package and program.package.is_in(system["id"], "0")
    )
    for name, brings in packages(v).items() if v["runtime"] == "systemd" else ():  # an image brings its own
        if not brings.is_in(system["id"], system["version_id"]):
            yield (
                f"speedtest_logger_engines: seen {name}, which {system['id']} {system['version_id']} does not package; "
                f"set speedtest_logger_downloads.{name} to its url and sha256, or use {everywhere}"
            )


def known_hosts(v: Values) -> str:
    """The archive hosts' keys for their addresses; nothing where there is none."""
    if v["transport"] != "ssh":
        return ""
    hosts = [(v["archive_address"], int(v["archive_port"])), *map(host_and_port, v["archive_others"])]
    keys = [key for key in (v["archive_host_key"], *v["archive_other_keys"]) if key]
    return "".join(
        f"{address if port == SSH_PORT else f'[{address}]:{port}'} {' '.join(key.split()[:2])}\n"
        for (address, port), key in zip(hosts, keys, strict=False)
    )


def text(v: Values, n: Values, name: str) -> str:
    """A template's text for this node."""
    slots = v["slots"]
    push, probe = (schedule.parse_duration(v[f"{name}_interval"]) for name in ("push", "probe"))
    times = UnitTimes.of(slots["interval_seconds"], slots["offset_seconds"], push, probe)
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **n,
        "push_calendar": times.push.on_calendar(),
        "probe_seconds": probe,
        "probes_need_icmp": needs_icmp(v),
        "probe_calendar": times.probe.on_calendar(),
        "timeout_seconds": timeout_seconds(int(v["measure_timeout_seconds"]), int(v["busy_window_seconds"])),
    }
    return templates.rendered(ROLE, name, values)
