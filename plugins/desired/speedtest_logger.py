"""What a node has: the role speedtest_logger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plugins.converge import bundle
from plugins.desired import logger_texts
from plugins.desired.logger_container import COMMAND, PROJECT, containers
from plugins.desired.logger_texts import known_hosts, logger_env, text, view
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
    leftover,
    link,
    mark,
    package,
    release,
    unit,
)
from plugins.lookup.release import release as artifact_of
from speedtest_logger.engines.catalogue import ENGINES, Package
from speedtest_logger.inventory import environment, settings
from speedtest_logger.inventory.settings import in_variables, variable_of
from speedtest_logger.metrics import TEXTFILE_DIR
from speedtest_logger.node import config
from speedtest_logger.probes.catalogue import PROBES

ROLE = logger_texts.ROLE
STATE_FOLDERS = ("outbox", "results", "raw", "rejected", "probes", "state")
# where speedtest-converge looks: it has no settings, so that nothing but its bundle decides what it does
PULL_CONFIGURATION, PULL_STATE = "/etc/speedtest-converge", "/var/lib/speedtest-converge"
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


def beside_package(observed: Values) -> Iterator[str]:
    """Two that look after one node would undo each other's work."""
    if observed["paths"].get(PACKAGED):
        yield (
            f"{PACKAGED}: seen the package speedtest-logger, which looks after this node without Ansible; 'apt remove "
            "speedtest-logger' there first: its results stay"
        )


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
