"""Certificates for tests, by openssl itself, laid out as a cluster mounts a Secret: links to its newest version."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path, name: str) -> Path:
    """The newest version in a folder of a certificate for a name, tls.crt, and its key, tls.key."""
    version = folder / f"..{len(list(folder.glob('..*')))}"
    version.mkdir()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(version / "tls.key"), "-out", str(version / "tls.crt")]
    subprocess.run(["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True)
    mount(folder, version)
    return version


def mount(folder: Path, version: Path) -> None:
    """What a kubelet does once a Secret is another one."""
    new = folder / "..data_tmp"
    new.symlink_to(version.name)
    new.replace(folder / "..data")
    for file in version.iterdir():
        if not (folder / file.name).is_symlink():
            (folder / file.name).symlink_to(f"..data/{file.name}")
