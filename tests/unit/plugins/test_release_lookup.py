"""The release that is the same everywhere: its bytes, its digest, and what is said where it cannot be had."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from builders import ROOT, load, unpack

host_state = load("plugins/modules/host_state.py")
release = load("plugins/lookup/release.py")


def test_the_release_is_the_same_bytes_from_the_same_source(tmp_path):
    first = release.build(release.contents())
    assert first == release.build(release.contents())
    code = (
        f"import importlib.util as u; s = u.spec_from_file_location('r', {str(ROOT / 'plugins/lookup/release.py')!r}); "
        "m = u.module_from_spec(s); s.loader.exec_module(m); import hashlib; "
        "print(hashlib.sha256(m.build(m.contents())).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(runs) == 1


def test_an_artifact_is_written_again_where_its_tar_differs_and_not_where_its_compression_does(tmp_path):
    version = release.source_version()
    file = Path(release.release.__wrapped__(version, tmp_path)["path"])
    tar = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(tar, compresslevel=1))
    inode = file.stat().st_ino
    release.release.__wrapped__(version, tmp_path)
    assert file.stat().st_ino == inode
    for broken in (gzip.compress(tar + b"more"), file.read_bytes()[:-9], b"no gzip", b""):
        file.write_bytes(broken)
        release.release.__wrapped__(version, tmp_path)
        assert gzip.decompress(file.read_bytes()) == tar


def test_where_an_artifact_cannot_be_written_it_is_said_what_to_set(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleLookupError, match=r"dist.* cannot be written: .*Set speedtest_logger_artifact_dir"):
        release.release.__wrapped__(release.source_version(), tmp_path / "file" / "dist")


def test_the_digest_of_the_artifact_is_the_digest_of_the_unpacked_tree(tmp_path):
    found = release.release(release.source_version(), tmp_path / "dist")
    tree = tmp_path / "tree"
    unpack(found["path"], tree)
    (tree / "speedtest_logger/__pycache__").mkdir()
    (tree / "speedtest_logger/__pycache__/x.pyc").write_bytes(b"byte code does not count")
    for path in [tree, *tree.rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    assert host_state.tree_state(str(tree)) == found["digest"]
    (tree / "speedtest_logger/extra.py").write_text("")
    assert host_state.tree_state(str(tree)) != found["digest"]


def test_the_artifact_is_the_whole_package_and_each_launcher_starts(tmp_path):
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/speedtest_logger"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    files = release.contents()
    assert {name.removeprefix("src/") for name in tracked} == {name for name in files if name.startswith("speedtest_")}
    assert not [name for name in files if "__pycache__" in name]
    (tmp_path / "release.tar.gz").write_bytes(release.build(files))
    unpack(tmp_path / "release.tar.gz", tmp_path / "tree")
    launchers = sorted((tmp_path / "tree/bin").iterdir())
    assert [launcher.name for launcher in launchers] == sorted(release.PROGRAMS)
    for launcher in launchers:
        started = launcher.read_text().partition("\n")[0].split()[1:]  # as its first line has it, by this Python
        argv = [sys.executable, *started, launcher, "--help"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=60)
        assert (done.returncode, done.stdout[:6]) == (0, "usage:"), (launcher.name, done.stderr)


def test_a_version_that_is_not_here_says_what_to_do(tmp_path):
    with pytest.raises(Exception, match=r"9\.9\.9.*Set speedtest_logger_version"):
        release.release("9.9.9", tmp_path)
