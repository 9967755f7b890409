"""Build the artifact that nodes get, reproducibly, and return its version, path and digest."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release
short_description: The release artifact of this checkout
description:
  - Returns a dict with C(version), C(path) of a tar.gz and C(digest) of the unpacked tree, as host_state computes it.
  - The term is the wanted version. This checkout's own version is built; another one must lie in C(directory).
author: The speedtest-telemetry maintainers (!UNKNOWN)
options:
  _terms: {description: The version., required: true}
  directory: {description: Where artifacts lie and are built., type: path, required: true}
"""
EXAMPLES = r"""
artifact: "{{ lookup('speedtest.telemetry.release', speedtest_logger_version, directory='dist').path }}"
"""
RETURN = r"""
_raw: {description: "For each version C(version), C(path) and C(digest).", type: list, elements: dict}
"""

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

SOURCE = Path(__file__).resolve().parents[2] / "src" / "speedtest_logger"
SHARE = Path(__file__).resolve().parents[2] / "share"  # manuals and completions
CHECKOUT = Path(__file__).resolve().parents[2]  # or where the collection is installed, which has the same files
# What images are built from besides, and how containers are started.
CONTAINER_FILES = (
    "docker/Dockerfile.logger",
    "docker/compose.yml",
    "docker/Dockerfile.dashboard",
    "requirements/dashboard.txt",
)
# What a node that brings itself to its desired state runs: the code of the host modules, which needs no Ansible.
CONVERGE_FILES = (
    *(f"plugins/converge/{name}.py" for name in ("__init__", "archives", "bundle", "carry_out", "cli", "containers")),
    *(f"plugins/converge/{name}.py" for name in ("enrol", "fetch", "leave", "programs", "state")),
    *(f"plugins/desired/{name}.py" for name in ("__init__", "docker_engine", "kinds", "plan", "things")),
    *(f"plugins/modules/{name}.py" for name in ("host_files", "host_state", "host_units")),
)
PROGRAMS = {
    "speedtest-converge": "plugins.converge.cli",
    "speedtest-logger": "speedtest_logger.node.cli",
    "speedtest-receive": "speedtest_logger.archive.arrive.receive",
    "speedtest-receive-http": "speedtest_logger.archive.arrive.receive_http",
    "speedtest-archive": "speedtest_logger.archive.cli",
    "speedtest-alerts": "speedtest_logger.alerts.cli",
    "speedtest-database": "speedtest_logger.sinks.cli",
    "speedtest-dashboard": "speedtest_logger.dashboard.cli",
}
WITH_PACKAGES = ("speedtest-archive", "speedtest-alerts", "speedtest-database")
# -S: what distributions add to Python's start is for others; these need it, for their packages
LAUNCHER = """#!/usr/bin/python3 {options}
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from {module} import main

raise SystemExit(main())
"""


def source_version() -> str:
    """The version in the source."""
    match = re.search(r'__version__ = "([^"]+)"', (SOURCE / "__init__.py").read_text(encoding="utf-8"))
    if match is None:
        raise AnsibleLookupError(f"{SOURCE}/__init__.py names no __version__")
    return match[1]


def contents() -> dict[str, tuple[bytes, bool]]:
    """Every file of the artifact: its bytes and whether it can be run."""
    files = {
        f"speedtest_logger/{file.relative_to(SOURCE).as_posix()}": (file.read_bytes(), False)
        for file in sorted(SOURCE.rglob("*"))
        if file.is_file() and file.suffix != ".pyc" and not file.name.startswith(".")
    }
    for name, module in PROGRAMS.items():
        options = "-I" if name in WITH_PACKAGES else "-IS"
        files[f"bin/{name}"] = (LAUNCHER.format(module=module, options=options).encode(), True)
    for name in (*CONTAINER_FILES, *CONVERGE_FILES):
        files[name] = ((CHECKOUT / name).read_bytes(), False)
    for file in sorted(path for path in SHARE.rglob("*") if path.is_file()):
        files[f"share/{file.relative_to(SHARE).as_posix()}"] = (file.read_bytes(), False)
    return files


def digest(files: dict[str, tuple[bytes, bool]]) -> str:
    """The digest that the module host_state makes of the unpacked tree, owned by root, not writable by others."""
    lines = [
        f"{name} {executable:d} 1 {hashlib.sha256(content).hexdigest()}"
        for name, (content, executable) in files.items()
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def build(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """The same bytes from the same source, whenever it is built. (Another zlib may pack the same tar otherwise.)"""
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", mtime=0, compresslevel=6) as stream:  # 9 takes twice as long for 1 %
        stream.write(packed(files))
    return written.getvalue()


def packed(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """A tar of files that root owns, not compressed."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents[:-1]}):
            entry = tarfile.TarInfo(folder)  # named, or tar would make it as the host's umask says
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.uname = entry.gname = "root"
            archive.addfile(entry)
        for name, (content, executable) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def unpack(artifact: bytes) -> dict[str, tuple[bytes, bool]]:
    """The files of an artifact."""
    with tarfile.open(fileobj=io.BytesIO(artifact)) as archive:
        return {
            entry.name: (archive.extractfile(entry).read(), bool(entry.mode & 0o100))  # type: ignore[union-attr]  # a file
            for entry in archive
            if entry.isfile()
        }


def holds(file: Path, tar: bytes) -> bool:
    """Whether a file is this tar, however it was compressed: what an installed collection has need not be written."""
    try:
        with gzip.open(file) as stream:
            return stream.read(len(tar) + 1) == tar
    except (OSError, EOFError, zlib.error):
        return False


def write(file: Path, artifact: bytes) -> None:
    """Put an artifact in its place. Raises AnsibleLookupError where that cannot be written to."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(artifact)
        temporary.replace(file)
    except OSError as error:
        raise AnsibleLookupError(
            f"{file} cannot be written: {error.strerror}. Set speedtest_logger_artifact_dir and its like of the other "
            "roles to a directory of yours"
        ) from error


@cache
def release(version: str, directory: Path) -> dict[str, str]:
    """Version, path and digest of an artifact; this checkout's own is written where it differs."""
    file = directory / f"speedtest-logger-{version}.tar.gz"
    if version == source_version():
        files = contents()
        if not holds(file, packed(files)):
            write(file, build(files))
        return {"version": version, "path": str(file), "digest": digest(files)}
    if not file.exists():
        raise AnsibleLookupError(
            f"version '{version}' is not here: this checkout is {source_version()}, and there is no "
            f"{file}. Set speedtest_logger_version to {source_version()}, or put the artifact there."
        )
    return {"version": version, "path": str(file), "digest": digest(unpack(file.read_bytes()))}


class LookupModule(LookupBase):  # type: ignore[misc]
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        return [release(str(term), Path(self.get_option("directory"))) for term in terms]
