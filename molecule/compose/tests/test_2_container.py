"""A node in a container: healthy, confined, measuring, delivering, and back after a reboot."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from typing import Any

import pytest
from containers import CONTAINER, health, inspect
from fleet import (
    LAB,
    ROOT,
    attempt,
    between_slots,
    coverage,
    lab,
    login,
    logs,
    on,
    pause,
    playbook,
    query,
    recap,
    to_slot,
    wait_until,
)

from speedtest_logger import __version__
from speedtest_logger.engines.catalogue import ENGINES

NODE, HUB = "shed", "hub"
INSIDE = f"docker exec {CONTAINER}"
IMAGE = f"speedtest-logger:{__version__}"


SLOTS = "FROM records WHERE status = 'ok' AND scheduled_at IS NOT NULL AND runtime = 'compose'"


@pytest.fixture(scope="module", autouse=True)
def _in_a_container():
    """As the inventory says: it had a timer last."""
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]


def slots() -> int:
    return query(f"SELECT count(*) AS n {SLOTS}", HUB)[0]["n"]


def test_the_root_is_read_only_and_no_capability_is_left():
    assert "Read-only file system" in attempt(NODE, f"{INSIDE} touch /here").stdout
    status = on(NODE, f"{INSIDE} cat /proc/self/status")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert on(NODE, f"{INSIDE} id -u").strip() == on(NODE, "id -u speedtest").strip() == "471"
    wanted = json.loads(on(NODE, "cd /etc/speedtest-telemetry && docker compose config --format json"))
    assert (wanted["services"]["logger"]["mem_limit"], wanted["services"]["logger"]["pids_limit"]) == (
        str(256 * 2**20),
        128,
    )
    limits = inspect(NODE)["HostConfig"]
    kernel = json.loads(on(NODE, "docker info --format '{{json .}}'"))
    # a kernel that keeps these controllers in cgroup v1 leaves Docker none, and it drops the limits then
    assert limits["Memory"] == (256 * 2**20 if kernel["MemoryLimit"] else 0)
    assert limits["PidsLimit"] == (128 if kernel["PidsLimit"] else None)
    assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["NetworkMode"]) == (True, ["ALL"], "host")
    assert "permission denied" in attempt(NODE, f"{INSIDE} cat /etc/shadow").stdout.lower()


def test_the_image_has_its_labels_its_engines_and_no_compiler():
    image = json.loads(on(NODE, f"docker image inspect {IMAGE}"))[0]
    labels = {name.rsplit(".", 1)[-1]: text for name, text in image["Config"]["Labels"].items()}
    assert labels["version"] == __version__
    assert len(labels["revision"]) == 64
    assert {"title", "description", "licenses"} <= set(labels)
    assert image["Config"]["User"] == "471:471"
    base = json.loads(on(NODE, "docker image inspect debian:trixie-slim"))[0]
    print(f"image {image['Size'] / 1e6:.0f} MB, of which the base is {base['Size'] / 1e6:.0f} MB")
    assert image["Size"] - base["Size"] < 250e6
    for program in (*(each.name for each in ENGINES.values() if each.package), "ssh", "python3"):
        assert on(NODE, f"{INSIDE} sh -c 'command -v {program}'")
    for program in ("gcc", "cc", "make", "pip"):
        assert attempt(NODE, f"{INSIDE} sh -c 'command -v {program}'").stdout == ""


def test_compose_files_are_valid_with_and_without_ansible():
    on(NODE, "cd /etc/speedtest-telemetry && docker compose config --quiet")
    folder = "/root/standalone/docker"
    on(NODE, f"mkdir -p {folder}")
    for source, name in (
        ("compose.yml", "compose.yml"),
        ("compose.dev.yml", "compose.dev.yml"),
        (".env.example", ".env"),
    ):
        text = (ROOT / "docker" / source).read_text(encoding="utf-8").replace("'", "'\\''")
        on(NODE, f"printf %s '{text}' >{folder}/{name}")
    assert on(NODE, f"cd {folder} && docker compose config --quiet") == ""
    assert on(NODE, f"cd {folder} && docker compose -f compose.yml -f compose.dev.yml config --quiet") == ""
    shown = on(NODE, f"cd {folder} && docker compose -f compose.yml -f compose.dev.yml config")
    assert "dev-state" in shown
    assert "/root/standalone/src" in shown


def test_an_image_is_built_from_a_checkout():
    """`make image` and the standalone project build from the checkout, not from a release."""
    with subprocess.Popen(["tar", "--create", "Makefile", "src", "docker"], cwd=ROOT, stdout=subprocess.PIPE) as packed:
        subprocess.run(
            [*login(NODE), "sudo tar --extract --directory /root/standalone"], stdin=packed.stdout, check=True
        )
    on(NODE, "cd /root/standalone/docker && cp .env.example .env && docker compose build --quiet")
    make = "make -C /root/standalone image-logger VERSION=9.9.9"
    on(NODE, f"apt-get -qq -y --no-install-recommends install make && {make}")
    assert __version__ in on(NODE, "docker run --rm speedtest-logger:local --version")
    assert "manifest.json" in on(NODE, "tar --list --file /root/standalone/dist/speedtest-logger-9.9.9.image.tar.gz")
    on(NODE, "docker image rm speedtest-logger:local speedtest-logger:9.9.9")


def test_a_standalone_project_measures_with_what_its_env_says():
    """The image that is there, under another name, with data of its own; stopped again."""
    folder = "/root/standalone/docker"
    settings = ("NODE=alone", "ENGINES=librespeed", "LIBRESPEED_SERVERS=http://hub:8989/", "DURATION_SECONDS=3")
    lines = [f"SPEEDTEST_{setting}" for setting in settings] + [f"LOGGER_IMAGE={IMAGE}"]
    on(NODE, f"printf '%s\\n' {' '.join(lines)} >{folder}/.env")
    between_slots(NODE)
    run = "docker compose --project-name alone run --rm --no-deps logger"
    row = json.loads(on(NODE, f"cd {folder} && {run} measure --json 2>/dev/null"))
    assert (row["node"], row["status"], row["runtime"], row["engine"]) == ("alone", "ok", "compose", "librespeed")
    assert 0.85 * 60e6 < row["download_bps"] < 1.1 * 60e6
    assert "last record" in on(NODE, f"cd {folder} && {run} status")
    on(NODE, f"cd {folder} && docker compose --project-name alone down --volumes")


def test_the_project_for_work_on_the_logger_runs_the_checkout_with_data_of_its_own():
    compose = "cd /root/standalone/docker && docker compose -f compose.yml -f compose.dev.yml"
    on(NODE, f"{compose} up --detach --no-build")
    where = "import speedtest_logger; print(speedtest_logger.__file__)"
    assert on(NODE, f"{compose} exec -T logger python3 -c '{where}'").strip() == "/source/speedtest_logger/__init__.py"
    assert "node alone" in on(NODE, f"{compose} exec -T logger speedtest-logger status")
    assert "no slot was due" in on(NODE, f"{compose} exec -T logger speedtest-logger healthcheck")
    on(NODE, f"{compose} down --volumes")
    assert inspect(NODE)["State"]["Running"]


# from here on slots are needed: the first of them passed while the tests before were running
def test_slots_are_measured_delivered_and_archived():
    wait_until("two scheduled records are archived", lambda: slots() >= 2, 200, NODE)
    rows = query(f"SELECT * {SLOTS}", HUB)
    assert 0.85 * 60e6 < statistics.median(row["download_bps"] for row in rows) < 1.1 * 60e6
    for row in rows:
        assert (row["runtime"], row["engine"]) == ("compose", "iperf3")
        assert row["interface"] == "eth0"
        assert row["background_rx_bytes"] is not None
    cover = coverage("--last", "10min", "--grace", "1min", node=HUB)[NODE]
    assert cover["expected"] == sum(cover[name] for name in ("ok", "partial", "failed", "skipped", "missed", "pending"))


def test_the_containers_log_is_in_the_archive():
    def told() -> bool:
        on(NODE, f"{INSIDE} speedtest-logger push --force")
        return any(row["event"] == "record" for row in logs("--node", NODE, node=HUB))

    wait_until("a line about a record", told, 240, NODE)
    assert logs("--node", NODE, "--grep", "loop_started", node=HUB)


def test_the_container_writes_metrics_that_all_may_read():
    told = on(NODE, "runuser -u nobody -- cat /var/lib/speedtest-metrics/speedtest.prom")
    assert re.findall(r"^speedtest_logger_last_run_success 1$", told, re.MULTILINE)
    assert re.findall(r"^speedtest_logger_delivery_last_success_timestamp_seconds \d", told, re.MULTILINE)
    assert "nobody" not in on(NODE, "ls -l /var/lib/speedtest-metrics")
    mounts = {each["Destination"]: each["Source"] for each in inspect(NODE)["Mounts"]}
    assert mounts["/var/lib/speedtest-metrics"] == "/var/lib/speedtest-metrics"


def test_the_container_is_healthy_and_says_why():
    wait_until("the container is healthy", lambda: health(NODE) == "healthy", 60)
    assert "accounted for" in on(NODE, "speedtest-logger healthcheck")
    assert on(NODE, "speedtest-logger doctor").count("ok  ") >= 8


def test_a_bridge_instead_of_the_host_s_network():
    address = on(NODE, "getent hosts hub").split()[0]
    variables = {"speedtest_logger_container_network": "bridge", "speedtest_logger_iperf3_servers": [f"{address}:5202"]}
    done = playbook("playbooks/nodes.yml", "--limit", NODE, "--extra-vars", json.dumps(variables))
    assert done.returncode == 0, done.stdout[-3000:]
    assert inspect(NODE)["HostConfig"]["NetworkMode"] == "bridge"
    assert "status=ok" in on(NODE, "speedtest-logger measure --wait")
    done = playbook("playbooks/nodes.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert inspect(NODE)["HostConfig"]["NetworkMode"] == "host"


def test_a_stop_within_a_measurement_is_heeded_and_leaves_its_record():
    pause((to_slot(NODE) + 3) % 60)  # the slot began 3 s ago
    on(NODE, f"docker stop {CONTAINER}")
    assert inspect(NODE)["State"]["ExitCode"] == 0  # 137 where Docker lost patience
    last = json.loads(attempt(NODE, "speedtest-logger status --json").stdout)["last_record"]
    assert (last["status"], last["reason"]) in {("failed", "interrupted"), ("ok", None)}
    assert last["scheduled_at"] is not None
    on(NODE, f"docker start {CONTAINER}")


def test_after_a_reboot_it_comes_back_by_itself():
    before = slots()
    lab("reboot", LAB, NODE)
    wait_until("the container is healthy again", lambda: health(NODE) == "healthy", 120, NODE)
    done = playbook("site.yml", "-vvv")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {counts["changed"] for counts in recap(done).values()} == {0}
    assert f"{NODE}: as the inventory says" in done.stdout
    calls = re.findall(r"<([0-9.]+)> SSH: EXEC", done.stdout)
    assert max(calls.count(address) for address in calls) <= 5  # hub: looked at, locked, read, and its two roles
    wait_until("another slot is archived", lambda: slots() > before, 150, NODE)
    twice = query("SELECT run_id FROM records GROUP BY run_id HAVING count(*) > 1", HUB)
    assert twice == []


def test_probes_run_in_the_container_without_any_capability():
    def answers(probe: str, target: str) -> list[dict[str, Any]]:
        lines = on(NODE, f"{INSIDE} cat /run/speedtest-telemetry/probes.jsonl", check=False).splitlines()
        rows = [json.loads(line) for line in lines if line.startswith("{")]
        return [row["answer"] for row in rows if (row.get("probe"), row.get("target")) == (probe, target)]

    def whole(probe: str, target: str) -> bool:
        return any(each["reason"] is None and len(each["times_ms"]) == each["sent"] for each in answers(probe, target))

    for probe, target in (("ping", "gateway"), ("ping", HUB), ("http", f"http://{HUB}:8989/getIP"), ("irtt", HUB)):
        # a busy machine may lose a packet of its own: a run without a loss is waited for
        wait_until(f"all of {probe} of {target} is answered", lambda of=(probe, target): whole(*of), 180, NODE)
    assert on(NODE, "cat /proc/sys/net/ipv4/ping_group_range").split() == ["0", "2147483647"]
