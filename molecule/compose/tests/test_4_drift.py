"""What can be wrong with Docker on a node: it is named, it is repaired, nothing is lost."""

from __future__ import annotations

import json

import pytest
from calls import assert_each_role_costs_little
from containers import CONTAINER, inspect
from fleet import attempt, on, playbook, recap

from speedtest_logger import __version__

pytestmark = pytest.mark.usefixtures("docker_may_restart")
NODE = "shed"
IMAGE = f"speedtest-logger:{__version__}"
DAEMON = "/etc/docker/daemon.json"
DIRECTORY = "/etc/speedtest-telemetry"


def mended() -> None:
    """nodes.yml, the part of site.yml that is about nodes, puts it right."""
    done = playbook("playbooks/nodes.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done)[NODE]["changed"] > 0
    assert inspect(NODE)["State"]["Running"]


def test_no_role_calls_a_machine_often_where_all_is_as_it_should_be():
    assert_each_role_costs_little()


@pytest.mark.parametrize(
    "harms",
    [
        {
            f"docker stop {CONTAINER}": f"container {CONTAINER} does not run",
            f"rm {DAEMON}": f"{DAEMON}: missing",
            f"echo >>{DIRECTORY}/compose.yml": f"{DIRECTORY}/compose.yml: content differs",
            f"chmod 666 {DIRECTORY}/.env": f"{DIRECTORY}/.env: mode is 0666, not 0644",
            f"chmod 644 {DIRECTORY}/id_ed25519": f"{DIRECTORY}/id_ed25519: mode is 0644, not 0640",
        },
        {
            f"docker rm --force {CONTAINER}; docker image rm --force {IMAGE}": f"image {IMAGE} is missing",
            "systemctl disable docker.service": "unit docker.service: not enabled",
        },
        {"systemctl disable --now docker.service docker.socket": "unit docker.service: not enabled, not active"},
    ],
    ids=["files", "image", "docker"],
)
def test_harm_is_named_and_mended(harms):
    history = on(NODE, "find /var/lib/speedtest-telemetry/results -type f | sort")
    for harm in harms:
        on(NODE, harm)
    assert "last record" in attempt(NODE, "speedtest-logger status").stdout
    assert attempt(NODE, "speedtest-logger measure").returncode != 0  # says so and loses nothing
    named = playbook("playbooks/status.yml")
    assert named.returncode != 0
    said = " ".join(named.stdout.split())
    assert [words for words in harms.values() if words not in said] == []
    mended()
    assert history in on(NODE, "find /var/lib/speedtest-telemetry/results -type f | sort")


def test_foreign_keys_in_daemon_json_stay_and_broken_json_is_left_alone():
    kept = json.loads(on(NODE, f"cat {DAEMON}"))
    on(NODE, f"printf '%s' '{json.dumps({'debug': False, 'live-restore': False})}' >{DAEMON}")
    mended()
    assert json.loads(on(NODE, f"cat {DAEMON}")) == {"debug": False, **kept}
    on(NODE, f"cp -p {DAEMON} /root/daemon.json; printf '%s' '{{\"debug\": false,}}' >{DAEMON}")
    refused = playbook("playbooks/nodes.yml")
    assert refused.returncode != 0
    assert f"{DAEMON}: seen no JSON" in refused.stdout
    assert "Nothing was changed" in refused.stdout
    assert on(NODE, f"cat {DAEMON}") == '{"debug": false,}'
    assert inspect(NODE)["State"]["Running"]
    on(NODE, f"cp -p /root/daemon.json {DAEMON}")  # a later time would owe Docker a restart
    done = playbook("playbooks/nodes.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert sum(counts["changed"] for counts in recap(done).values()) == 0


def test_nobody_is_in_the_docker_group():
    assert on(NODE, "getent group docker").strip().endswith(":")
