"""A node delivers over https, through the front, and over ssh again: no record is lost, and nothing stays behind."""

from __future__ import annotations

import json

import pytest
from fleet import attempt, on, playbook, recap
from security import exposure

NODE = "homelab"
NAME = "speed.example.org"
UNIT = "speedtest-receive-http.service"
MOST_EXPOSED = 2.0
HTTPS = json.dumps({"speedtest_logger_transport": "https", "speedtest_archive_https_enabled": True})
TOKEN, DIGEST = "/etc/speedtest-telemetry/token", "/etc/speedtest-telemetry/token.sha256"
TOKENS = "/var/lib/speedtest-archive/tokens"


def delivered() -> str:
    """A measurement's run that the node has just delivered."""
    record = json.loads(on(NODE, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1"))
    on(NODE, "speedtest-logger push --force")
    on(NODE, "speedtest-archive ingest")
    return str(record["run_id"])


def counted(run_id: str) -> int:
    """How often the archive has it."""
    question = f"SELECT count(*) AS n FROM records WHERE run_id = '{run_id}'"
    return int(json.loads(on(NODE, f'speedtest-archive query --format json "{question}"'))[0]["n"])


@pytest.fixture(scope="module")
def runs() -> dict[str, str]:
    """What was delivered before, over https, and after."""
    found = {"before": delivered()}
    on(NODE, f"grep -q ' {NAME}$' /etc/hosts || echo '127.0.0.1 {NAME}' >>/etc/hosts")
    done = playbook("site.yml", "--extra-vars", HTTPS)
    assert done.returncode == 0, done.stdout[-3000:]
    token = on(NODE, f"cat {TOKEN}").strip()
    assert len(token) == 64
    assert token not in done.stdout
    found["https"] = delivered()
    return found


def test_a_node_delivers_over_https(runs):
    assert on(NODE, "cat /srv/speedtest-archive/state/nodes/homelab.json")
    assert f'SPEEDTEST_ARCHIVE_HOST="{NAME}"' in on(NODE, "cat /etc/speedtest-telemetry/logger.env")
    assert f"{NAME} answers" in on(NODE, "speedtest-logger push --hello")
    assert counted(runs["https"]) == 1
    again = recap(playbook("site.yml", "--extra-vars", HTTPS))
    assert {host: counts["changed"] for host, counts in again.items()} == {NODE: 0}


def test_what_proves_it_is_for_those_alone_who_need_it(runs):
    owners = on(NODE, f"stat --format '%U %G %a' {TOKEN} {DIGEST} {TOKENS}").splitlines()
    assert owners == ["root speedtest 640", "root root 644", "root speedtest-archive 640"]
    places = "/var/log /run/log /srv /var/lib/speedtest-archive"
    assert attempt(NODE, f"grep --recursive --files-with-matches --file={TOKEN} {places} 2>/dev/null").stdout == ""
    assert attempt(NODE, f"runuser -u speedtest-archive -- cat {TOKEN}").returncode != 0
    found, said = exposure(NODE, UNIT)
    print(f"{UNIT}: {found}")
    assert found <= MOST_EXPOSED, said


def test_the_way_back_loses_nothing_and_leaves_nothing(runs):
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    for path in (TOKEN, DIGEST, TOKENS, f"/etc/systemd/system/{UNIT}", "/run/speedtest-receive-http"):
        assert attempt(NODE, f"ls -d {path}").returncode != 0, path
    assert "deliver" not in on(NODE, "cat /etc/speedtest-front/Caddyfile")
    runs["after"] = delivered()
    assert {name: counted(run_id) for name, run_id in runs.items()} == {"before": 1, "https": 1, "after": 1}
