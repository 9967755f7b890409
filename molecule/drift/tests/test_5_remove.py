"""remove.yml takes everything off and keeps the data; with speedtest_purge the data go too; site.yml brings it back."""

from __future__ import annotations

from typing import Any

import pytest
from calls import assert_each_role_costs_little
from fleet import REST, attempt, measure_by_hand, on, playbook, query, recap, wait_until
from security import assert_sandboxed

NODE = "homelab"
PROGRAMS = [
    "/opt/speedtest-telemetry",
    "/etc/speedtest-telemetry",
    "/var/lib/speedtest-metrics",
    "/usr/local/bin/speedtest-logger",
    "/opt/speedtest-archive",
    "/usr/local/bin/speedtest-archive",
    "/usr/local/bin/speedtest-alerts",
    "/var/lib/speedtest-archive",
    "/var/lib/speedtest-backup",
    "/etc/speedtest-archive",
    "/opt/speedtest-dashboard",
    "/etc/speedtest-dashboard",
    "/usr/local/bin/speedtest-dashboard",
    "/opt/speedtest-database",
    "/etc/speedtest-database",
    "/usr/local/bin/speedtest-database",
    "/etc/postgresql-common/createcluster.d/speedtest.conf",
    "/etc/speedtest-front",
    "/etc/speedtest-target",
    "/srv/speedtest-target",
    "/var/log/speedtest-diag.log",
    "/etc/ssh/sshd_config.d/50-speedtest-archive.conf",
    "/srv/speedtest-archive/fleet/limits.env",
]
DATA = [
    "/var/lib/speedtest-telemetry/results",
    "/var/log/speedtest-telemetry",
    "/srv/speedtest-archive/archive",
    "/srv/speedtest-archive/alerts/state.json",
    "/srv/speedtest-archive/database/sync.json",
    "/var/lib/speedtest-database",
    "/var/lib/speedtest-dashboard",
    "/var/lib/speedtest-front/caddy/pki/authorities/local/root.crt",
]


def present(paths: list[str]) -> list[str]:
    """Those that are there, a link that leads nowhere too."""
    look = f"for path in {' '.join(paths)}; do if test -e $path -o -L $path; then echo $path; fi; done"
    return on(NODE, look).split()


def units() -> str:
    return on(
        NODE, "systemctl list-units --all --no-legend 'speedtest-*'; ls /etc/systemd/system | grep speedtest; true"
    ).strip()


def test_0_no_role_calls_a_machine_often_where_all_is_as_it_should_be():
    assert_each_role_costs_little()


def test_1_everything_goes_but_the_data():
    measure_by_hand(NODE)
    on(NODE, "systemctl start speedtest-alerts.service")
    assert query("SELECT count(*) AS n FROM records", NODE)[0]["n"] > 0
    done = playbook("playbooks/remove.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert present(PROGRAMS) == []
    assert units() == ""
    assert present(DATA) == DATA
    assert on(NODE, "ls /var/lib/speedtest-telemetry/outbox").strip() == ""


def test_2_a_second_removal_changes_nothing():
    done = playbook("playbooks/remove.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done)[NODE]["changed"] == 0


def test_3_site_brings_it_back_with_its_history():
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert query("SELECT count(*) AS n FROM records", NODE)[0]["n"] > 0


MAY_READ_THE_KEY = "chown speedtest-backup /etc/backup_key"
EVERYTHING = "SELECT * FROM records ORDER BY started_at, run_id"


@pytest.fixture(scope="module")
def backed_up() -> tuple[list[dict[str, Any]], str]:
    """Make a backup; the rows that it holds and what `verify` said of them."""
    on(NODE, "ssh-keygen -q -t ed25519 -N '' -f /etc/backup_key")
    on(NODE, "cat /etc/backup_key.pub >> /root/.ssh/authorized_keys")
    on(NODE, MAY_READ_THE_KEY)
    on(NODE, REST)
    on(NODE, "speedtest-logger push --force")  # what was on its way arrives before rows are looked at
    rows = query(EVERYTHING, NODE)
    on(NODE, "systemctl start speedtest-backup.service")
    wait_until("nothing stays linked", lambda: on(NODE, "ls /srv/speedtest-archive/work").strip() == "", 60)
    return rows, on(NODE, "speedtest-archive verify")


def test_4_0_who_nodes_log_in_as_has_neither_password_nor_repository(backed_up):
    mine = "runuser -u speedtest-archive -- "
    assert attempt(NODE, f"{mine}cat /etc/speedtest-archive/backup.env").returncode != 0
    assert attempt(NODE, f"{mine}cat /etc/backup_key").returncode != 0
    assert attempt(NODE, f"{mine}touch /srv/speedtest-archive/backups/last.json").returncode != 0
    assert "snapshot" in on(NODE, f"{mine}cat /srv/speedtest-archive/backups/last.json")
    saver = "runuser -u speedtest-backup -- "
    assert attempt(NODE, f"{saver}sh -c 'echo x >> /srv/speedtest-archive/manifest/open.jsonl'").returncode != 0
    assert_sandboxed(NODE)


def test_4_1_root_makes_one_by_hand(backed_up):
    before = on(NODE, "cat /srv/speedtest-archive/backups/last.json")
    on(NODE, "speedtest-archive backup")
    after = on(NODE, "cat /srv/speedtest-archive/backups/last.json")
    assert after != before
    assert on(NODE, "stat -c %U /srv/speedtest-archive/backups/last.json").strip() == "speedtest-backup"
    assert on(NODE, "ls /srv/speedtest-archive/work").strip() == ""


def test_4_2_a_spoiled_month_is_named_and_comes_back_from_the_backup(backed_up):
    rows, _ = backed_up
    month = on(NODE, "cd /srv/speedtest-archive/archive && ls */*/*/speedtest.parquet").split()[0]
    on(NODE, f"truncate --size=-1 /srv/speedtest-archive/archive/{month}")
    named = playbook("playbooks/status.yml")
    assert named.returncode != 0
    assert f"{month} cannot be read any more" in " ".join(named.stdout.split())
    on(NODE, f"speedtest-archive restore --file {month}")
    assert query(EVERYTHING, NODE) == rows
    assert "all is as the manifest says" in on(NODE, "speedtest-archive verify")
    places = "/srv/speedtest-archive/archive /srv/speedtest-archive/manifest /srv/speedtest-archive/quarantine"
    assert on(NODE, f"find {places} ! -user speedtest-archive") == ""


def test_5_0_purge_deletes_nothing_that_could_not_be_delivered(backed_up):
    on(NODE, "mv /usr/local/bin/speedtest-logger /root/the-logger")
    done = playbook("playbooks/remove.yml", "-e", "speedtest_purge=true")
    on(NODE, "mv /root/the-logger /usr/local/bin/speedtest-logger")
    assert done.returncode != 0
    assert "cannot be delivered, and speedtest_purge would delete them" in " ".join(done.stdout.split())
    kept = ["/var/lib/speedtest-telemetry/results", "/srv/speedtest-archive/archive"]
    assert present(kept) == kept


def test_5_1_purge_takes_the_data_too(backed_up):
    _, said = backed_up
    assert "all is as the manifest says" in said
    done = playbook("playbooks/remove.yml", "-e", "speedtest_purge=true")
    assert done.returncode == 0, done.stdout[-3000:]
    assert present([*PROGRAMS, *DATA, "/var/lib/speedtest-telemetry", "/srv/speedtest-archive"]) == []
    accounts = "speedtest speedtest-archive speedtest-backup speedtest-dashboard speedtest-front speedtest-target "
    accounts += "speedtest-database speedtest-postgresql"
    assert attempt(NODE, f"getent passwd {accounts}").stdout.strip() == ""


def test_6_a_backup_brings_it_all_back_into_an_empty_archive_host(backed_up):
    rows, said = backed_up
    done = playbook("playbooks/archive.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    on(NODE, MAY_READ_THE_KEY)  # the account is another one
    done = playbook("playbooks/restore.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert rows
    assert query(EVERYTHING, NODE) == rows
    assert on(NODE, "speedtest-archive verify") == said
    children = "archive inbox log-inbox logs manifest probe-inbox probes quarantine raw raw-inbox state work"
    assert on(NODE, f"cd /srv/speedtest-archive && find {children} ! -user speedtest-archive").strip() == ""


def test_7_a_restore_into_an_archive_with_records_is_refused():
    done = playbook("playbooks/restore.yml")
    assert done.returncode != 0
    assert "holds records: nothing was changed" in " ".join(done.stdout.split())
    assert on(NODE, "systemctl is-active speedtest-ingest.timer").strip() == "active"


def test_8_after_site_the_restored_archive_takes_deliveries():
    before = query("SELECT count(*) AS n FROM records", NODE)[0]["n"]
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    measure_by_hand(NODE)
    assert query("SELECT count(*) AS n FROM records", NODE)[0]["n"] > before
    assert "all is as the manifest says" in on(NODE, "speedtest-archive verify")
