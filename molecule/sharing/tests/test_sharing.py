"""A living archive becomes one that two hosts share, and one host's again: every slot is there once, whoever is out."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from fleet import LAB, anew, attempt, between_slots, ingest, lab, login, on, playbook, quoted, recap, wait_until

FIRST, SECOND = ARCHIVES = ("archive-1", "archive-2")
NODES = ("attic", "porch")
SHARE = "speedtest-share.service"
ADDRESS = "s3://measurements/records"
OUTBOX, KEPT = "/var/lib/speedtest-telemetry/outbox", "/root/kept"
STEAL = Path(__file__).resolve().parents[1] / "programs" / "steal.py"
CA_OF_ITS_OWN = (
    "req -x509 -newkey rsa:2048 -noenc -days 9 -subj /CN=lab -addext keyUsage=critical,keyCertSign,cRLSign "
    "-keyout ca.key -out ca.pem"
)
PARTS = ("ok", "partial", "failed", "skipped", "missed", "pending")
USERS = [
    {
        "name": "ada",
        "password": "scrypt$32768$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$Y8eYlUX7i0LQoHUbCxtmi+gjkMX3lyr5HKuyqeVm1IU=",
    }
]
OFF = {f"speedtest_{role}_state": "absent" for role in ("archive", "dashboard", "front")}
ALL_RUNS = "SELECT node, run_id, count(*) AS n FROM records GROUP BY ALL ORDER BY ALL"


class Stages:
    """The inventory as it is after each change; porch delivers over https where there are two hosts, attic by ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        openssl(folder, CA_OF_ITS_OWN)
        self.keys = {}
        for host in ARCHIVES:
            self.keys[host] = " ".join(on(host, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
            (folder / f"{host}.ext").write_text(f"subjectAltName=DNS:{host}\nauthorityKeyIdentifier=keyid\n")
            openssl(folder, f"req -newkey rsa:2048 -noenc -subj /CN={host} -keyout {host}.key -out {host}.csr")
            openssl(
                folder,
                f"x509 -req -in {host}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile {host}.ext "
                f"-out {host}.pem",
            )

    def write(self, name: str, hosts: dict[str, dict[str, Any]], *, shared: bool) -> tuple[str, str]:
        """Options of ansible-playbook for an inventory with these archive hosts; ssh alone where there are none."""
        group = {"speedtest_archive_shared": shared, "speedtest_archive_https_enabled": True}
        group["fleet_archive_ca"] = (self.folder / "ca.pem").read_text()
        archives = {host: {**self.of_host(host), **more} for host, more in hosts.items()}
        children: dict[str, Any] = {
            "speedtest_archive": {"hosts": archives, "vars": group},
            "speedtest_dashboard": {
                "hosts": {host: {} for host in archives},
                "vars": {"speedtest_dashboard_users": USERS},
            },
            "speedtest_front": {"hosts": {host: {} for host in archives}},
            "speedtest_nodes": {"hosts": {"porch": {"speedtest_logger_transport": "https"}}},
        }
        file = self.folder / f"{name}.yml"
        file.write_text(json.dumps({"all": {"children": children}}), encoding="utf-8")
        return "-i", str(file)

    def of_host(self, host: str) -> dict[str, Any]:
        """What an archive host has of its own."""
        return {
            "fleet_archive_host_key": self.keys[host],
            "speedtest_front_name": host,
            "speedtest_front_http_port": 8081,  # a prepared machine has nginx
            "speedtest_front_tls": "files",
            "speedtest_front_certificate_file": str(self.folder / f"{host}.pem"),
            "speedtest_front_key_file": str(self.folder / f"{host}.key"),
        }

    def shared(self) -> tuple[str, str]:
        """Both share."""
        return self.write("shared", {FIRST: {}, SECOND: {}}, shared=True)

    def shared_by_one(self) -> tuple[str, str]:
        """The first one is to share, and is the only one so far."""
        return self.write("one", {FIRST: {}}, shared=True)

    def taken_off(self) -> tuple[str, str]:
        """The second one is taken off."""
        return self.write("off", {FIRST: {}, SECOND: OFF}, shared=True)

    def alone(self) -> tuple[str, str]:
        """The first one has an archive of its own."""
        return self.write("alone", {FIRST: {}}, shared=False)


def openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, capture_output=True, check=True)


def run(name: str, *options: str) -> dict[str, dict[str, int]]:
    """Run a playbook that must succeed; what it did by host."""
    began = time.monotonic()
    done = playbook(name, *options)
    print(f"{name}: {time.monotonic() - began:.0f} s")
    assert done.returncode == 0, done.stdout[-6000:]
    return recap(done)


def assert_nothing_changes(*options: str) -> None:
    again = run("site.yml", *options)
    assert {host: counts["changed"] for host, counts in again.items()} == dict.fromkeys(again, 0)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return Stages(tmp_path_factory.mktemp("stages"))


def push(node: str) -> None:
    """Deliver what waits; the timer's own push may be under way."""
    on(node, "speedtest-logger push --force 2>&1")


def turn(host: str) -> dict[str, Any]:
    """How a turn went that began now; the timer's own may be under way."""
    on(host, anew(SHARE))
    found: dict[str, Any] = json.loads(on(host, "cat /srv/speedtest-archive/state/shared.json"))
    return found


def other_than(host: str) -> str:
    return next(other for other in ARCHIVES if other != host)


def runs(host: str) -> list[tuple[str, str, int]]:
    rows = json.loads(on(host, f"speedtest-archive query --format json {quoted(ALL_RUNS)}"))
    return [(row["node"], row["run_id"], row["n"]) for row in rows]


def measured() -> set[str]:
    """Runs of both nodes, measured now, that wait."""
    between_slots(*NODES)
    said = [on(node, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1") for node in NODES]
    return {json.loads(line)["run_id"] for line in said}


def keep() -> None:
    """What waits now will be delivered anew, as if no receipt had come."""
    for node in NODES:
        on(node, f"rm -rf {KEPT}; cp --archive {OUTBOX} {KEPT}")


def lose_receipts() -> None:
    for node in NODES:
        on(node, f"cp --archive --update=none {KEPT}/*.csv {OUTBOX}/ 2>/dev/null || cp -an {KEPT}/*.csv {OUTBOX}/")


def assert_both_hold_each_once(*wanted: str) -> None:
    """Both hosts have the same runs, those wanted among them, each once."""
    found: dict[str, Any] = {}

    def alike() -> bool:
        turns = [turn(host) for host in (*ARCHIVES, *ARCHIVES)]  # who leads takes in; then the other follows
        found.update({host: runs(host) for host in ARCHIVES})
        return turns[-1]["waiting"] == 0 and found[FIRST] == found[SECOND]

    wait_until("both hosts hold the same", alike, 120, FIRST)
    assert {n for _, _, n in found[FIRST]} == {1}
    assert set(wanted) <= {run_id for _, run_id, _ in found[FIRST]}


def assert_every_slot_is_there_once(host: str) -> None:
    """As far as slots have gone by; each that is there counts once, and none is missed."""
    covers: list[dict[str, Any]] = []

    def none_is_missed() -> bool:
        for node in NODES:
            push(node)
        if attempt(host, anew(SHARE)).returncode != 0:
            ingest(host)
        covers[:] = json.loads(on(host, "speedtest-archive coverage --format json --last 60min --grace 1min"))
        return all(cover["missed"] == 0 for cover in covers)

    wait_until("no slot is missed", none_is_missed, 120, host)
    print(covers)
    assert {cover["node"] for cover in covers} == set(NODES)
    for cover in covers:
        assert cover["expected"] == sum(cover[part] for part in PARTS)
        assert cover["ok"] > 0
    twice = "SELECT node, scheduled_at FROM records WHERE scheduled_at IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
    assert json.loads(on(host, f"speedtest-archive query --format json {quoted(twice)}")) == []


def test_1_a_living_archive_becomes_shared_and_a_second_run_changes_nothing(stages):
    before = measured()
    for node in NODES:
        push(node)
    waits = measured()  # is delivered while the archive changes, or after
    run("playbooks/share_archive.yml", *stages.shared())
    assert_nothing_changes(*stages.shared())
    for node in NODES:
        push(node)
    assert_both_hold_each_once(*before, *waits)
    assert 'SPEEDTEST_TRANSPORT="https"' in on("porch", "cat /etc/speedtest-telemetry/logger.env")


def test_2_one_is_out_and_receipts_are_lost(stages):
    """Nodes deliver to the other one, whichever they prefer and without a run; what comes twice counts once."""
    kept = measured()
    keep()
    for node in NODES:
        push(node)  # and the receipt is lost
    for out in ARCHIVES:
        lab("cut", LAB, out)
        try:
            lose_receipts()
            for node in NODES:
                push(node)
            said = playbook("playbooks/status.yml", *stages.shared())
        finally:
            lab("restore", LAB, out)
        assert said.returncode == 2, said.stdout
        assert f"{out}: unreachable" in said.stdout, said.stdout
        wait_until(f"{out} is there again", lambda out=out: attempt(out, "true").returncode == 0, 30)
    assert_both_hold_each_once(*kept)


def test_3_the_lease_is_stolen(stages):
    """Who had it follows from then on; nothing that it took in meanwhile is lost."""
    holder = turn(FIRST)["holder"]
    thief = other_than(holder)
    kept = measured()
    for node in NODES:
        push(node)
    on(holder, f"systemctl stop speedtest-share.timer; {anew(SHARE)}")
    more = measured()
    for node in NODES:
        push(node)
    stolen = subprocess.run(
        [*login(thief), "sudo /opt/speedtest-archive/venv/bin/python -I -"], input=STEAL.read_text(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert stolen.stdout.strip() == holder
    assert turn(thief)["leads"]
    on(holder, "systemctl start speedtest-share.timer")
    assert not turn(holder)["leads"]
    assert_both_hold_each_once(*kept, *more)
    assert_every_slot_is_there_once(thief)


def test_4_the_one_that_leads_is_out_for_long():
    """After five minutes the other one takes in what comes, after ten the fleet's status names the one that is out."""
    gone = turn(FIRST)["holder"]
    other = other_than(gone)
    lab("cut", LAB, gone)
    try:
        wait_until("the other one leads", lambda: turn(other)["leads"], 480, other, every=20)
        kept = measured()
        for node in NODES:
            push(node)
        assert_every_slot_is_there_once(other)
        assert kept <= {run_id for _, run_id, _ in runs(other)}
        wait_until("the fleet's status names it", lambda: is_named_as_out(gone, other), 480, other, every=20)
    finally:
        lab("restore", LAB, gone)
    wait_until(f"{gone} is there again", lambda: attempt(gone, "true").returncode == 0, 30)
    wait_until("it follows", lambda: follows(gone), 120, gone)
    assert_both_hold_each_once(*kept)
    assert not is_named_as_out(gone, other)


def is_named_as_out(host: str, by: str) -> bool:
    problems: list[str] = json.loads(on(by, "speedtest-archive fleet"))["problems"]
    return f"archive host {host} is out: nodes deliver to the others" in problems


def follows(host: str) -> bool:
    """It takes its turns again; one that began without a network may be under way."""
    taken = attempt(host, "systemctl start speedtest-share.service").returncode == 0
    return taken and not turn(host)["leads"]


def test_5_one_is_taken_off_and_the_other_has_its_archive_for_itself(stages):
    kept = measured()
    run("site.yml", *stages.taken_off())
    for node in NODES:
        push(node)
    more = measured()
    run("playbooks/unshare_archive.yml", *stages.alone())
    for node in NODES:
        push(node)
    assert_nothing_changes(*stages.alone())
    assert_every_slot_is_there_once(FIRST)
    found = runs(FIRST)
    assert {n for _, _, n in found} == {1}
    assert kept | more <= {run_id for _, run_id, _ in found}
    wait_until(
        "the table holds what the archive does",
        lambda: attempt(
            FIRST, f"{anew('speedtest-publish.service')} && speedtest-archive publish --check {ADDRESS}"
        ).returncode == 0,
        60, FIRST,
    )  # fmt: skip
    assert attempt(SECOND, "ls /usr/local/bin/speedtest-archive").returncode != 0


def test_6_it_shares_again_and_another_one_is_added_later(stages):
    """As the how-to has it: one shares first; whoever comes next brings the whole table."""
    before = {run_id for _, run_id, _ in runs(FIRST)}
    run("playbooks/share_archive.yml", *stages.shared_by_one())
    kept = measured()
    for node in NODES:
        push(node)
    run("site.yml", *stages.shared())
    more = measured()
    for node in NODES:
        push(node)
    assert_both_hold_each_once(*before, *kept, *more)
    assert_every_slot_is_there_once(SECOND)
