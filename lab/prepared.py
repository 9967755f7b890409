"""What a prepared node has over its base image: what the roles would install first, built once and kept.

Scenarios whose subject is not the installation start from it. The roles look at everything all the same, say what is
missing and configure it; on bare nodes, which some scenarios have, they also install all of it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from lab import images, wheels
from lab.shell import run, step

SUITE = "bookworm"  # of the lab's archive hosts
PACKAGES = "iperf3 nginx-light python3-venv"  # of a target, an archive host and a node
SETUP = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get -qq -y install {packages}
rm -f /usr/sbin/policy-rc.d
python3 -m venv {venv}
cat > /root/lock <<'LOCK'
{lock}
LOCK
{venv}/bin/pip install --quiet --disable-pip-version-check --no-index --find-links /opt/lab-wheels \
  --no-compile --require-hashes --only-binary=:all: --requirement /root/lock
{venv}/bin/python -m compileall -qq -x '/site-packages/.*/tests/' {venv}/lib
rm /root/lock
"""
# The mounts are in a namespace of their own: they go with the program, however it ends.
INSIDE = r"""
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p "$2/root/opt/lab-wheels"
mount --bind "$3" "$2/root/opt/lab-wheels"
exec chroot "$2/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive /bin/sh
"""


def setup() -> str:
    """The script that prepares; the archive's Python packages go where the role speedtest_archive has them."""
    return SETUP.format(packages=PACKAGES, venv=wheels.venv(), lock=wheels.LOCK.read_text(encoding="utf-8"))


def layer() -> Path:
    """Where the layer lies; the name changes with the base image, the recipe and the lock."""
    base = images.image_dir(SUITE).name
    recipe = hashlib.sha256(f"{base} {INSIDE} {setup()}".encode()).hexdigest()[:12]
    return images.HOME / "images" / f"{SUITE}-prepared-{recipe}"


def build() -> Path:
    """Return the layer, building it and what it needs first where it is not there yet (half a minute, 500 MB)."""
    final = layer()
    if final.is_dir():
        return final
    base = images.build(SUITE)
    wheels.fetch(wheels.LOCK)
    with step("build what prepared nodes have (once, half a minute)"):
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for part in ("upper", "work", "root"):
            (partial / part).mkdir(parents=True)
        places = (str(base), str(partial), str(wheels.directory()))
        run("unshare", "--mount", "/bin/sh", "-c", INSIDE, "sh", *places, stdin=setup())
        (partial / "upper").rename(final)
        shutil.rmtree(partial)
    return final
