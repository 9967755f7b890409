"""The inventory is the truth: one node at a time, a node that is down, a node that leaves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from fleet import LAB, attempt, lab, on, playbook, recap

from speedtest_logger import errors

SCHEDULE = "/srv/speedtest-archive/fleet/schedule.json"
KEYS = "/var/lib/speedtest-archive/.ssh/authorized_keys"


def schedule() -> dict:
    return json.loads(on("archive", f"cat {SCHEDULE}"))["nodes"]


def test_limit_to_one_node_leaves_the_others_slots_and_access_alone():
    before, keys = schedule(), on("archive", f"cat {KEYS}")
    done = playbook("site.yml", "--limit", "porch", "-e", '{"speedtest_logger_raw_days": 29}')
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(recap(done)) == {"porch"}
    assert 'RAW_DAYS="29"' in on("porch", "cat /etc/speedtest-telemetry/logger.env")
    assert schedule() == before
    assert on("archive", f"cat {KEYS}") == keys
    done = playbook("site.yml", "--limit", "porch")
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_node_that_is_down_keeps_its_access_and_the_run_names_it():
    before, keys = schedule(), on("archive", f"cat {KEYS}")
    lab("stop", LAB, "shed")
    try:
        done = playbook("site.yml")
        assert done.returncode != 0
        assert recap(done)["shed"]["unreachable"] == 1
        assert all(
            counts["unreachable"] == counts["failed"] == 0 for host, counts in recap(done).items() if host != "shed"
        )
        assert schedule() == before
        assert on("archive", f"cat {KEYS}") == keys
        status = playbook("playbooks/status.yml")
        assert status.returncode != 0
        assert "shed: unreachable" in status.stdout
    finally:
        lab("start", LAB, "shed")
    on("shed", "speedtest-logger push --force")


@pytest.fixture
def without_shed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The inventory with shed taken out."""
    listed = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    inventory = yaml.safe_load(listed.read_text(encoding="utf-8"))
    for group in inventory.values():
        group.get("hosts", {}).pop("shed", None)
        for child in (group.get("children") or {}).values():
            (child or {}).get("hosts", {}).pop("shed", None)
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    for name in ("group_vars", "host_vars"):
        shutil.copytree(listed.parent / name, folder / name, ignore=shutil.ignore_patterns("shed*"))
    monkeypatch.setenv("MOLECULE_INVENTORY_FILE", str(folder / "hosts.yml"))


def test_a_node_that_leaves_the_inventory_can_no_longer_deliver(without_shed):
    before = schedule()
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "--node shed" not in on("archive", f"cat {KEYS}")
    refused = attempt("shed", "speedtest-logger measure --wait; speedtest-logger push --force")
    assert refused.returncode == errors.EXIT_DELIVERY, refused.stdout
    assert "Permission denied" in refused.stdout
    assert schedule()["shed"][-1]["valid_to"] is not None
    assert {node: history for node, history in schedule().items() if node != "shed"} == {
        node: history for node, history in before.items() if node != "shed"
    }
    on("porch", "speedtest-logger push --force")
