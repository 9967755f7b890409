"""The chart's Job, really run: two slots with the archive cut at the first, and one that is killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pods
import pytest
import yaml
from fleet import LAB, attempt, coverage, lab, on, pause, query, recap, wait_until
from fleet import playbook as run_playbook
from pods import CLUSTER, LOGGER, put

HUB, NODE = "hub", "rack"
INTERVAL = 120


def playbook(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A playbook, with the host that is no machine in its inventory."""
    beside = Path(os.environ["MOLECULE_INVENTORY_FILE"]).with_name("hosts")
    return run_playbook(name, "--inventory", str(beside), *options)


def charted(folder: Path, *options: str) -> list[dict[str, Any]]:
    """What the chart makes of the values that playbooks/kubernetes.yml has written."""
    file = folder / "values.yaml"
    done = playbook("playbooks/kubernetes.yml", f"--extra-vars=speedtest_kubernetes_values={file}", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return pods.charted(file, "--set", f"image={LOGGER}")


@pytest.fixture(scope="module")
def job(logger_image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The CronJob, once the archive lets the node in; /root/job.yaml is what it would start at a slot."""
    folder = tmp_path_factory.mktemp("values")
    keep_job(charted(folder))
    on(CLUSTER, "podman kube play /root/identity.yaml && timeout 400 podman wait identity-identity")
    told = on(CLUSTER, "podman logs identity-identity").split("\n")[0].strip()
    on(CLUSTER, "podman kube down /root/identity.yaml")
    assert re.fullmatch(r"ssh-ed25519 \S+ rack", told)
    return keep_job(charted(folder, "--extra-vars", json.dumps({"speedtest_logger_identity": told})))


def keep_job(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The CronJob; its Job in a file, and a pod of the container `identity`, of which Podman keeps no log in a Job."""
    [cron] = [each for each in objects if each["kind"] == "CronJob"]
    spec = cron["spec"]["jobTemplate"]["spec"]
    beside = [each for each in objects if each["kind"] in ("ConfigMap", "PersistentVolumeClaim")]
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "speedtest-rack-slot"}, "spec": spec}
    put(CLUSTER, "/root/job.yaml", yaml.safe_dump_all([*beside, made]))
    pod = spec["template"]["spec"]
    alone = {**pod, "containers": pod["initContainers"], "initContainers": []}
    first = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "identity"}, "spec": alone}
    put(CLUSTER, "/root/identity.yaml", yaml.safe_dump_all([*beside, first]))
    return cron


def start() -> None:
    """What the cluster does at a slot; the Job before goes, its volume stays."""
    attempt(CLUSTER, "podman kube down /root/job.yaml")
    on(CLUSTER, "podman kube play /root/job.yaml")


def ended() -> int:
    """The exit code of the pod's measurement, once it has ended."""
    name = "speedtest-rack-slot-pod-measure"
    return int(on(CLUSTER, f"timeout 400 podman wait {name}").split()[-1])


def to_slot(cron: dict[str, Any]) -> int:
    """Wait for the next slot; its Unix time (s)."""
    first = int(cron["spec"]["schedule"].split("-")[0].split()[0]) * 60
    slot = int(time.time() - first) // INTERVAL * INTERVAL + INTERVAL + first
    pause(slot - time.time() + 1)
    return slot


def rows(since: int) -> list[dict[str, Any]]:
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(since))
    return query(f"SELECT * FROM records WHERE node = '{NODE}' AND scheduled_at >= '{when}' ORDER BY scheduled_at", HUB)


def outbox() -> int:
    """How many deliveries wait on the volume, which is empty before the first pod."""
    place = "$(podman volume inspect --format '{{.Mountpoint}}' speedtest-rack)/outbox"
    return len(on(CLUSTER, f"ls {place} 2>/dev/null; true").split())


def test_a_run_leaves_alone_who_is_in_a_cluster():
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done)[NODE]["unreachable"] == 0
    assert "rack: left to its cluster" in done.stdout


def test_slots_begin_with_full_minutes_and_the_archive_knows_them(job):
    registry = json.loads(on(HUB, "cat /srv/speedtest-archive/fleet/schedule.json"))
    entry = registry["nodes"][NODE][-1]
    assert (entry["interval_seconds"], entry["offset_seconds"]) == (INTERVAL, 60)
    assert job["spec"]["schedule"] == "1-59/2 * * * *"


def test_two_slots_with_the_archive_cut_at_the_first_are_two_records(job):
    before = outbox()
    lab("cut", LAB, HUB)
    try:
        first = to_slot(job)
        start()
        assert ended() == 0
        assert outbox() == before + 1
    finally:
        lab("restore", LAB, HUB)
    second = to_slot(job)
    start()
    assert ended() == 0
    assert outbox() == 0
    found = rows(first)
    for row in found:
        print(row["scheduled_at"], row["started_at"], row["status"], row["runtime"], row["download_bps"])
    assert len(found) == 2
    assert second == first + INTERVAL
    assert {(row["status"], row["runtime"], row["location"]) for row in found} == {("ok", "kubernetes", "home")}
    begin, end = (time.strftime("%Y-%m-%dT%H:%M", time.gmtime(moment)) for moment in (first, second + 60))
    cover = coverage("--from", begin, "--to", end, "--grace", "1s", node=HUB)[NODE]
    assert (cover["expected"], cover["ok"], cover["missed"]) == (2, 2, 0)


def test_the_pod_had_no_rights(job):
    mounted = on(CLUSTER, "podman container inspect speedtest-rack-slot-pod-measure")
    config = json.loads(mounted)[0]
    assert config["HostConfig"]["ReadonlyRootfs"]
    assert config["Config"]["User"] == "471:471"
    assert config["EffectiveCaps"] in (None, [])
    assert config["HostConfig"]["NetworkMode"].startswith(("host", "container:"))


def test_the_private_key_is_on_the_volume_and_nobody_elses(job):
    place = "$(podman volume inspect --format '{{.Mountpoint}}' speedtest-rack)/identity"
    assert on(CLUSTER, f"stat --format '%u %a' {place}/id_ed25519").split() == ["471", "600"]
    assert "PRIVATE KEY" not in on(CLUSTER, "podman logs speedtest-rack-slot-pod-measure")


def test_a_pod_that_is_killed_leaves_an_interrupted_record(job):
    killed = to_slot(job)
    start()
    wait_until("it measures", lambda: "measuring" in on(CLUSTER, "ls $(podman volume inspect --format "
               "'{{.Mountpoint}}' speedtest-rack)/state"), 60, every=0.3)  # fmt: skip
    on(CLUSTER, "podman kill --signal KILL speedtest-rack-slot-pod-measure")
    assert ended() == 137
    to_slot(job)
    start()
    assert ended() == 0
    found = rows(killed)
    assert [(row["status"], row["reason"]) for row in found] == [("failed", "interrupted"), ("ok", None)]
    assert found[0]["runtime"] == "kubernetes"


def test_the_status_has_its_row():
    done = playbook("playbooks/status.yml")
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith(NODE))
    assert "kubernetes" in row  # as it said itself with its last delivery
