"""A node that no run connects to is watched where it is said how to reach it: its exporter comes by a bundle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fleet import attempt, login, on, playbook, wait_until
from prometheus import values

NODE, WATCHER, SERVED = "porch", "watch", "/srv/bundles"
DROP_IN = "/etc/systemd/system/prometheus-node-exporter.service.d/speedtest.conf"
NOWHERE = "192.0.2.1"  # TEST-NET-1: no connection comes there


class Inventory:
    """The scenario's, and more: a node that pulls from a folder of its own, as from a USB stick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "owner"], check=True)

    def run(self, name: str, *options: str, **more: Any) -> str:
        node = {
            "speedtest_logger_converge": "pull",
            "speedtest_logger_pull_url": f"file://{SERVED}",
            "speedtest_logger_pull_signers": [(self.folder / "owner.pub").read_text(encoding="utf-8").strip()],
            **more,
        }
        everyone = {
            "speedtest_pull_signing_key": str(self.folder / "owner"),
            "speedtest_pull_dir": str(self.folder / "bundles"),
        }
        listed = {"all": {"vars": everyone, "children": {"speedtest_nodes": {"hosts": {NODE: node}}}}}
        file = self.folder / "pulled.yml"
        file.write_text(json.dumps(listed), encoding="utf-8")
        done = playbook(name, *options, "-i", str(file))
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def bring(self, **more: Any) -> dict[str, Any]:
        """A new bundle, carried to the node, and what came of it."""
        self.run("playbooks/bundle.yml", ansible_host=NOWHERE, **more)
        packed = subprocess.run(
            ["tar", "--create", "--directory", self.folder / "bundles", "."], capture_output=True, check=True
        ).stdout
        carried = f"sudo mkdir -p {SERVED} && sudo tar --extract --no-same-owner --directory {SERVED}"
        subprocess.run([*login(NODE), carried], input=packed, check=True)
        on(NODE, "systemctl start speedtest-converge.service || { journalctl -u speedtest-converge -n 30; false; }")
        return json.loads(on(NODE, "speedtest-converge status"))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory):
    made = Inventory(tmp_path_factory.mktemp("pulled"))
    made.run("playbooks/enrol.yml", "--limit", NODE)
    yield made
    assert playbook("site.yml").returncode == 0  # pushed to again
    on(NODE, f"rm -r {SERVED}")


def up() -> list[float]:
    return [value for _, value in values(f'up{{job="speedtest-node",node="{NODE}"}}', WATCHER)]


def test_without_an_address_it_has_none_and_is_not_asked(inventory):
    assert inventory.bring()["error"] == ""
    assert attempt(NODE, f"test -e {DROP_IN}").returncode != 0
    assert attempt(NODE, "systemctl is-active prometheus-node-exporter").returncode != 0
    inventory.run("playbooks/monitoring.yml", ansible_host=NOWHERE)
    wait_until("nobody asks it", lambda: not up(), 60, WATCHER)


def test_with_one_it_comes_by_the_bundle_and_answers(inventory):
    reached = {"speedtest_monitoring_exporter_address": NODE}
    assert inventory.bring(**reached)["error"] == ""
    inventory.run("playbooks/monitoring.yml", ansible_host=NOWHERE, **reached)
    wait_until("it answers", lambda: up() == [1.0], 60, WATCHER)
    assert inventory.bring(**reached)["changed"] == 0
    on(NODE, f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart prometheus-node-exporter")
    assert inventory.bring(**reached)["changed"] > 0
    on(NODE, f"test -e {DROP_IN}")
    wait_until("it answers", lambda: up() == [1.0], 60, WATCHER)
