"""The node's package in each format, by nfpm: the same files, with what differs in names, relations and scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packages import node
from packages.node import DOC_DIR, FILES, NAME, ROOT, File
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.probes.catalogue import PROBES

MAINTAINER = "The speedtest-telemetry maintainers <maintainers@speedtest-telemetry.example>"
DESCRIPTION = """Measures an internet line on schedule, keeps and delivers every result
A timer starts one measurement a slot, by LibreSpeed, iperf3 or speedtest-cli.
Every slot gets a record, failed and skipped ones too; records wait through
outages until an archive host holds them. For machines without Ansible."""
# Each script is these pieces in a row, run by sh.
SCRIPTS: dict[str, dict[str, tuple[str, ...]]] = {
    "deb": {
        "preinstall": ("part.refuse", "deb.preinst"),
        "postinstall": ("part.systemd", "deb.postinst"),
        "preremove": ("part.systemd", "deb.prerm"),
        "postremove": ("part.systemd", "deb.postrm"),
    },
    "rpm": {
        "preinstall": ("part.refuse", "rpm.preinst"),
        "postinstall": ("part.systemd", "rpm.postinst"),
        "preremove": ("part.systemd", "rpm.prerm"),
        "postremove": ("part.systemd", "rpm.postrm"),
    },
    "apk": {
        "preinstall": ("part.refuse", "apk.preinst"),
        "postinstall": ("apk.postinst",),
        "preremove": ("apk.prerm",),
    },
}
# What must be there, and what measures: one engine is enough, and its owner chooses.
RELATIONS: dict[str, dict[str, list[str]]] = {
    "deb": {
        "depends": ["python3 (>= 3.10)", "openssh-client", "systemd (>= 252)", "passwd"],
        "recommends": [" | ".join(each.package.name for each in ENGINES.values() if each.package)],
        "suggests": sorted({probe.package for probe in PROBES.values() if probe.package}),
    },
    "rpm": {
        "depends": ["python3 >= 3.10", "openssh-clients", "systemd >= 252", "shadow-utils"],
        "recommends": ["iperf3"],
    },
    "apk": {"depends": ["python3", "openssh-client", "openssh-keygen", "iperf3"]},
}


def build(kind: str, version: str, epoch: int, folder: Path) -> Path:
    """The package of a kind (deb, rpm, apk) in a folder: the same bytes for the same source and epoch."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "nfpm.json"  # JSON is YAML
        config.write_text(json.dumps(described(kind, version, epoch, Path(scratch))), encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [Path(sys.executable).with_name("nfpm"), "package", "-f", config, "-p", kind, "-t", folder],
            env={"SOURCE_DATE_EPOCH": str(epoch), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"nfpm made no {kind}: {(done.stderr or done.stdout).strip()}")
        return folder / done.stdout.rpartition("created package: ")[2].strip().rpartition("/")[2]


def described(kind: str, version: str, epoch: int, scratch: Path) -> dict[str, Any]:
    """Nfpm's configuration, with what it reads written to a scratch folder."""
    when = datetime.fromtimestamp(epoch, timezone.utc)
    files = [*node.files(kind), *documents(kind, version, when)]
    return {
        "name": NAME,
        "arch": "all",
        "platform": "linux",
        "version": version,
        "release": "1",
        "section": "net",
        "priority": "optional",
        "maintainer": MAINTAINER,
        "description": DESCRIPTION,
        "license": "MIT",
        "umask": 0o022,
        "mtime": when.isoformat().replace("+00:00", "Z"),
        "contents": [content(file, number, when, scratch) for number, file in enumerate(files)],
        "scripts": scripts(kind, epoch, scratch),
        **RELATIONS[kind],
        "rpm": {"buildhost": "localhost", "group": "Applications/Internet", "summary": DESCRIPTION.splitlines()[0]},
        **({"apk": {"scripts": {"postupgrade": str(scratch / "postinstall")}}} if kind == "apk" else {}),
    }


def content(file: File, number: int, when: datetime, scratch: Path) -> dict[str, Any]:
    """A file as nfpm is told of it."""
    info = {"mtime": when.isoformat().replace("+00:00", "Z"), "owner": "root", "group": "root"}
    if file.to:
        return {"src": file.to, "dst": file.path, "type": "symlink", "file_info": info}
    source = scratch / f"{number:04d}"
    source.write_bytes(file.content)
    kind = {"type": "config|noreplace"} if file.config else {}
    return {"src": str(source), "dst": file.path, **kind, "file_info": {**info, "mode": file.mode}}


def documents(kind: str, version: str, when: datetime) -> Iterator[File]:
    """The licence, and what changed as Debian writes it."""
    yield File(f"{DOC_DIR}/copyright", (ROOT / "LICENSE").read_bytes())
    if kind == "deb":
        text = (
            f"{NAME} ({version}-1) unstable; urgency=medium\n\n  * Version {version}: CHANGELOG.md of the source tells "
            f"who must act.\n\n -- {MAINTAINER}  {when:%a, %d %b %Y %H:%M:%S +0000}\n"
        )
        yield File(f"{DOC_DIR}/changelog.Debian.gz", node.packed(text.encode()))


def scripts(kind: str, epoch: int, scratch: Path) -> dict[str, str]:
    """The files of a package's scripts, by when they run; in an .apk they have their own times."""
    made = {}
    for event, pieces in SCRIPTS[kind].items():
        (scratch / event).write_text(script(kind, event, pieces), encoding="utf-8")
        os.utime(scratch / event, (epoch, epoch))
        made[event] = str(scratch / event)
    return made


def script(kind: str, event: str, pieces: tuple[str, ...]) -> str:
    """A script's text. Alpine has no tmpfiles.d: there the directories are made in so many words."""
    v = node.values()
    made = [
        f"install -d -m {item['mode']} -o {item['owner']} -g {item['group']} {item['path']}\n"
        for item in (node.data(v, node.names(v)) if (kind, event) == ("apk", "postinstall") else [])
    ]
    return "".join(["#!/bin/sh\nset -e\n", *made, *((FILES / piece).read_text(encoding="utf-8") for piece in pieces)])
