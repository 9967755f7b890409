"""Podman on the scenario's machine, which plays what the chart makes as a kubelet would."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from fleet import ROOT, login, on

from speedtest_logger import __version__

CLUSTER = "cluster"
LOGGER, DASHBOARD = (f"registry.example.org/speedtest-{name}:{__version__}" for name in ("logger", "dashboard"))
HELM = ROOT / ".cache/kubernetes/helm"
STORE = "/var/lib/containers/storage"
# This kernel gives nobody here a cgroup controller, no whiteouts for overlayfs, and no limit above its own.
PODMAN = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
runtime = "crun"
"""
STORAGE = f"""[storage]
driver = "vfs"
graphroot = "{STORE}"
runroot = "/run/containers/storage"
"""


def put(node: str, file: str, content: str) -> None:
    """A file on a node."""
    argv = [*login(node), f"sudo mkdir -p {Path(file).parent} && sudo tee {file} >/dev/null"]
    subprocess.run(argv, input=content, text=True, check=True)


def set_up() -> None:
    """Podman, the base image, and this checkout."""
    on(CLUSTER, "apt-get -qq -y --no-install-recommends install podman crun catatonit iperf3 >/dev/null")
    put(CLUSTER, "/etc/containers/containers.conf", PODMAN)
    put(CLUSTER, "/etc/containers/storage.conf", STORAGE)
    on(CLUSTER, f"mkdir -p {STORE} && mountpoint --quiet {STORE} || mount -t tmpfs -o size=8g tmpfs {STORE}")
    on(CLUSTER, "podman import --quiet /opt/lab-images/container-base.tar docker.io/library/debian:trixie-slim")
    argv = ["tar", "--create", "src", "docker", "requirements"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as packed:
        unpack = "sudo mkdir -p /root/build && sudo tar --extract --directory /root/build"
        subprocess.run([*login(CLUSTER), unpack], stdin=packed.stdout, check=True)


def build(image: str) -> str:
    """An image of this checkout, built where the pods will run."""
    dockerfile = f"docker/Dockerfile.{image.partition('speedtest-')[2].partition(':')[0]}"
    on(
        CLUSTER,
        "cd /root/build && podman build --quiet --layers=false --isolation chroot --ulimit nofile=1024:1024 "
        f"--network host --format docker --ignorefile {dockerfile}.dockerignore "
        f"--file {dockerfile} --tag {image} .",
    )
    return image


def charted(values: Path, *options: str) -> list[dict[str, Any]]:
    """What the chart makes of some values."""
    argv = [HELM, "template", "speedtest", ROOT / "kubernetes/chart", "--values", values, *options]
    made = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=True).stdout
    return [each for each in yaml.safe_load_all(made) if each]


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Those of some kinds."""
    return [each for each in objects if each["kind"] in kinds]
