"""One machine that is target, archive host and node at once."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

from calls import assert_each_role_costs_little
from fleet import LAB, anew, attempt, between_slots, coverage, ingest, lab, on, pause, playbook, query, wait_until
from security import assert_sandboxed

from speedtest_logger.node.config import Settings
from speedtest_logger.record import unix_time

NODE = "homelab"
LATE = 30  # s that a run of probes may take to begin


def test_units_are_enabled_and_elapse_next_within_a_minute(host):
    for name in (
        "speedtest-logger.timer",
        "speedtest-push.timer",
        "speedtest-ingest.timer",
        "speedtest-upkeep.timer",
        "speedtest-journal.timer",
        "speedtest-stayawake.service",
    ):
        unit = host.service(name)
        assert unit.is_enabled, name
        assert unit.is_running, name

    def elapses_within_a_minute() -> bool:
        listed = json.loads(on(NODE, "systemctl list-timers --output=json speedtest-logger.timer"))
        moment = listed[0]["next"]  # none while its service runs
        return moment is not None and -5 < moment / 1e6 - time.time() < 61

    wait_until("the timer elapses within a minute", elapses_within_a_minute, 60, NODE)


def test_the_machine_is_kept_awake():
    assert "speedtest-stayawake" in on(NODE, "systemd-inhibit --list --no-pager")


def test_managed_files_belong_to_root_and_say_who_manages_them(host):
    env = host.file("/etc/speedtest-telemetry/logger.env")
    assert (env.user, env.group, env.mode) == ("root", "speedtest", 0o640)
    assert env.content_string.startswith("# managed by Ansible: speedtest_logger")
    key = host.file("/etc/speedtest-telemetry/id_ed25519")
    assert (key.user, key.group, key.mode) == ("root", "speedtest", 0o640)


def test_an_engine_from_a_url_is_checked_and_linked(host):
    link = host.file("/opt/speedtest-telemetry/engines/librespeed")
    assert link.is_symlink
    assert host.file(link.linked_to).mode == 0o755
    assert host.file(link.linked_to).content_string == '{"processedString":"127.0.0.1","rawIspInfo":""}'
    assert 'SPEEDTEST_LIBRESPEED_PROGRAM="/opt/speedtest-telemetry/engines/librespeed"' in on(
        NODE, "cat /etc/speedtest-telemetry/logger.env"
    )


def test_every_service_is_sandboxed():
    assert_sandboxed(NODE)


def test_no_role_calls_a_machine_often_where_all_is_as_it_should_be():
    assert_each_role_costs_little()


def test_a_docker_that_is_too_old_is_refused_and_the_timer_goes_on(host):
    done = playbook("site.yml", "--extra-vars=speedtest_logger_runtime=compose")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "docker_host_source: seen distribution, but debian 12 has docker.io 20.10" in said
    assert "set docker_host_source to repository" in said
    keyless = playbook(
        "site.yml", "--extra-vars=speedtest_logger_runtime=compose", "--extra-vars=docker_host_source=repository"
    )
    assert "docker_host_repository_key: seen nothing" in " ".join(keyless.stdout.split())
    unmanaged = playbook(
        "site.yml", "--extra-vars=speedtest_logger_runtime=compose", "--extra-vars=docker_host_source=none"
    )
    assert "docker_host_source: seen none, but Docker is missing" in " ".join(unmanaged.stdout.split())
    assert host.service("speedtest-logger.timer").is_running
    assert (
        attempt(NODE, "command -v docker; ls /etc/docker /etc/apt/sources.list.d/docker.sources").stdout.count(
            "No such"
        )
        == 2
    )


def answers(probe: str, target: str) -> list[dict[str, Any]]:
    """The answers of the last minutes, which wait in memory."""
    # between a flush and the next round there is no such file
    lines = on(NODE, "cat /run/speedtest-telemetry/probes.jsonl 2>/dev/null || true").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["answer"] for row in rows if (row.get("probe"), row.get("target")) == (probe, target)]


def whole(probe: str, target: str) -> bool:
    """Whether a run had all its answers."""
    return any(each["reason"] is None and len(each["times_ms"]) == each["sent"] for each in answers(probe, target))


def test_probes_answer_without_any_privilege_but_echo_requests():
    wanted = [("ping", "gateway"), ("http", "http://127.0.0.1:8989/getIP"), ("irtt", "127.0.0.1")]
    for probe, target in wanted:
        # a busy machine may lose a packet of its own: a run without a loss is waited for
        wait_until(f"all of {probe} of {target} is answered", lambda of=(probe, target): whole(*of), 120, NODE)
    assert on(NODE, "systemctl show --property AmbientCapabilities speedtest-probe").strip().endswith("cap_net_raw")
    assert on(NODE, "stat --format %U /run/speedtest-telemetry/probes.jsonl").strip() == "speedtest"
    assert "inactive" in attempt(NODE, "systemctl is-active irtt.service").stdout  # the package's own


def test_a_measurement_by_hand_ends_well_and_is_no_slot():
    before = query("SELECT count(*) AS n FROM records WHERE scheduled_at IS NULL", NODE)[0]["n"]
    between_slots(NODE)
    record = json.loads(on(NODE, "speedtest-logger measure --wait --json 2>/dev/null"))
    assert record["status"] == "ok"
    assert record["scheduled_at"] is None
    on(NODE, anew("speedtest-push.service"))
    assert query("SELECT count(*) AS n FROM records WHERE scheduled_at IS NULL", NODE)[0]["n"] == before + 1


def test_the_upkeep_of_every_night_does_its_work():
    on(NODE, "systemctl start speedtest-upkeep.service")
    for words in ("0 files, 0.0 MB removed", "all is as the manifest says", "0 months gathered"):
        look = f"journalctl --no-pager -u speedtest-upkeep.service | grep --quiet '{words}'"
        wait_until(f"the journal has: {words}", lambda look=look: attempt(NODE, look).returncode == 0, 30, every=0.5)


def test_what_the_archive_s_own_units_said_is_among_the_log_lines():
    on(NODE, anew("speedtest-journal.service"))
    ingest(NODE)
    shown = "speedtest-archive logs --node @archive --limit 100000 --format json"
    said = [json.loads(line) for line in on(NODE, shown).splitlines()]
    assert any(
        line["event"] == "speedtest-upkeep" and "0 months gathered" in line["fields"]["message"] for line in said
    )
    assert {line["event"] for line in said} >= {"speedtest-ingest", "speedtest-upkeep"}
    on(NODE, anew("speedtest-journal.service"))
    ingest(NODE)
    assert on(NODE, f"{shown} | sort | uniq --repeated") == ""


def results() -> list[dict[str, Any]]:
    """What probes found and was written last, whether the archive has it yet or not."""
    state = json.loads(on(NODE, "cat /var/lib/speedtest-telemetry/state/probes.json 2>/dev/null || echo {}"))
    found: list[dict[str, Any]] = state.get("results", [])
    return found


def test_a_cut_line_fails_to_the_minute_and_its_way_is_traced():
    began = time.time()
    lab("cut", LAB, NODE)
    is_cut = time.time()
    pause(130)  # two runs at least
    restored = time.time()
    lab("restore", LAB, NODE)
    ended = time.time()
    found: dict[tuple[str, str, str], dict[str, Any]] = {}

    def of(probe: str, target: str) -> list[dict[str, Any]]:
        return [row for (*named, _), row in sorted(found.items()) if named == [probe, target]]

    def is_told() -> bool:
        """Results are of five minutes each, so that two of them may tell of one outage."""
        for row in results():
            if unix_time(row["finished_at"]) > began:
                found[row["probe"], row["target"], row["started_at"]] = row
        pings = of("ping", "gateway")
        lost_until = [unix_time(row["failed_until"]) for row in pings if row["failed_until"]]
        whole = any(until >= restored - 60 - LATE for until in lost_until)
        return bool(lost_until) and (whole or any(unix_time(row["finished_at"]) > ended for row in pings))

    wait_until("the machine answers again", lambda: attempt(NODE, "true").returncode == 0, 60, NODE)
    wait_until("results of the outage", is_told, 330, NODE)
    lost = [row for row in of("ping", "gateway") if row["lost"]]
    assert began <= unix_time(lost[0]["failed_from"]) <= is_cut + 60 + LATE
    assert restored - 60 - LATE <= unix_time(lost[-1]["failed_until"]) <= ended + LATE
    assert {row["lost"] for row in of("ping", "127.0.0.1")} == {0}
    traced = of("traceroute", "gateway")
    assert [row["runs"] for row in traced] == [1]
    assert traced[0]["reason"] in ("no_route", "no_answer")


def test_the_archive_has_what_probes_found_once_and_when_the_line_was_cut():
    waiting = json.loads(on(NODE, "cat /var/lib/speedtest-telemetry/state/probes.json"))["results"]
    for _ in range(2):  # and again: nothing is there twice
        on(NODE, "speedtest-logger push --force")
        ingest(NODE)
    asked = "speedtest-archive probes --location home --last 1h --format json"
    rows = json.loads(on(NODE, f"{asked} --results"))
    known = {(row["probe"], row["target"], row["started_at"]) for row in rows}
    assert len(known) == len(rows)
    assert {(row["probe"], row["target"]) for row in waiting} <= {(probe, target) for probe, target, _ in known}
    assert any(row["probe"] == "traceroute" for row in rows)
    failed = json.loads(on(NODE, f"{asked} --failures"))
    assert [row["target"] for row in failed if row["probe"] == "ping"] == ["gateway"]
    assert on(NODE, "find /var/lib/speedtest-telemetry/probes -name '*.jsonl'") == ""


# from here on slots are needed: they passed while the line was cut, as the servers are on the machine itself
def test_a_slot_is_measured_delivered_and_archived():
    sql = "SELECT count(*) AS n FROM records WHERE status = 'ok' AND scheduled_at IS NOT NULL"
    wait_until("two scheduled records are archived", lambda: query(sql, NODE)[0]["n"] >= 2, 200, NODE)
    for row in query("SELECT * FROM records WHERE scheduled_at IS NOT NULL AND status = 'ok'", NODE):
        assert row["engine"] == "iperf3"
        assert row["download_bps"] > 1e6
        assert row["upload_bps"] > 1e6
        assert row["upload_latency_ms"] > 0
        assert row["background_rx_bytes"] is not None
        slot, start = (
            datetime.fromisoformat(row[name]).astimezone(timezone.utc) for name in ("scheduled_at", "started_at")
        )
        assert 0 <= (start - slot).total_seconds() <= Settings.start_tolerance_seconds

    def covered() -> dict[str, Any]:
        return coverage("--last", "10min", "--grace", "1min", node=NODE)[NODE]

    # a slot may pass between the timer's start and the registry's entry: coverage knows it as no slot of the schedule
    wait_until("two slots are accounted for", lambda: covered()["ok"] >= 2, 200, NODE)
    cover = covered()
    assert cover["expected"] == sum(cover[name] for name in ("ok", "partial", "failed", "skipped", "missed", "pending"))


def test_status_doctor_and_config_agree_that_all_is_well():
    on(NODE, "speedtest-logger config check")
    assert json.loads(on(NODE, "speedtest-logger status --json"))["problems"] == []
    findings = json.loads(on(NODE, "speedtest-logger doctor --json", check=False))
    assert [finding for finding in findings if not finding["passed"]] == []


def test_the_journal_and_the_log_tell_the_same_story():
    log = [json.loads(line) for line in on(NODE, "cat /var/log/speedtest-diag.log").splitlines()]
    records = [line for line in log if line["event"] == "record"]
    assert records
    assert {"time", "level", "run_id", "status"} <= set(records[0])
    slots = {row["run_id"] for row in query("SELECT run_id FROM records WHERE scheduled_at IS NOT NULL", NODE)}
    told = [line["run_id"] for line in records if line["run_id"] in slots]
    journal = on(NODE, "journalctl --no-pager -u speedtest-logger.service")  # what was typed by hand is not in it
    assert told
    assert [run for run in told if run not in journal] == []


def test_history_and_raw_output_are_kept():
    assert on(NODE, "ls /var/lib/speedtest-telemetry/results/year=*/month=*/day=*/speedtest_*.csv").strip()
    assert '"sum_received"' in on(NODE, "cat /var/lib/speedtest-telemetry/raw/*_iperf3.json")


def test_raw_output_is_in_the_archive_beside_its_records():
    sql = """
        SELECT count(*) AS n, bool_and(sha256(content) = raw_sha256) AS alike,
               bool_and((text ->> '$[0].end.sum_received.bits_per_second')::DOUBLE = download_bps) AS agrees
        FROM raw JOIN records USING (run_id)"""
    found = query(" ".join(sql.split()), NODE)[0]
    assert found["n"] >= 2
    assert found["alike"]
    assert found["agrees"]
    assert on(NODE, "speedtest-archive verify 2>&1").startswith("all is as the manifest says")


def test_pandas_reads_the_archive_as_it_lies():
    code = (
        "import pandas; frame = pandas.read_parquet('/srv/speedtest-archive/archive'); "
        "print(len(frame), frame['location'].iloc[0], str(frame['started_at'].dtype))"
    )
    count, location, kind = on(NODE, f'/opt/speedtest-archive/venv/bin/python -c "{code}"').split(maxsplit=2)
    assert int(count) >= 2
    assert location == "home"
    assert "UTC" in kind
