"""Every managed thing is changed by hand: status.yml names it, site.yml puts it right, another run changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fleet import REST, on, playbook, quoted, recap

from speedtest_logger import __version__

NODE = "homelab"
MARK = "managed by Ansible: speedtest_"
DIRECTORIES = [
    "/opt/speedtest-telemetry",
    "/etc/speedtest-telemetry",
    "/var/lib/speedtest-telemetry",
    "/var/lib/speedtest-telemetry/outbox",
    "/var/log/speedtest-telemetry",
    "/var/lib/speedtest-metrics",
    "/srv/speedtest-archive",
    "/srv/speedtest-archive/inbox",
    "/srv/speedtest-archive/fleet",
    "/var/lib/speedtest-archive/.ssh",
    "/srv/speedtest-target",
    "/opt/speedtest-archive",
    "/opt/speedtest-dashboard",
    "/etc/speedtest-dashboard",
    "/var/lib/speedtest-dashboard",
    "/etc/speedtest-front",
    "/var/lib/speedtest-front",
]
LINKS = [
    "/opt/speedtest-telemetry/current",
    "/usr/local/bin/speedtest-logger",
    "/var/log/speedtest-diag.log",
    "/opt/speedtest-archive/current",
    "/opt/speedtest-archive/venv",
    "/opt/speedtest-dashboard/current",
    "/opt/speedtest-dashboard/venv",
]
UNITS = [
    "speedtest-logger.timer",
    "speedtest-push.timer",
    "speedtest-probe.timer",
    "speedtest-ingest.timer",
    "speedtest-upkeep.timer",
    "speedtest-journal.timer",
    "speedtest-dashboard.service",
    "speedtest-front.service",
    "speedtest-librespeed.service",
    "speedtest-iperf3@5201.service",
    "speedtest-iperf3@5202.service",
    "speedtest-stayawake.service",
]
ACCOUNTS = ["speedtest", "speedtest-archive", "speedtest-dashboard", "speedtest-front", "speedtest-target"]
KEYS = "/var/lib/speedtest-archive/.ssh/authorized_keys"
SCHEDULE = "/srv/speedtest-archive/fleet/schedule.json"
RELEASES = [f"/opt/speedtest-{name}/releases/{__version__}" for name in ("telemetry", "archive", "dashboard")]
USERS = "/etc/speedtest-dashboard/users.json"
FOREIGN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgYnkgbm9ib2R5IGF0IGFsbCwgYnkgaGFuZA by-hand"
# what is done to which things at once; none of it hides another of the same round
ROUNDS = {
    "content": {
        "files": "echo '# by hand' >>{}",
        "releases": "echo 'raise SystemExit' >>{}/speedtest_logger/node/cli.py",
        "keys": f"echo '{FOREIGN_KEY}' >>{{}}",
    },
    "access": {
        "files": "chown nobody {0} && chmod 0666 {0}",
        "directories": "chown nobody {0} && chmod 0777 {0}",
        "releases": "chmod 0777 {}/bin/speedtest-logger",
        "schedule": "chmod 0644 {}",
        "links": "ln -sfn /nowhere {}",
        "units": "systemctl disable --quiet {}",
        "accounts": "usermod --shell /bin/bash {}",
    },
    "missing": {"files": "rm {}", "releases": "rm {}/speedtest_logger/log.py", "keys": "rm {}"},
    "stopped": {"units": "systemctl stop {}"},
    "removed": {
        # an account whose process runs cannot be removed
        "account": f"{REST} && systemctl stop speedtest-probe.timer && systemctl stop speedtest-probe.service && "
        "userdel {}",
        "package": "systemctl stop 'speedtest-iperf3@*' && apt-get -qq -y remove {} >/dev/null",
        "releases": "touch {}/speedtest_logger/extra.py",
    },
}
# what status.yml has to name of a thing where a round changes more of it than one
NAMED = {
    ("access", "files"): r" owner is nobody, not \S+, mode is 0666, not ",
    ("access", "directories"): r" owner is nobody, not \S+, mode is \d777, not ",
}


@pytest.fixture(scope="module")
def things() -> dict[str, dict[str, str]]:
    """What is changed by hand, by kind, each with the words that status.yml has for it."""
    says_so = on(NODE, f"grep -rlF '{MARK}' /etc /usr/local/bin /srv/speedtest-archive/fleet").split()
    assert len(says_so) >= 10, says_so
    return {
        "files": {file: f"inventory: {file}:" for file in [*says_so, "/etc/speedtest-telemetry/known_hosts", USERS]},
        "directories": {directory: f"inventory: {directory}:" for directory in DIRECTORIES},
        "links": {link: f"inventory: {link}:" for link in LINKS},
        "releases": {release: f"inventory: {release}" for release in RELEASES},
        "units": {unit: f"inventory: unit {unit}" for unit in UNITS},
        "accounts": {account: f"inventory: account {account}" for account in ACCOUNTS},
        "account": {"speedtest": "inventory: account speedtest"},
        "package": {"iperf3": "inventory: package iperf3 is missing"},
        "keys": {KEYS: "inventory: authorized_keys"},
        "schedule": {SCHEDULE: "inventory: schedule"},
    }


def state(files: list[str]) -> list[str]:
    """Everything that the tests change: content, owner, group, mode, where links lead, what runs and is installed."""
    paths = " ".join([*files, *DIRECTORIES, *LINKS, KEYS, SCHEDULE])
    inside = f"find {' '.join(RELEASES)} -not -name __pycache__ -not -name '*.pyc'"
    commands = (
        f"stat --format '%N %F %U %G %a' {paths}",
        f"sha256sum {' '.join(files)} {KEYS} {SCHEDULE}",
        f"{inside} -printf '%p %u %g %m\\n' | sort",
        f"{inside} -type f -exec sha256sum {{}} + | sort",
        f"systemctl is-enabled {' '.join(UNITS)} | paste -s",
        f"systemctl is-active {' '.join(UNITS)} | paste -s",
        f"getent passwd {' '.join(ACCOUNTS)}",
        "dpkg-query --show iperf3",
    )
    return on(NODE, " && ".join(commands)).splitlines()


# says which program, as what runs it names it, was not there for a moment
PROGRAMS = {
    "telemetry": "speedtest-logger",
    "archive": "speedtest-archive",
    "dashboard": "speedtest-dashboard",
}
WATCH = f"""import os
while True:
    for path in {[f"/opt/speedtest-{place}/current/bin/{name}" for place, name in PROGRAMS.items()]}:
        if not os.path.exists(path):
            print(path, flush=True)
"""


@contextmanager
def watched() -> Iterator[set[str]]:
    """What is missed at any time meanwhile, once it is over."""
    missed: set[str] = set()
    on(NODE, f"systemd-run --quiet --collect --unit=watch --property=Nice=5 python3 -c {quoted(WATCH)}")
    try:
        yield missed
        assert on(NODE, "systemctl is-active watch").strip() == "active"
        on(NODE, "systemctl stop watch")
        # grep finds nothing where nothing was missed
        missed.update(on(NODE, "journalctl --quiet --output=cat --unit=watch | grep ^/opt/ || true").split())
    finally:
        on(NODE, "systemctl stop watch", check=False)


def named(things: dict[str, dict[str, str]], name: str) -> None:
    """Harm is done as in a round: status.yml names all of it."""
    harms = ROUNDS[name]
    on(NODE, " && ".join(harm.format(thing) for kind, harm in harms.items() for thing in things[kind]))
    status = playbook("playbooks/status.yml")
    assert status.returncode != 0, status.stdout
    said = " ".join(status.stdout.split())
    wanted = [re.escape(words) + NAMED.get((name, kind), "") for kind in harms for words in things[kind].values()]
    assert [words for words in wanted if not re.search(words, said)] == [], said


def put_right() -> None:
    """By one run of site.yml."""
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", [name for name in ROUNDS if name != "removed"])
def test_what_is_changed_by_hand_is_named_and_put_right(things, name):
    before = state(list(things["files"]))
    named(things, name)
    put_right()
    assert state(list(things["files"])) == before


def test_what_is_removed_comes_back_and_a_damaged_release_is_never_missed(things):
    """Whatever starts while a run puts it right finds a program: a timer, or an owner."""
    before = state(list(things["files"]))
    releases = on(NODE, f"stat --format %i {' '.join(RELEASES)}").split()
    named(things, "removed")
    with watched() as missed:
        put_right()
    assert state(list(things["files"])) == before
    assert set(on(NODE, f"stat --format %i {' '.join(RELEASES)}").split()) & set(releases) == set(), "they are new"
    assert on(NODE, "ls -d /opt/speedtest-*/releases/* && ls /opt/speedtest-*/current/bin").count(".new") == 0
    assert missed == set()


def test_all_programs_work_and_another_run_changes_nothing():
    on(NODE, "speedtest-logger --version && speedtest-archive --version && speedtest-logger measure --wait")
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done)[NODE]["changed"] == 0, done.stdout[-3000:]


def test_servers_that_the_inventory_names_no_longer():
    all_of_them = ["speedtest-iperf3@5201.service", "speedtest-iperf3@5202.service", "speedtest-librespeed.service"]
    on(NODE, "systemctl enable --quiet --now speedtest-iperf3@5299.service")
    named = playbook("playbooks/status.yml")
    assert "unit speedtest-iperf3@5299.service is still there" in " ".join(named.stdout.split())
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
