"""A node that nobody can reach is brought by its bundles, and shown; pushed to again, it has no trace of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from containers import CONTAINER, health, inspect
from fleet import REST, attempt, login, on, playbook, query, recap, wait_until

from speedtest_logger import __version__

NODE, SERVED, PORT = "shed", "/srv/speedtest-bundles", 8099
NOWHERE = "192.0.2.1"  # TEST-NET-1: no connection comes there
OWN = ("/etc/speedtest-converge", "/var/lib/speedtest-converge", "/usr/local/bin/speedtest-converge")
MANAGED = (
    "/etc/speedtest-telemetry /etc/systemd/system/speedtest-* /opt/speedtest-telemetry /var/lib/speedtest-telemetry"
)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory):
    """The scenario's inventory with more variables: of the node, and of all."""
    folder = tmp_path_factory.mktemp("pull")
    given = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "owner"], check=True)
    hosts = yaml.safe_load(given.read_text(encoding="utf-8"))
    everyone = {"speedtest_pull_signing_key": str(folder / "owner"), "speedtest_pull_dir": str(folder / "bundles")}
    pulling = {
        "speedtest_logger_converge": "pull",
        "speedtest_logger_pull_url": f"http://archive:{PORT}",
        "speedtest_logger_pull_signers": [(folder / "owner.pub").read_text(encoding="utf-8").strip()],
        "speedtest_logger_pull_interval_seconds": 86_400,  # each run is the test's own
    }
    patched = pytest.MonkeyPatch()
    patched.setenv("MOLECULE_INVENTORY_FILE", str(folder / "hosts.yml"))
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    for directory in ("group_vars", "host_vars"):
        (folder / directory).mkdir()
        for file in (given.parent / directory).iterdir():
            (folder / directory / file.name).symlink_to(file)

    def give(**node: object) -> None:
        for name in (NODE, f"{NODE}.yml"):
            (folder / "host_vars" / name).unlink(missing_ok=True)
        known = next((given.parent / "host_vars").glob(f"{NODE}*"), None)
        kept = yaml.safe_load(known.read_text(encoding="utf-8")) if known else {}
        text = yaml.safe_dump({**kept, **everyone, **node})
        (folder / "host_vars" / f"{NODE}.yml").write_text(text, encoding="utf-8")
        archive = {"speedtest_pull_served_dir": SERVED}
        listed = next((given.parent / "host_vars").glob("archive*"), None)
        kept = yaml.safe_load(listed.read_text(encoding="utf-8")) if listed else {}
        for name in ("archive", "archive.yml"):
            (folder / "host_vars" / name).unlink(missing_ok=True)
        (folder / "host_vars" / "archive.yml").write_text(yaml.safe_dump({**kept, **archive}), encoding="utf-8")

    yield lambda **more: give(**{**pulling, **more})
    give()
    patched.undo()


@pytest.fixture(scope="module")
def served():
    """A web server on the archive host."""
    on("archive", f"mkdir -p {SERVED} && systemd-run --unit bundles python3 -m http.server -d {SERVED} {PORT}")
    yield
    on("archive", f"systemctl stop bundles; rm -rf {SERVED}")


def run(name: str, *options: str) -> str:
    done = playbook(name, *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def converge() -> dict[str, object]:
    on(NODE, "systemctl start speedtest-converge.service || { journalctl -u speedtest-converge -n 30; false; }")
    return json.loads(on(NODE, "speedtest-converge status"))


def state() -> str:
    """All managed files: names, owners, modes and contents."""
    command = (
        f"find {MANAGED} -not -path '*/__pycache__*' -not -path '*/var/lib/*/*/*' -printf '%p %u %g %m %y %l\\n' "
        "| grep -v converge | sort; find /etc/speedtest-telemetry /etc/systemd/system/speedtest-* -type f "
        "-not -name '*converge*' -exec sha256sum {} + | sort"
    )
    return on(NODE, command)


def test_what_was_pushed_is_what_its_bundle_says(inventory, served):
    pushed = state()
    inventory()
    run("playbooks/enrol.yml", "--limit", NODE)
    assert state() == pushed
    assert on(NODE, "systemctl is-active speedtest-converge.timer").strip() == "active"
    score = on(NODE, "systemd-analyze security --no-pager speedtest-converge.service").strip().splitlines()[-1]
    print(score)
    run("playbooks/bundle.yml")
    assert converge()["changed"] == 0
    assert state() == pushed


def test_a_change_reaches_a_node_that_nobody_can_reach(inventory):
    inventory(ansible_host=NOWHERE, speedtest_logger_push_interval="2min", speedtest_logger_stayawake_enabled=True)
    run("playbooks/bundle.yml")
    first = converge()
    assert first["error"] == ""
    assert first["changed"] > 2
    assert 'SPEEDTEST_PUSH_INTERVAL_SECONDS="120"' in on(NODE, "cat /etc/speedtest-telemetry/logger.env")
    assert on(NODE, "systemctl is-active speedtest-stayawake.service").strip() == "active"
    assert converge()["changed"] == 0


def test_what_was_changed_by_hand_the_node_puts_right_by_itself(inventory):
    wanted = state()
    code = "/opt/speedtest-telemetry/current/speedtest_logger/__init__.py"
    on(NODE, REST)
    on(NODE, f"echo '# by hand' >> {code}; dpkg --remove --force-depends iperf3; userdel speedtest")
    on(NODE, "rm /etc/systemd/system/speedtest-push.timer; chmod 777 /etc/speedtest-telemetry/logger.env")
    assert converge()["changed"] > 5
    assert state() == wanted
    assert "by hand" not in on(NODE, f"cat {code}")
    assert on(NODE, "command -v iperf3; id -u speedtest").split() == ["/usr/bin/iperf3", "471"]
    assert on(NODE, "systemctl is-active speedtest-logger.timer speedtest-push.timer").split() == ["active"] * 2
    assert converge()["changed"] == 0
    on(NODE, "speedtest-logger measure --wait")


def test_status_and_site_open_no_connection_to_it(inventory):
    on(NODE, "speedtest-logger push --force && speedtest-logger push --force")  # the first one learns what is wanted
    said = playbook("playbooks/status.yml").stdout
    row = next(line for line in said.splitlines() if line.startswith(f"{NODE} "))
    assert " none " in row
    assert "UNREACHABLE" not in said
    assert f"- {NODE}:" not in said, said[-2000:]
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert sum(counts["changed"] + counts["unreachable"] for counts in recap(done).values()) == 0, done.stdout[-3000:]


def test_what_it_refuses_is_shown(inventory):
    on("archive", f'sed -i \'s/"serial":1/"serial":2/\' {SERVED}/{NODE}.bundle')
    before = state()
    assert attempt(NODE, "systemctl start speedtest-converge.service").returncode != 0
    assert state() == before
    on(NODE, "speedtest-logger push --force; speedtest-logger push --hello")
    said = playbook("playbooks/status.yml").stdout
    assert f"- {NODE}: it is not as its bundle says: its signature is not one of the fleet's owner" in said, said[
        -2000:
    ]


def test_a_bundle_makes_it_a_container_on_a_machine_without_docker(inventory):
    """Docker, the image and the container come by the bundle; what the timer had goes."""
    assert attempt(NODE, "command -v docker").returncode != 0
    inventory(ansible_host=NOWHERE, speedtest_logger_runtime="compose")
    run("playbooks/bundle.yml")
    checked = on(NODE, "speedtest-converge run --check")
    assert "Docker is missing" in checked
    first = converge()
    assert (first["error"], attempt(NODE, "ls /etc/systemd/system/speedtest-logger.timer").returncode) == ("", 2)
    wait_until("the container is healthy", lambda: health(NODE) == "healthy", 60, NODE)
    record = json.loads(on(NODE, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1"))
    assert (record["runtime"], record["status"]) == ("compose", "ok")
    assert json.loads(on(NODE, "cat /etc/docker/daemon.json"))["live-restore"] is True
    assert converge()["changed"] == 0


def test_what_was_done_to_the_container_by_hand_the_node_puts_right(inventory):
    image = inspect(NODE)["Image"]
    on(NODE, f"docker rm --force {CONTAINER} && docker image rm --force speedtest-logger:{__version__}")
    assert converge()["changed"] >= 2
    wait_until("the container is healthy", lambda: health(NODE) == "healthy", 60, NODE)
    assert inspect(NODE)["Image"] == image  # all of it was kept as Docker's steps


def test_an_image_from_a_file_comes_from_where_bundles_are(inventory, tmp_path):
    image, file = inspect(NODE)["Image"], tmp_path / "logger.image.tar.gz"
    with file.open("wb") as stream:
        saved = f"docker image save speedtest-logger:{__version__} | gzip --fast"
        subprocess.run([*login(NODE), f"sudo {saved}"], stdout=stream, check=True)
    inventory(
        ansible_host=NOWHERE,
        speedtest_logger_runtime="compose",
        speedtest_logger_image_source="load",
        speedtest_logger_image_archive=str(file),
    )
    run("playbooks/bundle.yml")
    on(NODE, f"docker rm --force {CONTAINER}; docker image rm --force $(docker image ls --quiet speedtest-logger)")
    spoiled = next(name for name in on("archive", f"ls {SERVED}").split() if name.endswith(".image.tar.gz"))
    on("archive", f"cd {SERVED} && cp {spoiled} whole && truncate --size=-1 {spoiled}")
    assert attempt(NODE, "systemctl start speedtest-converge.service").returncode != 0
    error = json.loads(on(NODE, "speedtest-converge status"))["error"]
    assert "cannot be had" in error or "bytes" in error or "promised" in error
    on("archive", f"cd {SERVED} && mv whole {spoiled}")
    assert converge()["error"] == ""
    assert inspect(NODE)["Image"] == image
    assert attempt(NODE, "ls /opt/speedtest-telemetry/image.tar.gz").returncode != 0
    assert converge()["changed"] == 0


def test_and_a_bundle_makes_it_a_timer_again(inventory):
    inventory(ansible_host=NOWHERE)
    run("playbooks/bundle.yml")
    assert converge()["error"] == ""
    assert on(NODE, "systemctl is-active speedtest-logger.timer speedtest-push.timer").split() == ["active"] * 2
    assert attempt(NODE, f"docker container inspect {CONTAINER}").returncode != 0
    assert on(NODE, "docker image ls --quiet speedtest-logger") == ""
    assert converge()["changed"] == 0


def test_a_bundle_takes_it_off_once_all_is_delivered(inventory, served):
    run_id = json.loads(on(NODE, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1"))["run_id"]
    inventory(ansible_host=NOWHERE, speedtest_logger_state="absent")
    run("playbooks/bundle.yml")
    on(NODE, "cd /etc/speedtest-telemetry && mv known_hosts aside")  # so that it does not believe the archive
    assert attempt(NODE, "systemctl start speedtest-converge.service").returncode != 0
    assert "it stays, for what it has measured was not delivered" in on(NODE, "speedtest-converge status")
    on(NODE, "cd /etc/speedtest-telemetry && mv aside known_hosts")
    on(NODE, "systemctl start speedtest-converge.service")
    # ls ends with a failure where one of them is gone, as most of them should be
    left = on(NODE, f"ls -d {MANAGED} {' '.join(OWN)} /usr/local/bin/speedtest-logger 2>/dev/null || true").split()
    assert left == ["/var/lib/speedtest-converge", "/var/lib/speedtest-telemetry"]
    assert on(NODE, "systemctl list-units --all --no-legend 'speedtest-*'").strip() == ""
    wait_until("its last record is archived", lambda: query(f"FROM records WHERE run_id = '{run_id}'"), 60, NODE)
    said = playbook("playbooks/status.yml").stdout
    row = next(line for line in said.splitlines() if line.startswith(f"{NODE} "))
    assert "taken off" in row
    assert f"- {NODE}: it has delivered all and was taken off" in said, said[-2000:]


def test_pushed_to_again_it_has_no_trace(inventory):
    inventory(speedtest_logger_converge="push")
    run("site.yml")
    for path in OWN:
        assert attempt(NODE, f"ls {path}").returncode != 0
    assert attempt(NODE, "ls /etc/systemd/system/*converge*").returncode != 0
    assert attempt(NODE, "systemctl is-active speedtest-stayawake.service").stdout.strip() != "active"
    again = playbook("site.yml")
    assert sum(counts["changed"] for counts in recap(again).values()) == 0, again.stdout[-3000:]
