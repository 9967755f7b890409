"""What a prepared node has over its base image: what the roles would install first, built once and kept.

Scenarios whose subject is not the installation start from it. The roles look at everything all the same, say what is
missing and configure it; on bare nodes, which some scenarios have, they also install all of it.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import images, wheels
from lab.shell import run, step


@dataclass(frozen=True)
class Layer:
    """What is prepared: packages, and the parts whose Python packages are there (keys of `wheels.LOCKS`)."""

    packages: str
    venvs: tuple[str, ...] = ()
    docker: str = ""  # packages besides, where a Docker Engine can run


# On a prepared node nothing serves by itself but Docker: nginx, which would have port 80, and irtt are disabled.
LAYERS = {
    "bookworm": Layer("iperf3 irtt nginx-light python3-venv", ("archive", "dashboard")),
    "trixie": Layer("iperf3 librespeed-cli nginx-light", docker="docker.io docker-cli docker-buildx docker-compose"),
}
SETUP = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get -qq -y install {packages}
rm -f /usr/sbin/policy-rc.d
cd /etc/systemd/system/multi-user.target.wants && rm -f nginx.service irtt.service
"""
# What cannot be compiled (some files are for other versions of Python) is no failure, as in the role.
VENV = r"""
python3 -m venv --without-pip {venv}
cat > {venv}/requirements.txt <<'LOCK'
{lock}
LOCK
{venv}/bin/python "$(echo /usr/share/python-wheels/pip-*.whl)/pip" install --quiet --disable-pip-version-check \
  --no-index --find-links /opt/lab-wheels --no-compile --require-hashes --only-binary=:all: -r {venv}/requirements.txt
{venv}/bin/python -m compileall -qq -x '/site-packages/.*/tests/' {venv}/lib || true
touch {venv}/complete
"""
# The mounts are in a namespace of their own: they go with the program, however it ends.
INSIDE = r"""
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p "$2/root/opt/lab-wheels"
mount --bind "$3" "$2/root/opt/lab-wheels"
exec chroot "$2/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive /bin/sh
"""


def setup(suite: str, *, docker: bool) -> str:
    """The script that prepares; Python packages go where the roles have them."""
    wanted = LAYERS[suite]
    script = SETUP.format(packages=" ".join(filter(None, (wanted.packages, wanted.docker if docker else ""))))
    for part in wanted.venvs:
        script += VENV.format(venv=wheels.venv(part), lock=wheels.LOCKS[part].read_text(encoding="utf-8").rstrip())
    return script


def layer(suite: str, *, docker: bool) -> Path:
    """Where the layer lies; the name changes with the base image, the recipe and the locks."""
    base = images.image_dir(suite).name
    recipe = hashlib.sha256(f"{base} {INSIDE} {setup(suite, docker=docker)}".encode()).hexdigest()[:12]
    return images.HOME / "images" / f"{suite}-{'docker-' if docker else ''}prepared-{recipe}"


def build(suite: str, *, docker: bool) -> Path:
    """Return the layer, building it and what it needs first where it is not there yet (a minute, 800 MB at most)."""
    final = layer(suite, docker=docker)
    if final.is_dir():
        return final
    base = images.build(suite)
    for part in LAYERS[suite].venvs:
        wheels.fetch(wheels.LOCKS[part])
    wheels.directory().mkdir(parents=True, exist_ok=True)
    with step(f"build what prepared nodes of {suite} have{' with Docker' if docker else ''} (once, half a minute)"):
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for directory in ("upper", "work", "root"):
            (partial / directory).mkdir(parents=True)
        places = (str(base), str(partial), str(wheels.directory()))
        run("unshare", "--mount", "/bin/sh", "-c", INSIDE, "sh", *places, stdin=setup(suite, docker=docker))
        (partial / "upper").rename(final)
        shutil.rmtree(partial)
    return final
