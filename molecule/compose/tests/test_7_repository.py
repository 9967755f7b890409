"""Docker from a package repository of its own: the key is checked, the pin is kept.

Docker's own cannot be reached here. A signed one stands in for it, whose packages are the distribution's, renamed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from fleet import LAB, attempt, lab, login, on, playbook, recap

pytestmark = pytest.mark.usefixtures("fast_line", "docker_may_restart")
NODE = "shed"
# the distribution's packages under the names that Docker's have
NAMES = {
    "docker.io": "docker-ce",
    "docker-cli": "docker-ce-cli",
    "docker-compose": "docker-compose-plugin",
    "docker-buildx": "docker-buildx-plugin",
    "containerd": "containerd.io",
}
VERSIONS = ("5:26.1.0-1", "5:27.0.0-1")
URL = "file:/srv/docker-repository"
ARCHIVE, HEADER = b"!<arch>\n", 60  # how an archive of ar(1) begins; bytes before each file in it
RELATIONS = ("Breaks", "Conflicts", "Replaces", "Provides", "Built-Using", "Static-Built-Using")


def renamed(control: str, version: str) -> str:
    """A package's control file with another name and version, depending on the other renamed ones."""
    fields = re.findall(r"^(\S+): ?(.*(?:\n .*)*)", control, re.MULTILINE)
    kept = {name: text for name, text in fields if name not in RELATIONS}
    kept["Package"] = NAMES[kept["Package"]]
    kept["Version"] = version
    for old, new in NAMES.items():
        kept["Depends"] = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w.-])( \([^)]*\))?", new, kept.get("Depends", ""))
    return "".join(f"{name}: {text}\n" for name, text in kept.items() if text)


def package(folder: Path, given: Path, version: str) -> str:
    """Make a package with the data of one of the distribution's, as they are; returns its entry in the list."""
    marker, control, data = members(given.read_bytes())
    packed, repacked = BytesIO(control.content), BytesIO()
    with tarfile.open(fileobj=packed) as old, tarfile.open(fileobj=repacked, mode="w:gz") as new:
        for entry in old:
            content = old.extractfile(entry).read() if entry.isfile() else b""
            if entry.name == "./control":
                text = renamed(content.decode(), version)
                content = text.encode()
                entry.size = len(content)
            new.addfile(entry, BytesIO(content))
    file = folder / f"pool/{given.name}_{version.rpartition(':')[2]}.deb"
    file.parent.mkdir(exist_ok=True)
    parts = (marker, Member("control.tar.gz", repacked.getvalue()), data)
    content = ARCHIVE + b"".join(part.packed() for part in parts)
    file.write_bytes(content)
    return f"{text}Filename: pool/{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"


class Member(NamedTuple):
    """A file in a package, which is an archive of ar(1): deb(5)."""

    name: str
    content: bytes

    def packed(self) -> bytes:
        header = f"{self.name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(self.content):<10}`\n"
        return header.encode() + self.content + b"\n" * (len(self.content) % 2)


def members(content: bytes) -> list[Member]:
    """debian-binary, control.tar.xz and data.tar.xz."""
    found, at = [], len(ARCHIVE)
    while at < len(content):
        name, size = content[at : at + 16].decode().strip().rstrip("/"), int(content[at + 48 : at + 58])
        found.append(Member(name, content[at + HEADER : at + HEADER + size]))
        at += HEADER + size + size % 2
    return found


def cached_packages() -> list[Path]:
    """The distribution's packages in the node's own apt cache."""
    listed = json.loads(lab("list", LAB, "--json"))
    cache = Path(next(row["root"] for row in listed if row["node"] == NODE)) / "var/cache/apt/archives"
    return [next(cache.glob(f"{name}_*.deb")) for name in NAMES]


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> str:
    """Make the repository, sign it, put it on the node; returns the public key."""
    folder, home = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("gnupg")
    listed = "\n".join(package(folder, given, version) for given in cached_packages() for version in VERSIONS)
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
        subprocess.run([*login(NODE), command], stdin=packed.stdout, check=True)
    public = subprocess.run([*gpg, "--armor", "--export"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    return public


def chosen(key: str) -> str:
    variables = {
        "docker_host_source": "repository",
        "docker_host_repository_url": URL,
        "docker_host_repository_key": key.strip(),
        "docker_host_repository_pin": "5:26.*",
    }
    return "--extra-vars=" + json.dumps(variables)


@pytest.mark.usefixtures("key")
def test_a_repository_that_somebody_else_signed_is_refused():
    on(NODE, f"apt-get -qq -y purge {' '.join(NAMES)}")
    other = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbm8ga2V5\n-----END PGP PUBLIC KEY BLOCK-----"
    done = playbook("playbooks/nodes.yml", chosen(other))
    assert done.returncode != 0
    assert attempt(NODE, "dpkg-query --show docker-ce").returncode != 0


def test_docker_is_installed_from_it_at_the_pinned_version(key):
    done = playbook("playbooks/nodes.yml", chosen(key))
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
    again = playbook("playbooks/nodes.yml", chosen(key))
    assert sum(counts["changed"] for counts in recap(again).values()) == 0
