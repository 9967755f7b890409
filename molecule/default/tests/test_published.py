"""What the archive publishes to the object store of the same machine, and what comes of it while that is away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import anew, attempt, ingest, measure_by_hand, on, playbook, query, recap, wait_until

NODE = "homelab"
ADDRESS = "s3://measurements/records"
OFF = {
    "speedtest_archive_store_address": "",
    "speedtest_cluster_state": "absent",
    "speedtest_store_state": "absent",
    "speedtest_store_purge": True,
}
ROWS = "SELECT count(*) AS n FROM records"


def publish() -> bool:
    return attempt(NODE, anew("speedtest-publish.service")).returncode == 0


def is_right() -> bool:
    """Whether the table has what the archive does: what is ingested between the two makes them differ."""
    return publish() and attempt(NODE, f"speedtest-archive publish --check {ADDRESS}").returncode == 0


def state() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(on(NODE, "cat /srv/speedtest-archive/store/publish.json"))
    return found


def problems() -> list[str]:
    said = json.loads(on(NODE, "speedtest-archive fleet"))["problems"]
    return [words for words in said if words.startswith("object store")]


@pytest.fixture
def still() -> Iterator[None]:
    """Nothing is ingested meanwhile."""
    on(NODE, "systemctl stop speedtest-ingest.timer")
    ingest(NODE)  # one may have been under way
    yield
    on(NODE, "systemctl start speedtest-ingest.timer")


def test_the_table_has_what_the_archive_has_by_its_timers():
    for timer in ("speedtest-publish.timer", "speedtest-publish-upkeep.timer"):
        assert on(NODE, f"systemctl is-active {timer}").strip() == "active"
    wait_until("the table is right", is_right, 120, NODE)
    assert state()["line"] > 0
    assert problems() == []


def test_only_the_publisher_reads_the_key_and_it_writes_nothing_else():
    for account, command in (
        ("speedtest-publish", "touch /srv/speedtest-archive/archive/mine"),
        ("speedtest-publish", "touch /srv/speedtest-archive/manifest/mine"),
        ("speedtest-publish", "cat /etc/speedtest-archive/store.env"),
        ("speedtest-archive", "cat /etc/speedtest-archive/store.env"),
        ("speedtest-archive", "touch /srv/speedtest-archive/store/mine"),
        ("speedtest-archive", "ls /srv/speedtest-store"),
    ):
        done = attempt(NODE, f"runuser -u {account} -- {command}")
        assert done.returncode != 0, f"{account}: {command}"
        assert "ermission denied" in done.stdout + done.stderr
    assert "not-secret" not in on(NODE, "journalctl --no-pager -u 'speedtest-publish*' -u speedtest-store; ps axww")


def test_nothing_but_loopback_reaches_the_store_and_nobody_without_its_key():
    sockets = [line.split()[3] for line in on(NODE, "ss -Hltnp").splitlines() if '"weed"' in line]
    assert sorted(sockets) == sorted(f"127.0.0.1:{port + more}" for port in range(8333, 8337) for more in (0, 10_000))
    code = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8333/measurements/"
    found = "python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:8333/measurements/')\""
    done = attempt(NODE, f"{code} || {found}")
    assert re.search("403", done.stdout + done.stderr)


def test_ingest_goes_on_while_the_store_is_away_and_all_is_made_up_for():
    on(NODE, "systemctl stop speedtest-store.service")
    before = query(ROWS, NODE)[0]["n"]
    assert not publish()
    since = state()["failing_since"]
    assert problems()[0].startswith(f"object store: cannot publish to {ADDRESS}")
    measure_by_hand(NODE)
    wait_until("a record is ingested", lambda: query(ROWS, NODE)[0]["n"] > before, 60, NODE)
    assert not publish()
    assert state()["failing_since"] == since
    on(NODE, "systemctl start speedtest-store.service")
    wait_until("the table is right", is_right, 120, NODE)
    assert "failing_since" not in state()
    assert problems() == []


@pytest.mark.usefixtures("still")
def test_an_empty_archive_is_filled_from_the_table():
    wait_until("the table is right", is_right, 120, NODE)
    on(NODE, "install --directory --owner speedtest-archive --group speedtest-archive /srv/back /srv/back/archive")
    said = json.loads(on(NODE, f"speedtest-archive --root /srv/back fetch {ADDRESS} 2>/dev/null"))
    held = json.loads(on(NODE, f"speedtest-archive query --format json '{ROWS}'"))  # `query` would ingest before it
    assert said["rows"] == held[0]["n"] > 0
    for root in ("/srv/speedtest-archive", "/srv/back"):
        on(NODE, f"speedtest-archive --root {root} export --format jsonl /tmp/{root.rpartition('/')[2]}.jsonl")
    assert on(NODE, "sort /tmp/back.jsonl | sha256sum") == on(NODE, "sort /tmp/speedtest-archive.jsonl | sha256sum")
    assert on(NODE, "speedtest-archive --root /srv/back verify 2>&1").startswith("all is as the manifest says")
    on(NODE, "rm -r /srv/back /tmp/back.jsonl /tmp/speedtest-archive.jsonl")


def test_upkeep_of_the_table_does_its_work():
    on(NODE, "systemctl start speedtest-publish-upkeep.service")
    wait_until("the table is right", is_right, 120, NODE)


BY_PLACE = "SELECT location, count(*) AS n, median(download_bps) AS d FROM records GROUP BY location ORDER BY location"
ASK = f"query --store {ADDRESS} --format csv '{BY_PLACE}'"
CLUSTER = "--engine dask://127.0.0.1:8786 --only-distributed"


@pytest.mark.usefixtures("still")
def test_the_cluster_answers_as_the_archive_does():
    wait_until("the table is right", is_right, 120, NODE)
    wanted = on(NODE, f"speedtest-archive query --format csv '{BY_PLACE}'")
    asked = f"speedtest-cluster {ASK} {CLUSTER}"
    wait_until("a worker is there", lambda: attempt(NODE, asked).returncode == 0, 60, NODE)
    assert on(NODE, asked) == wanted
    assert on(NODE, f"speedtest-archive {ASK} --engine duckdb") == wanted


def test_the_worker_keeps_the_files_that_it_read_where_nobody_else_looks():
    found = on(NODE, "find /var/cache/speedtest-cluster -name 'part-*.parquet' -printf '%u %m\\n' | sort -u").strip()
    assert found == "speedtest-cluster 600"
    assert on(NODE, "stat --format '%U %a' /var/cache/speedtest-cluster").strip() == "speedtest-cluster 700"


def test_the_status_says_what_the_member_runs():
    said = playbook("playbooks/status.yml").stdout
    assert re.search(rf"^{NODE} \(cluster\) +scheduler, worker +none$", said, re.MULTILINE), said


def test_the_cluster_listens_on_loopback_only():
    for unit, port in (("scheduler", 8786), ("worker", 8788)):
        pid = on(NODE, f"systemctl show --property MainPID --value speedtest-{unit}").strip()
        sockets = [line.split()[3] for line in on(NODE, "ss -Hltnp").splitlines() if f"pid={pid}," in line]
        assert f"127.0.0.1:{port}" in sockets
        assert {address.rpartition(":")[0] for address in sockets} == {"127.0.0.1"}
        print(on(NODE, f"systemd-analyze security speedtest-{unit}.service --no-pager | tail -1"))


def test_the_cluster_answers_members_only_and_keys_are_roots():
    on(NODE, "install -d /root/other && cp /etc/speedtest-cluster/members.pem /root/other/ && "
        "openssl req -x509 -newkey ec "
       "-pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=other -keyout /root/other/key.pem "
       "-out /root/other/certificate.pem 2>/dev/null")  # fmt: skip
    done = attempt(NODE, f"SPEEDTEST_CLUSTER_DIR=/root/other speedtest-cluster {ASK} {CLUSTER}")
    on(NODE, "rm -r /root/other")
    assert done.returncode != 0
    assert "does not know this host" in done.stdout + done.stderr
    for file in ("key.pem", "store.env"):
        assert attempt(NODE, f"runuser -u speedtest-cluster -- cat /etc/speedtest-cluster/{file}").returncode != 0


def test_both_are_taken_off_without_a_trace():
    given = f"--extra-vars={json.dumps(OFF)}"
    done = playbook("site.yml", given)
    assert done.returncode == 0, done.stdout[-3000:]
    left = on(NODE, "ls -d /etc/speedtest-store /srv/speedtest-store /opt/speedtest-store /srv/speedtest-archive/store "
              "/etc/speedtest-cluster /opt/speedtest-cluster /usr/local/bin/speedtest-cluster "
              "/var/cache/speedtest-cluster "
              "/etc/systemd/system/speedtest-scheduler* /etc/systemd/system/speedtest-worker* "
              "/etc/speedtest-archive /etc/systemd/system/speedtest-publish* /etc/systemd/system/speedtest-store* "
              "2>/dev/null; getent passwd speedtest-store speedtest-cluster; pgrep weed", check=False)  # fmt: skip
    assert left == ""
    assert "deltalake" not in on(NODE, "ls /opt/speedtest-archive/venv/lib/python3*/site-packages")
    again = playbook("site.yml", given)
    assert again.returncode == 0, again.stdout[-3000:]
    assert [counts["changed"] for counts in recap(again).values()] == [0] * len(recap(again))
