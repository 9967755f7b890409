"""Base images: a root filesystem for each suite, built once with debootstrap and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.shell import LabError, run, step
from lab.suites import SUITES

HOME = Path(os.environ.get("SPEEDTEST_LAB_DIR", "/var/lib/speedtest-lab"))
EXPECTED = ("bookworm", "trixie")  # what the gate needs; others are built when they are asked for
INCLUDE = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,iproute2,iputils-ping,procps,udev,"
    "ca-certificates,curl,netbase,util-linux"
)
# Nodes have no way out: these packages and all they need lie in apt's own cache, so `apt-get install` is real.
CACHED = {
    "bookworm": "iperf3 speedtest-cli irtt mtr-tiny nginx-light python3-venv rsync restic docker-registry caddy pebble"
    " prometheus prometheus-alertmanager prometheus-node-exporter postgresql",
    "trixie": "iperf3 speedtest-cli irtt mtr-tiny nginx-light python3-venv rsync librespeed-cli make ntfy"
    " python3-aiosmtpd caddy docker.io docker-cli docker-buildx docker-compose podman crun catatonit prometheus"
    " prometheus-alertmanager prometheus-node-exporter postgresql postgresql-17-timescaledb",
    "noble": "iperf3 speedtest-cli irtt mtr-tiny nginx-light python3-venv rsync restic",
    "jammy": "iperf3 speedtest-cli irtt mtr-tiny nginx-light",
}
BOOTSTRAP_SECONDS = 1800
# Apt's lists name what is installed or in its cache, and Docker's packages, whose versions tests ask for: every apt-get
# and every apt module reads them, and whole ones would be half of a container's base image.
TRIM = r"""
dpkg-query --show --showformat '${Package}\n' > /names
ls /var/cache/apt/archives | sed -n 's/_.*[.]deb$//p' >> /names
printf '%s\n' docker.io docker-compose >> /names
for list in /var/lib/apt/lists/*_Packages; do
  awk 'NR == FNR { wanted[$1]; next } $2 in wanted' /names RS= ORS='\n\n' "$list" > /trimmed
  cat /trimmed > "$list"
done
rm -f /names /trimmed /var/lib/apt/lists/*_Translation-* /var/cache/apt/*.bin
apt-cache gencaches
"""
# The base image that a container image is built from, and what is installed in it: here no registry can be reached.
CONTAINER_SUITE = "trixie"
CONTAINER_CACHED = (
    "python3 python3-venv openssh-client iperf3 speedtest-cli librespeed-cli irtt mtr-tiny"
    " iproute2 ca-certificates tzdata"
)
CONTAINER_SETUP = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get clean
apt-get -qq update
apt-get -qq -y --download-only --no-install-recommends -o APT::Keep-Downloaded-Packages=true install {cached}
printf 'APT::Keep-Downloaded-Packages "true";\nAcquire::Retries "0";\n' > /etc/apt/apt.conf.d/90lab
printf '[global]\nno-index = true\nfind-links = {wheels}\n' > /etc/pip.conf
"""
# Python packages for images, which are built on the node's own network: the node itself has them there.
WHEELS_PORT = 3141
WHEELS = f"http://127.0.0.1:{WHEELS_PORT}/"
SETUP = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get -qq update
apt-get -qq -y --download-only --no-install-recommends -o APT::Keep-Downloaded-Packages=true install {cached}
rm -f /usr/sbin/policy-rc.d
printf 'APT::Keep-Downloaded-Packages "true";\nAPT::Install-Recommends "false";\n' > /etc/apt/apt.conf.d/90lab
printf 'Acquire::Retries "0";\n' >> /etc/apt/apt.conf.d/90lab
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer
systemctl mask --quiet systemd-networkd.service systemd-networkd-wait-online.service console-getty.service
systemctl enable --quiet ssh.service
useradd --create-home --shell /bin/bash ops
printf 'ops ALL=(ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops
printf 'UseDNS no\nPasswordAuthentication no\nMaxStartups 200:30:400\n' > /etc/ssh/sshd_config.d/lab.conf
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: > /etc/machine-id
"""


def image_dir(suite: str) -> Path:
    """Where the image of a suite lies; the name changes with the recipe, so that an old image is never used."""
    if suite not in CACHED:
        raise LabError(f"unknown suite '{suite}': one of {', '.join(CACHED)}")
    recipe = hashlib.sha256("\0".join((suite, INCLUDE, CACHED[suite], SETUP, TRIM)).encode()).hexdigest()[:12]
    return HOME / "images" / f"{suite}-{recipe}"


def build(suite: str) -> Path:
    """Return the image of a suite, building it first where it is not there yet (about a minute, 450 to 600 MB)."""
    final = image_dir(suite)
    if final.is_dir():
        return final
    with step(f"build the {suite} base image (once, about a minute)"):
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        debootstrap(suite, partial, f"--include={INCLUDE}")
        set_up(suite, partial, SETUP.format(cached=CACHED[suite]) + TRIM)
        partial.rename(final)
    return final


def build_container_base() -> Path:
    """A tar file of a minimal Debian for `docker import`, for debian:trixie-slim; packages in apt's cache."""
    return container_base("", lambda root: debootstrap(CONTAINER_SUITE, root))


def container_base(architecture: str, install: Callable[[Path], None]) -> Path:
    """The same, of a Debian that a function installs; `architecture` is a word of the file's name."""
    setup = CONTAINER_SETUP.format(cached=CONTAINER_CACHED, wheels=WHEELS) + TRIM
    recipe = hashlib.sha256(f"{CONTAINER_SUITE} {setup}".encode()).hexdigest()[:12]
    name = "-".join(filter(None, ("container", CONTAINER_SUITE, architecture, recipe)))
    final = HOME / "images" / f"{name}.tar"
    if final.exists():
        return final
    with step(" ".join(filter(None, ("build the base image for", architecture, "containers (once, about a minute)")))):
        root, partial = final.with_suffix(".partial"), final.with_suffix(".partial.tar")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        install(root)
        set_up(CONTAINER_SUITE, root, setup)
        run("tar", "--directory", str(root), "--create", "--file", str(partial), "--numeric-owner", ".")
        partial.rename(final)
        shutil.rmtree(root)
    return final


def debootstrap(suite: str, root: Path, *options: str) -> None:
    """A minimal system of a suite."""
    SUITES[suite].bootstrap(root, *options, seconds=BOOTSTRAP_SECONDS)


def set_up(suite: str, root: Path, setup: str) -> None:
    """A script in a chroot, which has the suite's package lists and this machine's network."""
    for listed in (root / "etc/apt/sources.list.d").glob("*"):
        listed.unlink()
    (root / "etc/apt/sources.list").write_text(SUITES[suite].sources(), encoding="utf-8")
    for file in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / file, root / "etc" / file)
    run("chroot", str(root), "/bin/sh", stdin=setup)
    (root / "etc/resolv.conf").write_text("", encoding="utf-8")


def present() -> dict[str, int]:
    """Images on disk and their size in bytes."""
    images = HOME / "images"
    found = sorted(each for each in images.iterdir() if ".partial" not in each.name) if images.is_dir() else []
    return {image.name: int(run("du", "-sb", str(image)).split()[0]) for image in found}
