"""The inventory's secrets are on no screen and in no journal, however a run is asked to talk and however it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import attempt, on, playbook

HUB = "hub"
BACKUP_ENV = "/etc/speedtest-archive/backup.env"
SECRETS = ["planted-password-5d0cd1", "planted-access-key-81f2aa", "planted-other-key-c40e17"]
TALK = ("-vvv", "--diff")
SECONDS = 600


@pytest.fixture(scope="module")
def other_secrets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Variables that have backup.env written anew, in a file: a command line can be seen by others."""
    variables: dict[str, Any] = {
        "speedtest_archive_backup_environment": {"AWS_SECRET_ACCESS_KEY": SECRETS[1], "AWS_SESSION_TOKEN": SECRETS[2]}
    }
    file: Path = tmp_path_factory.mktemp("secrets") / "variables.json"
    file.write_text(json.dumps(variables), encoding="utf-8")
    return ["--extra-vars", f"@{file}"]


def told(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_the_secrets_are_in_use():
    """What is not found below is there to be found."""
    held = on(HUB, f"cat {BACKUP_ENV}")
    assert [secret for secret in SECRETS[:2] if secret not in held] == []


def test_a_run_that_changes_them(other_secrets):
    done = playbook("site.yml", *TALK, *other_secrets, "--limit", HUB, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert SECRETS[2] in on(HUB, f"cat {BACKUP_ENV}")
    assert told(done.stdout) == []


def test_check_mode_that_would_change_them():
    done = playbook("site.yml", *TALK, "--check", "--limit", HUB, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert told(done.stdout) == []


def test_the_status_while_they_differ():
    done = playbook("playbooks/status.yml", *TALK, seconds=SECONDS)
    assert done.returncode != 0
    assert BACKUP_ENV in done.stdout
    assert told(done.stdout) == []


@pytest.fixture(params=["a folder is in its place", "its folder cannot be written"])
def obstacle(request: pytest.FixtureRequest) -> Iterator[str]:
    """What makes the very task fail that writes the secrets."""
    if request.param == "a folder is in its place":
        on(HUB, f"mv {BACKUP_ENV} /root/backup.env && mkdir -p {BACKUP_ENV}/x")
        yield "folder"
        on(HUB, f"rm -r {BACKUP_ENV} && mv /root/backup.env {BACKUP_ENV}")
        return
    if attempt(HUB, f"chattr +i {BACKUP_ENV}").returncode != 0:
        pytest.skip("this file system has no immutable files")
    yield "immutable"
    on(HUB, f"chattr -i {BACKUP_ENV}")


def test_a_run_that_fails_at_them(obstacle, other_secrets):
    other = playbook("site.yml", *TALK, "--limit", HUB, seconds=SECONDS)  # at this moment the file has the others
    assert other.returncode != 0, other.stdout[-3000:]
    assert told(other.stdout) == []
    assert BACKUP_ENV in other.stdout


def test_a_restore_that_fails():
    done = playbook("playbooks/restore.yml", *TALK, "-e", "speedtest_snapshot=deadbeef", seconds=SECONDS)
    assert done.returncode != 0
    assert told(done.stdout) == []


def test_the_journals_hold_none():
    on(HUB, "systemctl start speedtest-backup.service", check=False)
    assert told(on(HUB, "journalctl --no-pager")) == []
    assert told(on(HUB, "cat /var/log/speedtest* /var/log/auth.log 2>/dev/null", check=False)) == []
