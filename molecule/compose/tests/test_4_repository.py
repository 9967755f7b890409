"""Docker from a package repository of its own: the key is checked, the pin is kept.

Docker's own cannot be reached here. A signed one stands in for it, whose packages bring in the distribution's.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import LAB, ROOT, attempt, on, playbook, recap

NODE = "shed"
BRINGS = {
    "docker-ce": "docker.io",
    "docker-ce-cli": "docker-cli",
    "docker-compose-plugin": "docker-compose",
    "docker-buildx-plugin": "docker-buildx",
    "containerd.io": "containerd",
}
VERSIONS = ("5:26.1.0-1", "5:27.0.0-1")
URL = "file:/srv/docker-repository"


def package(folder: Path, name: str, version: str) -> str:
    """Build a package that only depends on another; returns its entry in the list of packages."""
    top = folder / "build"
    (top / "DEBIAN").mkdir(parents=True, exist_ok=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: none <none@example.org>\n"
    control += f"Depends: {BRINGS[name]}\nDescription: stands in for {name}\n"
    (top / "DEBIAN/control").write_text(control, encoding="utf-8")
    file = folder / f"pool/{name}_{version.rpartition(':')[2]}_all.deb"
    file.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", top, file], check=True, capture_output=True)
    content = file.read_bytes()
    return f"{control}Filename: pool/{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> str:
    """Make the repository, sign it, put it on the node; returns the public key."""
    folder, home = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("gnupg")
    listed = "\n".join(package(folder, name, version) for name in BRINGS for version in VERSIONS)
    index = folder / "dists/trixie/stable/binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text(listed, encoding="utf-8")
    content = index.read_bytes()
    release = folder / "dists/trixie/Release"
    release.write_text(
        "Origin: test\nSuite: trixie\nCodename: trixie\nArchitectures: amd64\nComponents: stable\n"
        f"Date: {subprocess.run(['date', '-Ru'], capture_output=True, text=True, check=True).stdout.strip()}\n"
        f"SHA256:\n {hashlib.sha256(content).hexdigest()} {len(content)} stable/binary-amd64/Packages\n",
        encoding="utf-8",
    )
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "test <test@example.org>", "ed25519", "sign"], check=True)
    subprocess.run([*gpg, "--clearsign", "--output", release.with_name("InRelease"), release], check=True)
    with subprocess.Popen(["tar", "--create", "dists", "pool"], cwd=folder, stdout=subprocess.PIPE) as packed:
        command = "sudo sh -c 'mkdir -p /srv/docker-repository && tar --extract --directory /srv/docker-repository'"
        subprocess.run(
            [sys.executable, "-m", "lab", "ssh", LAB, NODE, command], cwd=ROOT, stdin=packed.stdout, check=True
        )
    return subprocess.run([*gpg, "--armor", "--export"], capture_output=True, text=True, check=True).stdout


def chosen(key: str) -> str:
    variables = {
        "docker_host_source": "repository",
        "docker_host_repository_url": URL,
        "docker_host_repository_key": key.strip(),
        "docker_host_repository_pin": "5:26.*",
    }
    return "--extra-vars=" + json.dumps(variables)


def test_docker_is_installed_from_it_at_the_pinned_version(key):
    on(NODE, "apt-get -qq -y purge docker.io docker-cli docker-compose docker-buildx && rm -f /etc/docker/daemon.json")
    done = playbook("site.yml", chosen(key))
    assert done.returncode == 0, done.stdout[-3000:]
    shown = on(
        NODE, "dpkg-query --show --showformat '${Package}=${Version}\\n' docker-ce docker-ce-cli docker-compose-plugin"
    )
    assert shown.split() == [
        f"docker-ce={VERSIONS[0]}",
        f"docker-ce-cli={VERSIONS[0]}",
        f"docker-compose-plugin={VERSIONS[1]}",
    ]
    assert on(NODE, "docker ps --format '{{.Names}}'").strip() == "speedtest-logger"
    again = playbook("site.yml", chosen(key))
    assert sum(counts["changed"] for counts in recap(again).values()) == 0


def test_a_repository_that_somebody_else_signed_is_refused(key):
    on(NODE, "apt-get -qq -y purge docker-ce docker-ce-cli docker-compose-plugin docker.io docker-cli docker-compose")
    other = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbm8ga2V5\n-----END PGP PUBLIC KEY BLOCK-----"
    done = playbook("site.yml", chosen(other))
    assert done.returncode != 0
    assert attempt(NODE, "dpkg-query --show docker-ce").returncode != 0
    assert playbook("site.yml", chosen(key)).returncode == 0
