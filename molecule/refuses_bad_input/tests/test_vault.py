"""An environment that is set up as docs/how-to/keep-environments-apart.md says: its secrets show in no log."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fleet import LAB, ROOT, on, recap

from lab.lab import load

MACHINE = "shop"
PAGE = (ROOT / "docs/how-to/keep-environments-apart.md").read_text(encoding="utf-8")
ENVIRONMENT_FILE = "/etc/speedtest-archive/backup.env"


class Shop:
    """A checkout's inventory of production, with one machine that is archive host and node, and its vault."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secret, self.password = folder, secrets.token_hex(20), folder / "password"
        self.inventory, self.log = folder / "inventory/shop", folder / "ansible.log"

    def set_up(self) -> None:
        """What the page has to be typed, and what it says to put into the files."""
        shutil.copytree(ROOT / "inventory/production", self.folder / "inventory/production")
        self.password.write_text(secrets.token_hex(20))
        copy, example, encrypt = re.findall(r"(?m)^ +((?:cp|ansible-vault encrypt) .+)$", PAGE)
        self.typed(copy)
        self.typed(example)
        machines = load(LAB)
        node = machines.node(MACHINE)
        reached = {
            "ansible_host": machines.address(node),
            "ansible_user": "ops",
            "ansible_ssh_private_key_file": str(machines.key_file),
            "managed_host_apt_cache_valid_seconds": 1_000_000_000,
            "speedtest_archive_backup_repository": "/srv/backup/restic",
        }
        groups = {"speedtest_archive": {"hosts": {MACHINE: reached}}, "speedtest_nodes": {"hosts": {MACHINE: {}}}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(groups))
        (self.inventory / "group_vars/speedtest_dashboard.yml").unlink()
        shutil.copy(machines.known_hosts, self.inventory / "known_hosts.txt")
        vault = self.inventory / "group_vars/all/vault.yml"
        vault.write_text(
            vault.read_text().replace('vault_backup_password: ""', f'vault_backup_password: "{self.secret}"')
        )
        assert self.secret in vault.read_text()
        self.typed(encrypt)
        assert vault.read_text().startswith("$ANSIBLE_VAULT;")

    def typed(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command of the page, in the checkout; a prompt is answered by the file with the password."""
        command = command.replace("production@prompt", f"production@{self.password}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOG_PATH": str(self.log),
            "HOME": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = command.replace("playbooks/", f"{ROOT}/playbooks/").replace(" site.yml", f" {ROOT}/site.yml")
        done = subprocess.run(
            command.split(), cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        done.stdout += done.stderr
        return done


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(tmp_path_factory.mktemp("checkout"))
    made.set_up()
    return made


def test_host_keys_are_the_inventorys(shop):
    known = shop.inventory / "known_hosts.txt"
    kept = known.read_text()
    known.write_text("# none\n")
    preflight, site = re.findall(r"(?m)^ {4}(ansible-playbook .+)$", PAGE)
    assert shop.typed(preflight).returncode == 0  # it contacts nobody
    done = shop.typed(site)
    assert done.returncode != 0
    assert "Host key verification failed" in done.stdout
    known.write_text(kept)


def test_a_run_with_a_vault_shows_its_secrets_nowhere(shop):
    _, site = re.findall(r"(?m)^ {4}(ansible-playbook .+)$", PAGE)
    first = shop.typed(f"{site} --diff -vvv")
    assert first.returncode == 0, first.stdout[-3000:]
    again = shop.typed(site)
    assert recap(again)[MACHINE]["changed"] == 0, again.stdout[-3000:]
    assert shop.secret in on(MACHINE, f"cat {ENVIRONMENT_FILE}")
    on(MACHINE, "systemctl start speedtest-backup.service")  # it opens what it is for
    assert "snapshot" in on(MACHINE, "journalctl --unit speedtest-backup.service --output cat")
    told = [first.stdout, again.stdout, shop.log.read_text(), on(MACHINE, "journalctl --output export --all")]
    assert len(shop.log.read_text()) > 1000
    assert [len(text) for text in told if shop.secret in text] == []
    unlike_itself = f"[{shop.secret[0]}]{shop.secret[1:]}"  # sudo logs this very command
    kept = on(
        MACHINE, f"grep -rls '{unlike_itself}' /etc /var /opt /srv /home /root /tmp /run --exclude-dir=wheels; true"
    )
    assert kept.split() == [ENVIRONMENT_FILE]
    assert on(MACHINE, f"stat -c '%a %U' {ENVIRONMENT_FILE}").split()[0] == "600"


def test_the_vault_is_all_that_the_control_machine_keeps(shop):
    holding = [
        file for file in shop.folder.rglob("*") if file.is_file() and shop.secret in file.read_text(errors="replace")
    ]
    assert holding == []
