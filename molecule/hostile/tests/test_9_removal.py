"""Accounts plant at every name once more; then an archive is restored, and everything is taken off with its data."""

from __future__ import annotations

import planting
from fleet import attempt, on, playbook

HUB, MALLORY = "hub", "mallory"
HOSTS = [HUB, MALLORY]
SECONDS = 600
ROOT = "/srv/speedtest-archive"


def test_1_a_restore_goes_where_it_should_or_says_why_not():
    on(HUB, "systemctl stop 'speedtest-*.timer'; systemctl start speedtest-ingest.service speedtest-backup.service")
    on(HUB, f"rm -rf {ROOT}/archive/* {ROOT}/manifest/* {ROOT}/inbox/*")
    planting.keep_fingerprint([HUB])
    planted = planting.plant([HUB], "shallow", "link", but="speedtest-backup")  # it could spoil the repository itself
    done = playbook("playbooks/restore.yml", seconds=SECONDS)
    assert planting.changed_outside([HUB]) == []
    assert planting.tells(done.stdout) == []
    if done.returncode == 0:
        assert "all is as the manifest says" in on(HUB, "speedtest-archive verify 2>&1")
    else:
        assert planting.names_a_path(done.stdout, planted[HUB]), done.stdout[-3000:]
    planting.undo([HUB])


def test_2_removal_with_all_data():
    planting.keep_fingerprint(HOSTS)
    planting.plant(HOSTS, "deep", "mixed")
    done = playbook(
        "playbooks/remove.yml", "--limit", f"{HUB},{MALLORY}", "-e", "speedtest_purge=true", seconds=SECONDS
    )
    assert planting.changed_outside(HOSTS, but_ours=True) == []
    assert planting.tells(done.stdout) == []
    if done.returncode != 0:  # what waits cannot be delivered any more: that is said, and nothing of it was deleted
        assert attempt(MALLORY, "test -d /var/lib/speedtest-telemetry").returncode == 0
