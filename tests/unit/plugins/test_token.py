"""The program that makes a node's token: it stays, whatever a run that was killed has left."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest
from builders import ROOT

PROGRAM = ROOT / "roles/speedtest_logger/files/token.py"


def made(folder):
    file = folder / "token"
    subprocess.run([sys.executable, "-c", PROGRAM.read_text(), file], check=True)
    token, digest = file.read_text().strip(), (folder / "token.sha256").read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert digest == hashlib.sha256(token.encode()).hexdigest()
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob("*.new"))
    return token


def test_it_is_made_once_and_another_one_where_it_was_removed(tmp_path):
    first = made(tmp_path)
    (tmp_path / "token.sha256").unlink()  # as a run that was killed leaves it
    assert made(tmp_path) == first
    (tmp_path / "token").unlink()
    assert made(tmp_path) != first


@pytest.mark.parametrize("left", ["", "a" * 10, "A" * 64, "\x00" * 64])
def test_half_a_token_is_none(tmp_path, left):
    (tmp_path / "token").write_text(left)
    (tmp_path / "token").chmod(0o600)
    assert made(tmp_path) != left
