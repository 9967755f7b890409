"""Every managed thing is changed by hand: status.yml names it, site.yml puts it right, another run changes nothing."""

from __future__ import annotations

import pytest
from fleet import on, playbook, recap

NODE = "homelab"
MARK = "managed by Ansible: speedtest_"
DIRECTORIES = [
    "/opt/speedtest-telemetry",
    "/etc/speedtest-telemetry",
    "/var/lib/speedtest-telemetry/outbox",
    "/var/log/speedtest-telemetry",
    "/srv/speedtest-archive/inbox",
    "/var/lib/speedtest-archive/.ssh",
    "/srv/speedtest-target",
    "/opt/speedtest-archive",
]
LINKS = [
    "/opt/speedtest-telemetry/current",
    "/usr/local/bin/speedtest-logger",
    "/var/log/speedtest-diag.log",
    "/opt/speedtest-archive/current",
    "/opt/speedtest-archive/venv",
]
UNITS = [
    "speedtest-logger.timer",
    "speedtest-push.timer",
    "speedtest-ingest.timer",
    "speedtest-upkeep.timer",
    "speedtest-librespeed.service",
    "speedtest-iperf3@5201.service",
    "speedtest-iperf3@5202.service",
    "speedtest-stayawake.service",
]
KEYS = "/var/lib/speedtest-archive/.ssh/authorized_keys"
SCHEDULE = "/srv/speedtest-archive/state/schedule.json"
RELEASES = ["/opt/speedtest-telemetry/releases/0.1.0", "/opt/speedtest-archive/releases/0.1.0"]


def managed_files() -> list[str]:
    """All files that say that they are managed, and the one whose format has no comments."""
    found = on(NODE, f"grep -rlF '{MARK}' /etc /usr/local/bin").split()
    assert len(found) >= 10, found
    return [*found, "/etc/speedtest-telemetry/known_hosts"]


def state(paths: list[str]) -> str:
    """Content digest, owner, group and mode of paths."""
    words = " ".join(paths)
    return on(NODE, f"stat -c '%n %F %U %G %a' {words}; sha256sum {words} 2>/dev/null; true")


def status_names(*words: str) -> None:
    """status.yml fails and names each of these."""
    done = playbook("playbooks/status.yml")
    assert done.returncode != 0, done.stdout
    text = " ".join(done.stdout.split())
    assert [word for word in words if f"inventory: {word}" not in text and f"{word}:" not in text] == []


def put_right() -> None:
    """site.yml repairs, and then has nothing to do."""
    first = playbook("site.yml")
    assert first.returncode == 0, first.stdout[-3000:]
    assert recap(first)[NODE]["changed"] > 0
    again = playbook("site.yml")
    assert recap(again)[NODE]["changed"] == 0, again.stdout[-3000:]


@pytest.mark.parametrize("change", ["echo '# by hand' >>", "chmod 0666", "chown nobody", "rm"])
def test_files(change):
    files = managed_files()
    before = state(files)
    for file in files:
        on(NODE, f"{change} {file}")
    status_names(*files)
    put_right()
    assert state(files) == before


def test_directories():
    before = state(DIRECTORIES)
    on(NODE, f"chmod 0777 {' '.join(DIRECTORIES)}; chown nobody {' '.join(DIRECTORIES)}")
    status_names(*DIRECTORIES)
    put_right()
    assert state(DIRECTORIES) == before


def test_links():
    before = [on(NODE, f"readlink {link}") for link in LINKS]
    for link in LINKS:
        on(NODE, f"ln -sfn /nowhere {link}")
    status_names(*LINKS)
    put_right()
    assert [on(NODE, f"readlink {link}") for link in LINKS] == before


@pytest.mark.parametrize(("verb", "word"), [("stop", "is-active"), ("disable", "is-enabled")])
def test_units(verb, word):
    on(NODE, f"systemctl {verb} {' '.join(UNITS)}")
    status_names(*(f"unit {unit}" for unit in UNITS))
    put_right()
    assert set(on(NODE, f"systemctl {word} {' '.join(UNITS)}").split()) <= {"active", "enabled"}


def test_servers_that_the_inventory_names_no_longer():
    all_of_them = ["speedtest-iperf3@5201.service", "speedtest-iperf3@5202.service", "speedtest-librespeed.service"]
    on(NODE, "systemctl enable --quiet --now speedtest-iperf3@5299.service")
    status_names("unit speedtest-iperf3@5299.service is still there")
    assert targets() > 0
    assert servers() == all_of_them
    fewer = '{"speedtest_target_iperf3_ports": [5202], "speedtest_target_librespeed_port": 0}'
    assert targets("--extra-vars", fewer) > 0
    assert targets("--extra-vars", fewer) == 0
    assert servers() == ["speedtest-iperf3@5202.service"]
    assert on(NODE, "ls -A /srv/speedtest-target; ls -A /etc/speedtest-target") == ""
    assert targets() > 0
    assert servers() == all_of_them
    on(NODE, f"systemctl is-active {' '.join(all_of_them)}")


def targets(*options: str) -> int:
    """How many changes the targets needed."""
    done = playbook("playbooks/targets.yml", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return recap(done)[NODE]["changed"]


def servers() -> list[str]:
    """iperf3 servers that run or start with the machine, and LibreSpeed's."""
    names = "'speedtest-iperf3@*' speedtest-librespeed.service"
    running = on(NODE, f"systemctl list-units --all --plain --no-legend {names}")
    enabled = on(
        NODE, "cd /etc/systemd/system/multi-user.target.wants && ls | grep -E 'speedtest-(iperf3@|librespeed)'"
    )
    return sorted({line.split()[0] for line in [*running.splitlines(), *enabled.splitlines()]})


@pytest.mark.parametrize(
    "damage",
    [
        "echo 'raise SystemExit' >> {}/speedtest_logger/cli.py",
        "rm {}/speedtest_logger/log.py",
        "touch {}/speedtest_logger/extra.py",
        "chmod 0777 {}/bin/speedtest-logger",
    ],
)
def test_releases(damage):
    for release in RELEASES:
        on(NODE, damage.format(release))
    status_names(*RELEASES)
    put_right()
    on(NODE, "speedtest-logger --version && speedtest-archive --version")


def test_accounts():
    for account in ("speedtest", "speedtest-archive", "speedtest-target"):
        on(NODE, f"usermod -s /bin/bash {account}")
    status_names("account speedtest", "account speedtest-archive", "account speedtest-target")
    put_right()
    assert on(NODE, "getent passwd speedtest").strip().endswith("/usr/sbin/nologin")
    # the services too: an account whose process runs cannot be removed
    on(NODE, "systemctl stop 'speedtest-logger.*' 'speedtest-push.*' && userdel speedtest")
    status_names("account speedtest")
    put_right()
    on(NODE, "speedtest-logger measure --wait")


def test_foreign_and_missing_keys_in_the_archive():
    before = on(NODE, f"cat {KEYS}")
    on(NODE, f"echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgYnkgbm9ib2R5IGF0IGFsbCwgYnkgaGFuZA by-hand' >> {KEYS}")
    status_names("authorized_keys")
    put_right()
    assert on(NODE, f"cat {KEYS}") == before
    on(NODE, f"rm {KEYS}; chmod 0644 {SCHEDULE}")
    status_names("authorized_keys", "schedule")
    put_right()
    assert on(NODE, f"cat {KEYS}") == before
    assert on(NODE, f"stat -c %a {SCHEDULE}").strip() == "640"


def test_a_package_that_was_removed_comes_back():
    on(NODE, "systemctl stop 'speedtest-iperf3@*'; apt-get -qq -y remove iperf3 >/dev/null")
    status_names("package iperf3 is missing")
    put_right()
    on(NODE, "iperf3 --version")
