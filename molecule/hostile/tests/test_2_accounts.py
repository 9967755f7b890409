"""Service accounts, a node's and the archive host's, plant links, pipes, sockets … at every name that they can.

Then root runs what root runs. HOSTILE_ROUNDS=all plants every kind at every depth, one kind a round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import planting
import pytest
from fleet import attempt, on, playbook, recap
from planting import Round

from plugins.lookup import release
from speedtest_logger import __version__

HUB, MALLORY = "hub", "mallory"
HOSTS = [HUB, MALLORY]
SECONDS = 600
OTHER = "99.0.0"
KINDS = ["link", "pipe", "socket", "hard_link", "device", "folder", "endless", "mixed"]
ALL_ROUNDS = [(depth, kind) for kind in KINDS for depth in ("shallow", "deep")]
ROUNDS = ALL_ROUNDS if os.environ.get("HOSTILE_ROUNDS") == "all" else [("deep", "link"), ("deep", "pipe")]
# the verbs that look at what lies in the archive must notice it
NOTICE = ("verify", "fleet")


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """A backup and a month to bring back; the programs."""
    planting.prepare(HOSTS)
    on(HUB, "systemctl start speedtest-ingest.service; systemctl start speedtest-backup.service")
    on(HUB, "rm -f /srv/speedtest-archive/state/receive-mallory.json")  # its key's attack is over; the tokens are back


def month() -> str:
    return on(HUB, "cd /srv/speedtest-archive/archive && ls -d location=home/*/*/speedtest.parquet").split()[-1]


@pytest.fixture(scope="module", params=ROUNDS, ids=["-".join(each) for each in ROUNDS])
def planted_round(request: pytest.FixtureRequest) -> Round:
    """Plant, let root run everything, put it back."""
    depth, kind = request.param
    commands = {MALLORY: planting.logger_commands(), HUB: planting.archive_commands(month())}
    plays = {"playbooks/status.yml": [], "site.yml": ["--limit", f"{HUB},{MALLORY}"]}
    return planting.a_round(depth, kind, commands, plays)


def test_accounts_planted_where_they_can(planted_round):
    assert all(len(paths) >= 20 for paths in planted_round.planted.values()), planted_round.planted


def test_nothing_outside_changed(planted_round):
    assert planted_round.changed == []


def test_no_command_hung(planted_round):
    assert [where for where, (code, _) in planted_round.said.items() if code in planting.KILLED] == []


def test_nothing_of_roots_was_told(planted_round):
    assert {
        where: planting.tells(text) for where, (_, text) in planted_round.said.items() if planting.tells(text)
    } == {}


def test_no_command_broke_down(planted_round):
    """An error is words for a person, no Python's."""
    assert {where: text[-1500:] for where, (_, text) in planted_round.said.items() if "Traceback (most" in text} == {}


def test_the_status_says_what_it_found(planted_round):
    code, text = planted_round.said["control", "playbooks/status.yml"]
    assert code != 0
    assert planting.names_a_path(text, planted_round.planted[HUB]), text[-3000:]
    assert planting.names_a_path(text, planted_round.planted[MALLORY]), text[-3000:]


def test_who_reads_the_archive_says_what_was_found(planted_round):
    for (host, command), (code, text) in planted_round.said.items():
        if host == HUB and command.startswith(tuple(f"speedtest-archive {verb}" for verb in NOTICE)):
            assert code != 0 or planting.names_a_path(text, planted_round.planted[HUB]), (command, text[-1000:])


def test_all_is_well_when_they_are_gone():
    """What was put back is as it was: nothing was repaired, so nothing is owed."""
    done = playbook("site.yml", seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (
        planting.as_root({HUB: ["speedtest-archive verify"], MALLORY: ["speedtest-logger status"]})[
            HUB, "speedtest-archive verify"
        ][0]
        == 0
    )


def allowed(account: str, command: str) -> bool:
    return attempt(HUB, f"runuser -u {account} -- sh -c '{command}'").returncode == 0


def test_the_archives_account_holds_no_more_than_it_should():
    """It lets no key in, changes nothing that the inventory says, and neither reads backup.env nor the repository."""
    for file in ("/var/lib/speedtest-archive/.ssh/authorized_keys", "/srv/speedtest-archive/fleet/schedule.json"):
        assert not allowed("speedtest-archive", f"mv {file} {file}.gone || echo x >> {file}"), file
    assert not allowed("speedtest-archive", "touch /srv/speedtest-archive/fleet/x || touch /srv/speedtest-archive/x")
    assert not allowed("speedtest-archive", "head -c 1 /etc/speedtest-archive/backup.env")
    assert not allowed("speedtest-archive", "ls /srv/speedtest-backups/snapshots")


def test_the_backups_account_cannot_change_the_archive():
    for place in ("archive", "manifest", "inbox", "state", "fleet"):
        assert not allowed("speedtest-backup", f"touch /srv/speedtest-archive/{place}/x"), place


@pytest.fixture(
    params=[
        (MALLORY, "/var/lib/speedtest-telemetry", "speedtest"),
        (HUB, "/srv/speedtest-archive", "speedtest-archive"),
    ]
)
def children(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A machine that an account had in its hands under an earlier version: its folders are links."""
    host, top, account = request.param
    places = on(host, f"find {top} -mindepth 1 -maxdepth 1 -type d -user {account}").split()
    planting.keep_fingerprint(HOSTS)
    on(host, "; ".join(f"mv {place} {place}.kept; ln -s /usr/local/bin {place}" for place in places))
    yield places
    on(host, "; ".join(f"rm {place}; mv {place}.kept {place}" for place in places))


def test_folders_that_are_links_are_named_and_left_alone(children):
    seen = playbook("playbooks/status.yml", seconds=SECONDS)
    done = playbook("site.yml", seconds=SECONDS)
    assert planting.changed_outside(HOSTS) == []
    assert len(children) >= 5
    for name, run in (("status", seen), ("site", done)):
        assert run.returncode != 0, name
        told = " ".join(run.stdout.split())
        assert [place for place in children if f"{place}: is a link" not in told] == [], name


@pytest.fixture(scope="module")
def other_release(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The checkout's release under another version."""
    folder: Path = tmp_path_factory.mktemp("dist")
    files = release.contents()
    content, executable = files["speedtest_logger/__init__.py"]
    files["speedtest_logger/__init__.py"] = content.replace(__version__.encode(), OTHER.encode()), executable
    (folder / f"speedtest-logger-{OTHER}.tar.gz").write_bytes(release.build(files))
    variables: dict[str, Any] = {
        "speedtest_logger_version": OTHER,
        "speedtest_logger_artifact_dir": folder,
        "speedtest_logger_upgrade_proved": "false",
    }
    return [word for name, value in variables.items() for word in ("--extra-vars", f"{name}={value}")]


def test_an_upgrade_and_the_way_back(other_release):
    planting.keep_fingerprint(HOSTS)
    planting.plant([MALLORY], "deep", "link")
    try:
        there = playbook("site.yml", "--limit", MALLORY, *other_release, seconds=SECONDS)
        back = playbook("playbooks/rollback.yml", "--limit", MALLORY, seconds=SECONDS)
        assert planting.changed_outside(HOSTS, but_ours=True) == []
        assert planting.tells(there.stdout + back.stdout) == []
    finally:
        planting.undo([MALLORY])
    done = playbook("site.yml", seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    again = playbook("site.yml", seconds=SECONDS)
    assert recap(again)[MALLORY]["changed"] == 0, again.stdout[-6000:]
