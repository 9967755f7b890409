"""A run of probes: what it asks, what it keeps, and that it keeps out of a test's way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from speedtest_logger import metrics, probes
from speedtest_logger.errors import ProbeError, SpeedtestError
from speedtest_logger.log import Log
from speedtest_logger.node import cli, network, probe, probe_buffer, probe_lock, probe_results, probe_status, status
from speedtest_logger.node import metrics as textfile
from speedtest_logger.node.loop import PROBE, Plan
from speedtest_logger.node.probe_buffer import Buffer, Entry
from speedtest_logger.node.spool import Spool
from speedtest_logger.probe_result import validate
from speedtest_logger.probes.contract import Answer

START = 1_767_225_600.0  # a full hour


class World:
    """Answers by probe and target; the clock."""

    def __init__(self):
        self.now, self.answers, self.asked = START + 100, {}, []


@pytest.fixture
def world(monkeypatch):
    made = World()

    class Planted:
        def __init__(self, name):
            self.name = name

        def run(self, job, _):
            made.asked.append((self.name, job.target))
            answer = made.answers.get((self.name, job.target), Answer(3, [1.0, 2.0, 3.0], 4))
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(probes, "get", Planted)
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(network, "default_gateway", lambda *_: "192.0.2.254")
    return made


@pytest.fixture
def here(settings, tmp_path):
    (tmp_path / "run").mkdir()
    made = settings(
        probes="ping dns traceroute",
        ping_targets="gateway 192.0.2.1",
        runtime_dir=str(tmp_path / "run"),
        location="home",
    )
    Spool(made.state_dir).prepare()
    return made


def run(here, world, minutes=1):
    written = 0
    for _ in range(minutes):
        written += probe.probe(here, Log(here.log_file), {})
        world.now += 60
    return written


def kept(here):
    return [
        row
        for file, _ in probe_results.waiting_results(Spool(here.state_dir))
        for row in probe_results.read_results(file)
    ]


def test_five_runs_make_one_file_of_results(here, world):
    assert run(here, world, 4) == 0
    assert kept(here) == []
    assert run(here, world) == 1
    rows = kept(here)
    assert [(row["probe"], row["target"]) for row in rows] == [
        ("ping", "gateway"),
        ("ping", "192.0.2.1"),
        ("dns", "example.org"),
    ]
    assert [(row["runs"], row["sent"], row["lost"], row["left_out"]) for row in rows] == [(5, 15, 0, 0)] * 3
    assert [rows[0][name] for name in ("min_ms", "median_ms", "p90_ms", "max_ms")] == [1.0, 2.0, 3.0, 3.0]
    assert (rows[0]["started_at"], rows[0]["location"]) == ("2026-01-01T00:01:40.000Z", "home")
    assert ("ping", "192.0.2.254") in world.asked
    assert [validate(row).to_row() for row in rows] == rows
    assert len(list((here.state_dir / "probes").iterdir())) == 1
    assert run(here, world, 9) == 1


def test_the_minutes_of_an_outage_are_kept_to_the_run_and_its_way_is_traced_once(here, world):
    run(here, world)
    lost = Answer(3, [], 4, "no_answer", "nothing")
    world.answers = {
        ("ping", "192.0.2.1"): lost,
        ("traceroute", "192.0.2.1"): Answer(1, reason="no_answer", path="a 1 *"),
    }
    run(here, world, 2)
    world.answers = {}
    run(here, world, 2)
    rows = {(row["probe"], row["target"]): row for row in kept(here)}
    line, way = rows["ping", "192.0.2.1"], rows["traceroute", "192.0.2.1"]
    assert (line["failed_from"], line["failed_until"]) == ("2026-01-01T00:02:40.000Z", "2026-01-01T00:03:40.000Z")
    assert (line["sent"], line["lost"], line["reason"]) == (15, 6, "no_answer")
    assert (way["runs"], way["path"]) == (1, "a 1 *")
    assert rows["ping", "gateway"]["failed_from"] is None


@pytest.mark.parametrize(("minutes", "traces"), [(1, 1), (15, 1), (16, 2), (31, 3)])
def test_a_long_outage_is_traced_every_quarter_of_an_hour(here, world, minutes, traces):
    world.answers = {("ping", target): Answer(3, reason="no_answer") for target in ("192.0.2.1", "192.0.2.254")}
    run(here, world, minutes)
    assert [target for name, target in world.asked if name == "traceroute"] == ["192.0.2.1"] * traces


def test_without_a_route_the_gateway_does_not_answer(here, world, monkeypatch):
    monkeypatch.setattr(network, "default_gateway", lambda *_: None)
    run(here, world, 5)
    row = kept(here)[0]
    assert (row["target"], row["sent"], row["lost"], row["reason"]) == ("gateway", 5, 5, "no_route")


def test_a_route_that_names_no_gateway_has_none_to_ask(here, world, monkeypatch):
    monkeypatch.setattr(network, "default_gateway", lambda *_: "")
    run(here, world, 5)
    assert "gateway" not in {row["target"] for row in kept(here)}


@pytest.mark.parametrize("error", [ProbeError("program_missing", "no irtt"), OSError(24, "Too many open files")])
def test_a_probe_that_cannot_run_is_a_result_and_a_problem(here, world, error):
    world.answers = {("dns", "example.org"): error}
    run(here, world, 5)
    assert kept(here)[-1]["reason"] in ("program_missing", "program_failed")
    state = status.status(here, world.now)
    assert [each["health"] for each in state["probes"] if each["probe"] == "dns"] == ["broken"]
    assert any("probe dns cannot run" in words for words in state["problems"])


def test_a_target_that_hangs_is_given_up(here, world, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(probe, "TARGET_SECONDS", -0.9)
    released, ended = threading.Event(), []
    monkeypatch.setattr(
        probes, "get", lambda _: type("Slow", (), {"run": lambda *_: ended.append(released.wait(60))})()
    )
    found = probe.ask(here, {})
    assert ended == []
    released.set()
    assert {entry.answer.reason for entry in found} <= {"no_answer", "no_route"}
    assert all(entry.until for entry in found)


def test_nothing_runs_while_paused_and_quiet_hours_do_not_matter(settings, world):
    paused = settings(probes="dns", paused="true", runtime_dir="/nonexistent")
    assert run(paused, world, 5) == 0
    assert not world.asked
    assert run(settings(probes="dns", quiet_hours="00:00-23:59", runtime_dir="/nonexistent"), world, 5) == 1


def test_without_a_place_in_memory_answers_wait_in_the_state_directory(settings, world):
    here = settings(probes="dns", runtime_dir="/nonexistent")
    run(here, world)
    assert (here.state_dir / "state/probes.jsonl").is_file()


def test_no_run_begins_near_a_slot_and_that_is_counted(here, world):
    world.now = START + 3600 - 19
    run(here, world)
    assert world.asked == []
    world.now = START + 3600 - 21
    run(here, world)
    assert world.asked
    world.now = START + 3700
    run(here, world, 4)
    assert kept(here)[0]["left_out"] == 1


HOLDER = """
import sys, time
from pathlib import Path
from speedtest_logger.node import config, probe_lock
from speedtest_logger.node.spool import Spool
spool = Spool(Path(sys.argv[1]))
settings = config.Settings(node="a", probes=("ping",))
with probe_lock.probing(spool) if sys.argv[2] == "probe" else probe_lock.without_probes(settings, spool):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(here):
    """Starts a process that holds the lock as a probe or as a test does."""
    started = []

    def start(who):
        process = subprocess.Popen([sys.executable, "-c", HOLDER, here.state_dir, who], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_test_under_way_makes_runs_left_out_and_kill_9_frees_it(here, world, holder):
    process = holder("test")
    run(here, world, 2)
    assert world.asked == []
    with pytest.raises(SpeedtestError, match="being measured"):
        probe.now(here, {})
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(here, world, 5)
    assert kept(here)[0]["left_out"] == 2


def test_a_probe_delays_a_test_until_it_ends_and_at_most_for_so_long(here, holder, monkeypatch):
    assert probe_lock.LONGEST_RUN_SECONDS < probe_lock.PATIENCE_SECONDS
    spool = Spool(here.state_dir)
    process = holder("probe")
    monkeypatch.setattr(probe_lock, "PATIENCE_SECONDS", 0.4)
    began = time.monotonic()
    with probe_lock.without_probes(here, spool):
        assert time.monotonic() - began >= 0.4
        assert process.poll() is None  # it holds the lock still
    process.send_signal(signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(probe_lock.time, "sleep", lambda _: pytest.fail("the lock is free, and was waited for"))
    with probe_lock.without_probes(here, spool), probe_lock.probing(spool) as free:
        assert not free
    assert 2 * probe.TARGET_SECONDS + 2 <= probe_lock.LONGEST_RUN_SECONDS


def test_a_full_disk_lets_answers_wait_and_no_more_than_fit(settings, world, monkeypatch, tmp_path):
    here = settings(probes="dns", disk_min_free_mb="900000000", runtime_dir=str(tmp_path))
    monkeypatch.setattr(probe_buffer, "MOST_WAITING_BYTES", 500)
    assert run(here, world, 30) == 0
    assert (tmp_path / "probes.jsonl").stat().st_size < 1000


def test_results_that_nobody_fetches_are_capped_and_that_is_logged(here, world, monkeypatch):
    monkeypatch.setattr(probe_buffer, "MOST_BYTES", 4000)
    run(here, world, 60)
    waiting = probe_results.waiting_results(Spool(here.state_dir))
    assert 1 <= len(waiting) < 12
    assert sum(size for _, size in waiting) <= 4000
    assert "probe_results_dropped" in here.log_file.read_text()
    assert kept(here)[-1]["started_at"] > "2026-01-01T00:50"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]\n", b'{"probe": 1}\n', b"\xff\n", b'{"left_out": []}\n'])
def test_a_torn_buffer_costs_no_run(here, world, content):
    (here.runtime_dir / "probes.jsonl").write_bytes(content)
    run(here, world, 6)
    assert kept(here)


def test_a_clock_that_was_set_back_writes_what_there_is(here, world):
    run(here, world, 2)
    world.now -= 3600
    assert run(here, world) == 1


def test_now_shows_and_keeps_nothing(here, world, capsys, monkeypatch):
    world.answers = {("ping", "192.0.2.1"): Answer(3, [], 4, "no_answer", "nothing came back")}
    monkeypatch.setattr(cli.config, "load", lambda _: here)
    assert cli.main(["probe", "--now", "--json"]) == 1
    assert [row["probe"] for row in json.loads(capsys.readouterr().out)] == ["ping", "ping", "dns", "traceroute"]
    cli.main(["probe", "--now"])
    assert "nothing came back" in capsys.readouterr().out
    assert not (here.runtime_dir / "probes.jsonl").exists()


def test_status_is_a_registry_of_every_probe(here, world):
    before = {each["probe"]: each for each in status.status(here, world.now)["probes"]}
    assert set(before) == {"ping", "dns", "http", "irtt", "traceroute"}
    assert (before["ping"]["health"], before["http"]["health"]) == ("waiting", "off")
    world.answers = {("ping", "192.0.2.1"): Answer(3, [5.0], 4, "no_answer", "lost")}
    run(here, world, 5)
    state = status.status(here, world.now)
    after = {each["probe"]: each for each in state["probes"]}
    assert [after[name]["health"] for name in ("ping", "dns", "traceroute")] == ["lossy", "ok", "waiting"]
    assert after["ping"]["median_ms"] == {"gateway": 2.0, "192.0.2.1": 5.0}
    assert after["ping"]["last_run"] == "2026-01-01T00:05:40.000Z"
    assert state["probe_results"] == 1
    text = status.as_text(here, state)
    assert "192.0.2.1 5.0 ms (66.7 % lost)" in text
    world.now += 3600
    silent = status.status(here, world.now)
    assert any("is speedtest-probe.timer running" in words for words in silent["problems"])


def test_the_textfile_has_loss_and_latency_of_each_target(here, world):
    world.answers = {("ping", "192.0.2.1"): Answer(3, [], 4, "no_answer", "lost")}
    run(here, world, 5)
    told = textfile.text(here, Spool(here.state_dir), world.now)
    assert 'speedtest_probe_loss_ratio{probe="ping",target="192.0.2.1"} 1.0\n' in told
    assert 'speedtest_probe_loss_ratio{probe="dns",target="example.org"} 0.0\n' in told
    assert 'speedtest_probe_latency_seconds{probe="ping",target="gateway"} 0.002\n' in told
    assert 'latency_seconds{probe="ping",target="192.0.2.1"}' not in told
    assert "traceroute" not in told
    later = textfile.text(here, Spool(here.state_dir), world.now + 3600)
    assert not any(metric.name in later for metric in metrics.OF_PROBES)


def test_a_probe_that_is_off_again_is_told_no_more(here, world, settings):
    run(here, world, 5)
    assert probe_status.last_results(settings(probes="dns"), Spool(here.state_dir).read_state)[0].probe == "dns"
    assert len(probe_status.last_results(settings(probes="dns"), Spool(here.state_dir).read_state)) == 1


def test_the_container_s_loop_runs_probes_between_slots(settings):
    here = settings(probes="dns", interval_seconds="300", offset_seconds="7", push_interval_seconds="300")
    plan = Plan(here, START)
    moments = [second for second in range(600) if PROBE in plan.due(START + second, after_measuring=False)]
    assert moments == [37 + 60 * number for number in range(10)]
    assert not any(probe_lock.is_near_slot(here, START + moment) for moment in moments)
    assert PROBE not in Plan(settings(), START).due(START + 40, after_measuring=False)


def test_the_gateway_is_that_of_the_kernel_s_table(monkeypatch, tmp_path):
    monkeypatch.setattr(network, "PROC", tmp_path)
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    (tmp_path / "route").write_text(f"{head}eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
    six = f"{'0' * 32} 00 {'0' * 32} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth1\n"
    (tmp_path / "ipv6_route").write_text(six)
    assert network.default_gateway() == "192.168.1.1"
    assert network.default_gateway("eth1") == "fe80::1%eth1"
    assert network.default_gateway("eth2") is None
    (tmp_path / "route").write_text(f"{head}ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n")
    assert network.default_gateway() == ""


def test_results_of_a_group_are_in_order():
    entries = [Entry("ping", "a", START, Answer(1, [float(value)])) for value in (9, 1, 5, 3, 7)]
    found = probe_buffer.result(type("S", (), {"location": "home"}), entries)
    assert (found.min_ms, found.median_ms, found.p90_ms, found.max_ms) == (1.0, 5.0, 9.0, 9.0)
    assert probe_buffer.rank([], 0.5) is None


def test_the_buffer_is_not_followed_elsewhere(here, world, tmp_path):
    (tmp_path / "secret").write_text("x")
    Path(here.runtime_dir / "probes.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="link"):
        run(here, world)
    assert (tmp_path / "secret").read_text() == "x"
    assert Buffer.of(here, Spool(here.state_dir)).waiting() == ([], [])
