"""The lab's command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import host, images, network, nodes, prepared, wheels
from lab.forward import LOOPBACK, forward, forward_in_background, free_port
from lab.lab import FORM, Lab, allocate, load, load_all, parse_node, registry_lock
from lab.shell import LabError, MirrorError, run, say, step

EPILOG = """examples:
  python3 -m lab up home target:trixie archive:bookworm attic:bookworm:200/50
  python3 -m lab ssh home attic systemctl list-timers
  python3 -m lab forward home archive 8000   # its dashboard, at http://127.0.0.1:8000/
  python3 -m lab cut home attic       # pull its cable; `restore` plugs it in again
  python3 -m lab down home
"""


def up(args: argparse.Namespace) -> int:
    """Create and boot a lab; whatever an earlier one of the same name left is removed first."""
    wanted = [parse_node(text, index) for index, text in enumerate(args.nodes, start=1)]
    if len({node.name for node in wanted}) != len(wanted):
        raise LabError(f"two nodes have the same name: {' '.join(args.nodes)}")
    host.prepare()
    with registry_lock():
        for suite in sorted({node.suite for node in wanted}):
            images.build(suite)
        for suite, docker in sorted({(node.suite, node.docker) for node in wanted if node.prepared}):
            prepared.build(suite, docker=docker)
        if any(node.docker for node in wanted):
            images.build_container_base()
    if (images.HOME / "labs" / args.lab / "lab.json").exists():
        tear_down(load(args.lab))
    lab = allocate(args.lab, wanted)
    try:
        with step(f"boot {len(lab.nodes)} nodes of lab '{lab.name}'"):
            boot(lab, cache_modules=args.cache_modules)
    except BaseException:
        say(f"lab: removing lab '{lab.name}' again")
        tear_down(lab)
        raise
    print(f"lab '{lab.name}' is up: " + ", ".join(f"{node.name} {lab.address(node)}" for node in lab.nodes))
    return 0


def boot(lab: Lab, *, cache_modules: bool) -> None:
    """Create all nodes, start them together, wait for each."""
    network.create_bridge(lab.number)
    for node in lab.nodes:
        nodes.create(lab, node)
        if cache_modules:
            nodes.cache_modules(lab, node)
    keys = (
        f"{lab.address(node)} {(nodes.root(lab, node) / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"
        for node in lab.nodes
    )
    lab.known_hosts.write_text("".join(keys), encoding="utf-8")
    for node in lab.nodes:
        nodes.start(lab, node)
    for node in lab.nodes:
        nodes.wait_ssh(lab, node)


def tear_down(lab: Lab) -> None:
    """Remove a lab and all that it consists of."""
    for node in lab.nodes:
        nodes.destroy(lab, node)
    network.delete_bridge(lab.number)
    network.delete_route()
    lab.forget()


def down(args: argparse.Namespace) -> int:
    """Remove one lab, or all; one that is not there is already down."""
    names = [lab.name for lab in load_all()] if args.all else [args.lab]
    if names == [None]:
        raise LabError("which lab? Name one, or say --all")
    for name in names:
        if (images.HOME / "labs" / name / "lab.json").exists():
            with step(f"remove lab '{name}'"):
                tear_down(load(name))
        else:
            say(f"lab: there is no lab '{name}'")
    return 0


def describe(lab: Lab) -> list[dict[str, Any]]:
    """A lab's nodes as plain data: name, suite, address, rates in Mbit/s, whether it runs and its cable is in."""
    return [
        {
            "lab": lab.name,
            "node": node.name,
            "suite": node.suite,
            "address": lab.address(node),
            "down_mbit": node.down_mbit,
            "up_mbit": node.up_mbit,
            "key_file": str(lab.key_file),
            "known_hosts": str(lab.known_hosts),
            "root": str(nodes.root(lab, node)),
            "running": nodes.running_pid(lab, node) is not None,
            "cable": network.link_is_up(lab.number, node.index),
        }
        for node in lab.nodes
    ]


def list_labs(args: argparse.Namespace) -> int:
    """Show labs, their nodes and the images on disk."""
    rows = [row for lab in load_all() if args.lab in (None, lab.name) for row in describe(lab)]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    form = "{lab:<14} {node:<12} {suite:<9} {address:<14} {down_mbit:>6g} {up_mbit:>6g}  {state}"
    print(f"{'LAB':<14} {'NODE':<12} {'SUITE':<9} {'ADDRESS':<14} {'DOWN':>6} {'UP':>6}  STATE")
    for row in rows:
        state = ("running" if row["running"] else "stopped") + ("" if row["cable"] else ", cable out")
        print(form.format(**row, state=state))
    for name, size in images.present().items():
        print(f"image {name}: {size / 1e6:.0f} MB")
    return 0


def inventory(args: argparse.Namespace) -> int:
    """Print an Ansible inventory that says how to reach a lab's nodes (JSON is YAML)."""
    lab = load(args.lab)
    options = f"-o UserKnownHostsFile={lab.known_hosts} -o StrictHostKeyChecking=yes"
    hosts = {
        node.name: {
            "ansible_host": lab.address(node),
            "ansible_user": "ops",
            "ansible_ssh_common_args": options,
            "ansible_ssh_private_key_file": str(lab.key_file),
        }
        for node in lab.nodes
    }
    # nodes have no way out: their package lists are those of the base image
    everywhere = {
        "managed_host_apt_cache_valid_seconds": 1_000_000_000,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    print(json.dumps({"all": {"hosts": hosts, "vars": everywhere}}, indent=2))
    return 0


def on_node(args: argparse.Namespace) -> int:
    """The verbs that act on one node."""
    lab = load(args.lab)
    node = lab.node(args.node)
    if args.verb == "shape":
        node.down_mbit, node.up_mbit = args.down_mbit, args.up_mbit
        lab.save()
        network.shape(lab.number, node.index, node.name, node.down_mbit, node.up_mbit)
    elif args.verb in ("cut", "restore"):
        getattr(network, args.verb)(lab.number, node.index)
    elif args.verb in ("stop", "kill", "reboot"):
        nodes.stop(lab, node, kill=args.verb == "kill")
    if args.verb in ("start", "reboot"):
        if nodes.running_pid(lab, node) is None:
            nodes.start(lab, node)
        nodes.wait_ssh(lab, node)
    return 0


def ssh(args: argparse.Namespace) -> int:
    """Log into a node, or run a command there."""
    lab = load(args.lab)
    command = lab.ssh(lab.node(args.node))
    return subprocess.run([*command, *args.command], check=False).returncode


def forward_port(args: argparse.Namespace) -> int:
    """Reach a port that a node serves on its loopback."""
    lab = load(args.lab)
    node = lab.node(args.node)
    if not args.background:
        here = args.to or free_port(args.port)
        say(f"lab: port {args.port} of {node.name} is here: {LOOPBACK}:{here}, until Ctrl-C")
        return forward(lab, node, args.port, here)
    print(f"{LOOPBACK}:{forward_in_background(lab, node, args.port, args.to)}")
    return 0


def build_images() -> None:
    """Build every image that the gate needs and that is not there yet, side by side."""
    with ThreadPoolExecutor() as pool:
        building = [pool.submit(images.build_container_base)]
        building += [pool.submit(build_suite, suite) for suite in images.EXPECTED]
    for image in building:
        image.result()


def build_suite(suite: str) -> Path:
    """Build a suite's image and what its prepared nodes have; returns the image."""
    image = images.build(suite)
    for docker in (False, True) if prepared.LAYERS[suite].docker else (False,):
        prepared.build(suite, docker=docker)
    return image


def manage_images(args: argparse.Namespace) -> int:
    """Build, list or remove the images."""
    if args.action == "build":
        host.prepare()
        for suite in args.suites:
            with registry_lock(f"lock-{suite}"):
                images.build(suite)
        if not args.suites:
            with registry_lock():
                build_images()
    elif args.action == "remove":
        if load_all():
            raise LabError("labs use the images: `python3 -m lab down --all` first")
        run("rm", "-rf", str(images.HOME / "images"))
    for name, size in images.present().items():
        print(f"{images.HOME}/images/{name}: {size / 1e6:.0f} MB")
    return 0


def fetch_wheels(args: argparse.Namespace) -> int:
    """Download the packages that nodes install, once."""
    with registry_lock():
        for requirements in args.requirements:
            wheels.fetch(requirements, args.pythons or wheels.PYTHONS)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python3 -m lab",
        description="Throwaway nodes that boot real systemd.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("up", help="create and boot a lab")
    verb.add_argument("lab")
    verb.add_argument("nodes", nargs="+", metavar=FORM, help="rates in Mbit/s")
    verb.add_argument("--cache-modules", action="store_true", help="nodes compile Ansible's modules only once")
    verb.set_defaults(action_function=up)
    verb = verbs.add_parser("down", help="remove a lab")
    verb.add_argument("lab", nargs="?")
    verb.add_argument("--all", action="store_true", help="every lab on this machine")
    verb.set_defaults(action_function=down)
    verb = verbs.add_parser("list", help="show labs, nodes and images")
    verb.add_argument("lab", nargs="?")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(action_function=list_labs)
    verb = verbs.add_parser("images", help="the images that nodes start from")
    verb.add_argument("action", choices=["build", "list", "remove"])
    verb.add_argument("suites", nargs="*", metavar="SUITE", help="build these; all that the gate needs without")
    verb.set_defaults(action_function=manage_images)
    verb = verbs.add_parser("wheels", help="download the packages of hashed locks for nodes without a way out")
    verb.add_argument("requirements", type=Path, nargs="+")
    verb.add_argument("--python", action="append", dest="pythons", help="for this version; for Debian's without")
    verb.set_defaults(action_function=fetch_wheels)
    add_verbs_of_nodes(verbs)
    return top


def add_verbs_of_nodes(verbs: Any) -> None:
    """How to reach nodes, and what happens to them."""
    verb = verbs.add_parser("inventory", help="print how Ansible reaches a lab's nodes")
    verb.add_argument("lab")
    verb.set_defaults(action_function=inventory)
    verb = verbs.add_parser("ssh", help="log into a node or run a command there")
    verb.add_argument("lab")
    verb.add_argument("node")
    verb.add_argument("command", nargs=argparse.REMAINDER)
    verb.set_defaults(action_function=ssh)
    verb = verbs.add_parser("forward", help="reach a port that a node serves on its loopback")
    verb.add_argument("lab")
    verb.add_argument("node")
    verb.add_argument("port", type=int)
    verb.add_argument("--to", type=int, metavar="PORT", help="here; the same number, or the next that is free")
    verb.add_argument("--background", action="store_true", help="print where it is, and go on until the node goes")
    verb.set_defaults(action_function=forward_port)
    for name, text in (
        ("cut", "pull a node's cable"),
        ("restore", "plug it in again"),
        ("stop", "shut down"),
        ("kill", "pull the plug"),
        ("start", "boot a stopped node"),
        ("reboot", "stop and boot"),
        ("shape", "limit a node's line (Mbit/s; 0 = no limit)"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("lab")
        verb.add_argument("node")
        if name == "shape":
            verb.add_argument("down_mbit", type=float)
            verb.add_argument("up_mbit", type=float)
        verb.set_defaults(action_function=on_node)


def main() -> int:
    """Parse, act, and turn errors into one line and an exit code."""
    args = parser().parse_args()
    if os.geteuid() != 0:
        print("lab: not root: run as root", file=sys.stderr)
        return 2
    os.umask(0o022)  # the nodes' accounts read what is made here, whatever the caller's own files are to be
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a lab half up is removed again
    try:
        return int(args.action_function(args))
    except MirrorError as error:
        print(f"lab: NOT TESTED: {error}", file=sys.stderr)
        return MirrorError.CODE
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
