"""Archive and dashboard of the chart, really run: a node's Job delivers by https, its line's page shows it.

Podman knows no StatefulSet: its pod is played alone. Pods are on the machine's network, /etc/hosts is the Service's
name, and annotations of the volumes are the fsGroup.
"""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pods
import pytest
import yaml
from certificates import self_signed
from fleet import attempt, on, pause, wait_until
from pods import CLUSTER, DASHBOARD, LOGGER, of_kind, put

from speedtest_logger.dashboard import keys, users

NODE = "cellar"
INTERVAL = 60
BACKLOG = 300
ARCHIVE_POD, DASHBOARD_POD = "speedtest-archive-0", "speedtest-dashboard-pod"
RECEIVE, INGEST, PAGES = f"{ARCHIVE_POD}-receive", f"{ARCHIVE_POD}-ingest", f"{DASHBOARD_POD}-dashboard"
PORT = 8443  # the Service's 443 leads there
OWNERS = {"speedtest-archive": "474", "speedtest-dashboard": "472"}
WAITING = """
import time, uuid
from pathlib import Path
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import Record, utc_text
spool = Spool(Path("/var/lib/speedtest-telemetry"))
for number in range({count}):
    at = time.time() - 86_400 - 60 * number
    print(spool.write(Record(run_id=str(uuid.UUID(int={first} + number)), node="{node}", location="home",
        started_at=utc_text(at), finished_at=utc_text(at + 9), status="ok", download_bps=1e8, upload_bps=5e7)))
"""


def values(folder, tokens: dict[str, str]):
    """Values as somebody writes them who wants all of it in the cluster."""
    settings = {
        "SPEEDTEST_ENGINES": "iperf3",
        "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1:5201",
        "SPEEDTEST_OWN_SERVER_ALLOWED": "true",  # how fast the machine is, is as good as any record
        "SPEEDTEST_DURATION_SECONDS": "1",
        "SPEEDTEST_MEASURE_TIMEOUT_SECONDS": "20",
        "SPEEDTEST_START_TOLERANCE_SECONDS": "39",
        "SPEEDTEST_PUSH_BATCH_RECORDS": "3",
    }
    archive = {"enabled": True, "transport": "https", "certificateSecret": "certificate", "tokens": tokens}
    made = {
        "image": LOGGER,
        "dashboardImage": DASHBOARD,
        "archive": archive,
        "dashboard": {"enabled": True, "usersSecret": "users", "lists": ["keys"]},
        "settings": settings,
        "nodes": [{"name": NODE, "location": "home", "intervalSeconds": INTERVAL, "offsetSeconds": 0}],
    }
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(made))
    return file


def secret(name: str, files: dict[str, str]) -> dict[str, Any]:
    data = {file: base64.b64encode(text.encode()).decode() for file, text in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def playable(objects: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Objects by the file that plays them: archive, dashboard, identity, slot, push."""
    for each in of_kind(objects, "PersistentVolumeClaim"):
        if owner := OWNERS.get(each["metadata"]["name"]):
            each["metadata"]["annotations"] |= {f"volume.podman.io/{kind}": owner for kind in ("uid", "gid")}
    maps, claims = (of_kind(objects, kind) for kind in ("ConfigMap", "PersistentVolumeClaim"))
    for each in maps:
        if "SPEEDTEST_ARCHIVE_PORT" in each["data"]:
            assert each["data"]["SPEEDTEST_ARCHIVE_PORT"] == "443"
            each["data"]["SPEEDTEST_ARCHIVE_PORT"] = str(PORT)
    [archive], [dashboard], [cron] = (of_kind(objects, kind) for kind in ("StatefulSet", "Deployment", "CronJob"))
    job = cron["spec"]["jobTemplate"]["spec"]
    for template in (archive["spec"]["template"], dashboard["spec"]["template"]):
        template["spec"]["hostNetwork"] = True
        for volume in template["spec"]["volumes"]:
            if "secret" in volume:  # which the fsGroup may read
                volume["secret"]["defaultMode"] = 0o444
        for container in template["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe"):  # Podman would run curl in the container
                container.pop(probe, None)
    own = archive["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**own["metadata"], "name": ARCHIVE_POD}, "spec": own["spec"]}
    inside = job["template"]["spec"]
    first = {**inside, "containers": inside["initContainers"], "initContainers": []}
    push = {**inside, "containers": [{**inside["containers"][0], "name": "push", "args": ["push", "--force"]}]}
    beside = [*maps, *claims]
    return {
        "archive": [*beside, pod],
        "dashboard": [*beside, dashboard],
        "slot": [*beside, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "slot"}, "spec": job}],
        "identity": [*beside, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first"}, "spec": first}],
        "push": [*beside, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "later"}, "spec": push}],
    }


def play(name: str) -> None:
    """Play a file; what it made before goes, volumes stay."""
    attempt(CLUSTER, f"podman kube down /root/all/{name}.yaml")
    on(CLUSTER, f"podman kube play /root/all/{name}.yaml")


def ended(container: str) -> int:
    return int(on(CLUSTER, f"timeout 400 podman wait {container}").split()[-1])


@pytest.fixture(scope="module")
def key(logger_image, dashboard_image, tmp_path_factory) -> str:
    """A program's key for the dashboard, once archive and dashboard run and the archive knows the node."""
    folder = tmp_path_factory.mktemp("all")
    version = self_signed(folder, "speedtest-archive")
    proof = {file.name: file.read_text() for file in version.iterdir()}
    identity, text = keys.new_key()
    known = [{"name": "test", "id": identity, "sha256": keys.sha256(text), "scopes": ["read"], "expires": None}]
    people = json.dumps([{"name": "ada", "password": str(users.hash_of("no word of many is one"))}])
    secrets = [
        secret("certificate", {**proof, "ca.crt": proof["tls.crt"]}),
        secret("users", {"users.json": people, "keys.json": json.dumps(known)}),
    ]
    put(CLUSTER, "/root/all/secrets.yaml", yaml.safe_dump_all(secrets))
    put(CLUSTER, "/root/all/ca.pem", proof["tls.crt"])
    on(CLUSTER, "podman kube play /root/all/secrets.yaml")
    on(CLUSTER, "grep -q speedtest-archive /etc/hosts || echo 127.0.0.1 speedtest-archive >>/etc/hosts")
    on(CLUSTER, "systemctl is-active --quiet own-iperf3 || systemd-run --unit own-iperf3 iperf3 --server")
    keep(playable(pods.charted(values(folder, {}))))
    play("identity")
    ended("first-identity")
    told = on(CLUSTER, "podman logs first-identity").split()[0]
    assert re.fullmatch("[0-9a-f]{64}", told)
    on(CLUSTER, "podman kube down /root/all/identity.yaml")
    keep(playable(pods.charted(values(folder, {NODE: told}))))
    for name in ("archive", "dashboard"):
        play(name)
    wait_until("the archive is ready", lambda: probed("/readyz") == 200, 120)
    wait_until("the dashboard answers", lambda: asked("/login") == 200, 120)
    return text


def keep(files: dict[str, list[dict[str, Any]]]) -> None:
    for name, objects in files.items():
        put(CLUSTER, f"/root/all/{name}.yaml", yaml.safe_dump_all(objects))


def probed(path: str) -> int:
    """What the kubelet is answered."""
    url = f"https://speedtest-archive:{PORT}{path}"
    return int(
        on(
            CLUSTER,
            f"curl --silent --cacert /root/all/ca.pem --output /dev/null --write-out %{{http_code}} {url}; true",
        )
    )


def asked(path: str, key: str = "") -> int:
    header = f"--header 'Authorization: Bearer {key}'" if key else ""
    url = f"http://localhost:8000{path}"
    return int(on(CLUSTER, f"curl --silent {header} --output /root/all/page --write-out %{{http_code}} '{url}'; true"))


def archived(where: str = "true") -> list[dict[str, Any]]:
    """What the archive's own pod answers; nothing of the test ingests."""
    sql = f"SELECT run_id, status, runtime, scheduled_at, download_bps FROM records WHERE {where} ORDER BY run_id"
    done = attempt(CLUSTER, f'podman exec {INGEST} speedtest-archive query --format json "{sql}"')
    return json.loads(done.stdout) if done.returncode == 0 else []


def lying() -> int:
    """Deliveries in the archive's inbox."""
    place = "$(podman volume inspect --format '{{.Mountpoint}}' speedtest-archive)/inbox"
    return len(on(CLUSTER, f"ls {place}/{NODE} 2>/dev/null; true").split())


def outbox() -> int:
    place = f"$(podman volume inspect --format '{{{{.Mountpoint}}}}' speedtest-{NODE})/outbox"
    return len(on(CLUSTER, f"ls {place} 2>/dev/null; true").split())


def test_a_node_s_slot_is_on_the_dashboard_s_page(key):
    pause(INTERVAL - time.time() % INTERVAL + 1)
    play("slot")
    assert ended("slot-pod-measure") == 0
    assert outbox() == 0
    wait_until("its record is archived", lambda: archived("scheduled_at IS NOT NULL"), 150)
    [row] = archived("scheduled_at IS NOT NULL")
    print(row)
    assert (row["status"], row["runtime"]) == ("ok", "kubernetes")
    wait_until(
        "the page has it", lambda: asked("/line/home", key) == 200 and NODE in on(CLUSTER, "cat /root/all/page"), 60
    )
    assert asked(f"/record/{row['run_id']}", key) == 200
    assert asked("/line/home") in (303, 401)
    assert asked("/health") == 200


def test_the_dashboard_cannot_write_the_archive(key):
    for place in ("x", "archive/x", "inbox/x", "fleet/schedule.json"):
        done = attempt(CLUSTER, f"podman exec {PAGES} touch /srv/speedtest-archive/{place}")
        assert done.returncode != 0
        assert "Read-only file system" in done.stdout
    assert attempt(CLUSTER, f"podman exec {PAGES} touch /var/lib/speedtest-dashboard/x").returncode == 0


def test_none_of_them_has_rights(key):
    for container, account in ((RECEIVE, "474:474"), (INGEST, "474:474"), (PAGES, "472:472")):
        [found] = json.loads(on(CLUSTER, f"podman container inspect {container}"))
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["Config"]["User"] == account
        assert found["EffectiveCaps"] in (None, [])


def test_a_stranger_s_token_opens_nothing(key):
    url = f"https://speedtest-archive:{PORT}/deliver"
    words = f"--header 'Authorization: Bearer {'0' * 64}' --data x {url}"
    assert "unknown_token" in on(CLUSTER, f"curl --silent --cacert /root/all/ca.pem {words}")


def test_an_archive_killed_in_the_middle_loses_nothing_and_counts_nothing_twice(key):
    before = {row["run_id"] for row in archived()}
    code = WAITING.format(count=BACKLOG, first=1 << 100, node=NODE)
    put(CLUSTER, "/root/all/waiting.py", code)
    mount = f"--volume speedtest-{NODE}:/var/lib/speedtest-telemetry --entrypoint python3"
    on(CLUSTER, f"podman run --rm --interactive --network none {mount} {LOGGER} - </root/all/waiting.py")
    assert outbox() == BACKLOG
    play("push")
    wait_until("half is delivered", lambda: outbox() < BACKLOG * 2 // 3, 120, every=0.1)
    on(CLUSTER, f"podman pod kill --signal KILL {ARCHIVE_POD}")
    assert ended("later-push") != 0
    left = outbox()
    print("delivered before the kill", BACKLOG - left, "in the inbox", lying())
    assert 0 < left < BACKLOG
    on(CLUSTER, f"podman pod start {ARCHIVE_POD}")  # the ingest begins with its start
    wait_until("it runs", lambda: attempt(CLUSTER, f"podman exec {INGEST} true").returncode == 0, 60, every=0.1)
    on(CLUSTER, f"podman pod kill --signal KILL {ARCHIVE_POD}")
    on(CLUSTER, f"podman pod start {ARCHIVE_POD}")
    wait_until("the archive is ready", lambda: probed("/readyz") == 200, 60)
    play("push")
    assert ended("later-push") == 0
    assert outbox() == 0
    wait_until("all is archived", lambda: len(archived()) >= BACKLOG + len(before), 200)
    found = [row["run_id"] for row in archived()]
    assert len(found) == len(set(found)) == BACKLOG + len(before)
    assert lying() == 0
    assert attempt(CLUSTER, f"podman exec {INGEST} speedtest-archive verify").returncode == 0


def test_it_ends_when_it_is_told_to(key):
    on(CLUSTER, f"podman pod stop --time 60 {ARCHIVE_POD}")
    codes = [
        on(CLUSTER, f"podman inspect --format '{{{{.State.ExitCode}}}}' {each}").strip() for each in (RECEIVE, INGEST)
    ]
    assert codes == ["0", "0"]
