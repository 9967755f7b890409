"""An owner who signs bundles, and a node below a directory of the test's that takes them."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from plugins.converge import archives, bundle, cli, state
from plugins.converge.bundle import RefusedError
from plugins.desired import bundles
from plugins.modules import host_state

NODE = "attic"
ME = {"owner": host_state.name_of(host_state.pwd.getpwuid, os.getuid()),
      "group": host_state.name_of(host_state.grp.getgrgid, os.getgid())}  # fmt: skip


def key(folder: Path, name: str) -> Path:
    file = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], check=True)
    return file


def artifact(accepts: bool = True) -> bytes:
    files = {
        "bin/speedtest-logger": (f"#!/bin/sh\nexit {0 if accepts else 3}\n", 0o755),
        "speedtest_logger/__init__.py": ("X = 1\n", 0o644),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for folder in ("bin", "speedtest_logger"):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            made.addfile(entry)
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), mode
            made.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


class Fleet:
    """An owner with a key, a folder of bundles, and a node below a directory of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.served, self.root = folder, folder / "served", folder / "root"
        self.key, self.stranger = key(folder, "owner"), key(folder, "stranger")
        for made in (self.served, self.root, folder / "config", folder / "remembered"):
            made.mkdir()
        self.signers = folder / "config" / "allowed_signers"
        self.signers.write_text(bundle.allowed_signers([bundles.public_key(self.key)]))
        self.node = cli.Node(NODE, f"file://{self.served}", self.signers, folder / "remembered")

    def desired(self, version: str, packed: bytes, text: str) -> dict:
        scratch = self.folder / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir()
        archives.unpack(io.BytesIO(packed), scratch)
        release = f"{self.root}/releases/{version}"
        return {
            "directories": [
                {"path": str(self.root / name), **ME, "mode": "0755"} for name in ("releases", "etc", "var")
            ],
            "releases": [{"path": release, "digest": host_state.tree_state(str(scratch))}],
            "files": [
                {"path": f"{self.root}/etc/{name}", "content": f"{text} {name}\n", **ME, "mode": "0640"}
                for name in ("logger.env", "known_hosts")
            ],
            "links": [{"path": f"{self.root}/current", "target": release, "previous": f"{self.root}/previous"}],
            "folders": [
                {
                    "path": f"{self.root}/releases",
                    "keep": [release],
                    "keep_links": [f"{self.root}/current", f"{self.root}/previous"],
                }
            ],
            "absent_paths": [f"{self.root}/old"],
        }

    def payload(self, serial: int, text: str = "one", version: str = "1", accepts: bool = True, **other) -> bytes:
        packed = artifact(accepts)
        digest = hashlib.sha256(packed).hexdigest()
        release = {"file": bundles.served_name(version, digest), "sha256": digest, "bytes": len(packed)}
        (self.served / release["file"]).write_bytes(packed)
        said = {
            "node": NODE, "serial": serial, "valid_until": time.time() + 3600, "version": version,
            "settings": f"{self.root}/etc/logger.env", "release": release,
            "desired": self.desired(version, packed, text), **other,
        }  # fmt: skip
        return bundle.payload_of(said)

    def sign(self, payload: bytes, key: Path | None = None) -> bytes:
        return bundles.signed({NODE: payload}, key or self.key)[NODE]

    def serve(self, content: bytes) -> None:
        (self.served / f"{NODE}.bundle").write_bytes(content)

    def tree(self, *folders: Path) -> dict[str, tuple]:
        """Everything below the node's directory and what it remembers: names, kinds, modes, contents, inodes."""
        found = {}
        for folder in folders or (self.root, self.node.state, self.signers.parent):
            for path in sorted(folder.rglob("*")):
                seen = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (seen.st_mode, seen.st_ino, os.readlink(path) if path.is_symlink() else content)
        return found


def remember(fleet: Fleet, known: dict) -> None:
    known.pop("done", None)
    state.write(fleet.node.state, known)


def text_of(fleet: Fleet) -> str:
    return (fleet.root / "etc" / "logger.env").read_text()


def assert_refused(fleet: Fleet, why: str, error: type[Exception] = RefusedError) -> None:
    before = fleet.tree()
    with pytest.raises(error, match=why):
        cli.converge(fleet.node)
    assert fleet.tree() == before


CHANGES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.chmod", "os.chown", "os.link",
           "subprocess.Popen", "os.posix_spawn")  # fmt: skip


def cut_at(fleet: Fleet, count: int) -> bool:
    """A run that is killed as it takes its step of that number: whether it was, and did not end before."""
    child = os.fork()
    if child == 0:
        left = count

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left
            if event not in CHANGES or (event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
                return
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            cli.converge(fleet.node)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
