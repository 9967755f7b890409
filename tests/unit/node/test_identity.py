"""identity: a key or a token is made once, stays where it is, and only its public half is told."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from speedtest_logger.errors import DeliveryError
from speedtest_logger.node import identity
from speedtest_logger.node.identity import IdentityError


@pytest.fixture
def pod(settings, tmp_path):
    """A node whose identity belongs onto its volume, which is empty."""
    place = tmp_path / "volume" / "identity"
    return settings(key_file=str(place / "id_ed25519"), token_file=str(place / "token"))


def test_a_key_is_made_once_and_only_its_public_half_is_told(pod):
    told = identity.identity(pod)
    assert re.fullmatch(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43} attic", told)
    assert pod.key_file.stat().st_mode & 0o777 == 0o600
    assert pod.key_file.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in pod.key_file.parent.iterdir()] == ["id_ed25519"]
    before = pod.key_file.read_bytes()
    assert identity.identity(pod) == told
    assert pod.key_file.read_bytes() == before


def test_the_archive_takes_what_is_told(pod):
    from plugins.keys import public_key

    assert public_key("attic", "identity", identity.identity(pod))[1] == "attic"


def test_a_token_is_made_once_and_only_its_digest_is_told(pod, settings):
    over_https = settings(transport="https", key_file=str(pod.key_file), token_file=str(pod.token_file))
    told = identity.identity(over_https)
    secret = pod.token_file.read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", secret)
    assert told == hashlib.sha256(secret.encode()).hexdigest() == identity.identity(over_https)
    assert pod.token_file.stat().st_mode & 0o777 == 0o600
    assert not pod.key_file.exists()


@pytest.mark.parametrize("transport", ["ssh", "https"])
def test_one_from_a_secret_is_a_link_to_its_newest_version(pod, settings, tmp_path, transport):
    own = settings(transport=transport, key_file=str(pod.key_file), token_file=str(pod.token_file))
    told = identity.identity(own)
    made, mount = own.token_file if transport == "https" else own.key_file, tmp_path / "secret"
    (mount / "..1").mkdir(parents=True)
    made.rename(mount / "..1" / made.name)
    (mount / "..data").symlink_to("..1")
    (mount / made.name).symlink_to(f"..data/{made.name}")
    place = {"key_file": str(mount / "id_ed25519"), "token_file": str(mount / "token")}
    assert identity.identity(settings(transport=transport, **place)) == told


def test_what_is_no_key_is_named_and_stays(pod):
    pod.key_file.parent.mkdir(parents=True)
    pod.key_file.write_text("nonsense\n")
    pod.key_file.chmod(0o600)
    with pytest.raises(IdentityError, match=r"id_ed25519: ssh-keygen says: .*; remove that file"):
        identity.identity(pod)
    assert pod.key_file.read_text() == "nonsense\n"


def test_what_an_fsgroup_opened_is_the_accounts_alone_again(pod):
    """Kubernetes gives the group of a volume all files that it finds there; ssh would refuse the key from then on."""
    told = identity.identity(pod)
    pod.key_file.chmod(0o660)
    assert identity.identity(pod) == told
    assert pod.key_file.stat().st_mode & 0o777 == 0o600


def test_a_secrets_file_that_is_the_accounts_own_is_refused_with_the_reason(settings, tmp_path):
    """A read-only volume that a runtime gave to the account itself: ssh would refuse the key at every delivery."""
    place = tmp_path / "secret"
    place.mkdir()
    pod = settings(key_file=str(place / "id_ed25519"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        identity.identity(pod)
        pod.key_file.chmod(0o440)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        with pytest.raises(IdentityError, match=r"mode 0440\), and it cannot be changed .* with fsGroup and mode 0440"):
            identity.identity(pod)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_secrets_file_of_root_and_the_accounts_group_is_taken(pod):
    """What fsGroup and defaultMode 0440 make of a Secret; nobody stands for the account."""
    told = identity.identity(pod)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        mounted = shutil.copy(pod.key_file, folder)
        os.chown(mounted, 0, 65534)
        Path(mounted).chmod(0o440)
        account = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        argv = [*account, "ssh-keygen", "-y", "-P", "", "-f", mounted]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == told.split()[:2]


def test_a_link_in_its_place_is_not_followed(pod, settings, tmp_path):
    pod.token_file.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("a" * 64)
    pod.token_file.symlink_to(tmp_path / "elsewhere")
    over_https = settings(transport="https", token_file=str(pod.token_file))
    told = identity.identity(over_https)
    assert told != hashlib.sha256(b"a" * 64).hexdigest()
    assert (tmp_path / "elsewhere").read_text() == "a" * 64


def test_a_token_that_is_none_is_not_replaced_unseen(pod, settings):
    pod.token_file.parent.mkdir(parents=True)
    pod.token_file.write_text("not one!\n")
    with pytest.raises(DeliveryError, match="is none: remove it"):
        identity.identity(settings(transport="https", token_file=str(pod.token_file)))


def test_without_ssh_keygen_it_says_what_to_install(pod, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(IdentityError, match="install openssh-client"):
        identity.identity(pod)
