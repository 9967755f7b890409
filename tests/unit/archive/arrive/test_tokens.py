"""Whose a token is: by its digest, from root's file, read again when it is another one."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from speedtest_logger.archive.arrive.tokens import Tokens, parsed


def line(node, token):
    return f"{node} {hashlib.sha256(token.encode()).hexdigest()}\n"


def test_a_token_is_its_node_s_until_the_file_says_otherwise(tmp_path):
    file, tokens = tmp_path / "tokens", Tokens(tmp_path / "tokens")
    attic, porch = secrets.token_hex(32), secrets.token_hex(32)
    assert tokens.node_of(attic.encode()) is None  # there is no file
    file.write_text("# managed\n" + line("attic", attic))
    assert tokens.node_of(attic.encode()) == "attic"
    assert tokens.node_of(porch.encode()) is None
    file.with_suffix(".new").write_text(line("porch", porch))
    file.with_suffix(".new").replace(file)
    assert tokens.node_of(attic.encode()) is None
    assert tokens.node_of(porch.encode()) == "porch"
    file.unlink()
    assert tokens.node_of(porch.encode()) is None


def test_a_cluster_mounts_the_file_as_a_link_to_its_newest_version(tmp_path):
    attic, porch = secrets.token_hex(32), secrets.token_hex(32)
    for version, text in (("..1", line("attic", attic)), ("..2", line("porch", porch))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tokens").write_text(text)
    (tmp_path / "tokens").symlink_to("..data/tokens")
    (tmp_path / "..data").symlink_to("..1")
    tokens = Tokens(tmp_path / "tokens")
    assert tokens.node_of(attic.encode()) == "attic"
    (tmp_path / "new").symlink_to("..2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert (tokens.node_of(attic.encode()), tokens.node_of(porch.encode())) == (None, "porch")


@pytest.mark.parametrize("token", [b"", b"a" * 63, b"A" * 64, b"a" * 65, b"\xff" * 64, b"a" * 64 + b"\n"])
def test_what_is_no_token_is_nobody_s(tmp_path, token):
    (tmp_path / "tokens").write_text(f"attic {hashlib.sha256(token).hexdigest()}\n")
    assert Tokens(tmp_path / "tokens").node_of(token) is None


def test_a_digest_is_no_token(tmp_path):
    token = secrets.token_hex(32)
    (tmp_path / "tokens").write_text(line("attic", token))
    assert Tokens(tmp_path / "tokens").node_of(hashlib.sha256(token.encode()).hexdigest().encode()) is None


def test_a_digest_of_two_nodes_tells_nobody_and_other_lines_are_left_out():
    a, b = "a" * 64, "b" * 64
    text = f"attic {a}\nporch {a}\nshed {b}\nshed {b}\n../x {b}\nUPPER {b}\nattic zz\n\n"
    assert parsed(text) == {b: "shed"}


def test_a_link_in_its_place_is_not_followed(tmp_path):
    token = secrets.token_hex(32)
    (tmp_path / "elsewhere").write_text(line("attic", token))
    (tmp_path / "tokens").symlink_to(tmp_path / "elsewhere")
    assert Tokens(tmp_path / "tokens").node_of(token.encode()) is None
