"""measure: one slot, one record, whatever happens. The engines are shell scripts that replay recorded output."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from dataclasses import replace

import pytest
from builders import FIXTURES, REPLAY_IPERF3, recorded

from speedtest_logger import record
from speedtest_logger.errors import EngineError
from speedtest_logger.log import Log
from speedtest_logger.node import chain, gates, measure, network
from speedtest_logger.node.spool import Spool, record_from_csv

SLOT = int(time.time()) // 3600 * 3600 + 100  # of a node with interval 3600, offset 100


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that stands at the slot until it is moved."""
    hand = {"now": SLOT + 1.0}
    monkeypatch.setattr(time, "time", lambda: hand["now"])
    return hand


BUSY = FIXTURES / "iperf3-3.18-busy.json"


@pytest.fixture(autouse=True)
def line_is_up(monkeypatch):
    monkeypatch.setattr(network, "outage_reason", lambda _: None)


@pytest.fixture(autouse=True)
def the_next_test_is_soon(monkeypatch):
    monkeypatch.setattr(chain, "BETWEEN_TESTS_SECONDS", 0.01)


def run(settings, path="/nonexistent", *, timer=True):
    return measure.measure(settings, Log(settings.log_file), {"PATH": path}, timer=timer)


def outbox(settings):
    return [record_from_csv(file.read_bytes()) for file in Spool(settings.state_dir).waiting()]


@pytest.fixture
def hourly(settings):
    def load(**variables):
        return settings(**{"interval_seconds": "3600", "offset_seconds": "100", **variables})

    return load


def test_a_slot_is_measured_once(hourly, program):
    here = hourly()
    path = program("iperf3", REPLAY_IPERF3)
    first = run(here, path)
    assert (first.status, first.engine, first.engine_version, first.attempt) == ("ok", "iperf3", "3.12", 1)
    assert first.scheduled_at == record.utc_text(SLOT)
    assert first.run_id == record.run_id_of_slot("attic", first.scheduled_at)
    assert len(first.raw_sha256) == 64
    assert run(here, path) is None
    assert outbox(here) == [first]
    history = list(here.state_dir.glob("results/year=*/month=*/day=*/speedtest_*.csv"))
    assert [record_from_csv(file.read_bytes()) for file in history] == [first]
    download, upload = json.loads((here.state_dir / "raw" / f"{first.run_id}_iperf3.json").read_bytes())
    assert download["end"]["sum_received"]["bits_per_second"] == first.download_bps
    assert upload["end"]["sum_received"]["bits_per_second"] == first.upload_bps


def test_by_hand_is_no_slot(hourly, program, clock):
    clock["now"] = SLOT + 1000
    found = run(hourly(), program("iperf3", REPLAY_IPERF3), timer=False)
    assert found.scheduled_at is None
    assert found.status == "ok"


def test_a_timer_that_comes_late_skips_its_slot(hourly, clock):
    clock["now"] = SLOT + 31
    found = run(hourly())
    assert (found.status, found.reason, found.scheduled_at) == ("skipped", "late_start", record.utc_text(SLOT))


def test_nothing_answers(hourly):
    found = run(hourly())
    assert (found.status, found.reason) == ("failed", "engine_missing")
    assert found.download_bps is None
    assert outbox(hourly()) == [found]


@pytest.mark.parametrize("looks", [("no_route", "no_route"), ("no_route", None), (None, "no_route")])
def test_no_route_is_what_the_kernel_knows_better(looks, hourly, program, monkeypatch):
    seen = iter(looks)  # the line at the beginning and at the end
    monkeypatch.setattr(network, "outage_reason", lambda _: next(seen))
    assert run(hourly(), program("iperf3", 'echo \'{"error": "odd"}\'')).reason == "no_route"


def test_an_upload_waits_for_a_server_that_was_taken_after_the_download(hourly, program, monkeypatch, tmp_path):
    monkeypatch.setattr(chain, "BUSY_WAIT_SECONDS", 0.01)
    busy = REPLAY_IPERF3.replace(
        "  *) cat", f"  *) [ -e {tmp_path}/asked ] || {{ touch {tmp_path}/asked; cat {BUSY}; exit 1; }}; cat"
    )
    found = run(hourly(), program("iperf3", busy))
    assert (found.status, found.attempt) == ("ok", 1)
    assert found.upload_bps > 0
    assert (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "said", ["iperf3-3.12-reset.json", "iperf3-3.18-reset.json", "iperf3-3.12-refused.json", "iperf3-3.18-refused.json"]
)
def test_an_upload_comes_again_where_the_server_was_not_done_with_the_download(said, hourly, program, tmp_path):
    log = tmp_path / "log"
    late = f"  *) echo asked >> {log}; [ $(wc -l < {log}) -gt 2 ] || {{ cat {FIXTURES}/{said}; exit 0; }}; cat"
    found = run(hourly(), program("iperf3", REPLAY_IPERF3.replace("  *) cat", late)))
    assert (found.status, found.attempt, found.message) == ("ok", 1, None)
    assert found.upload_bps > 0
    assert log.read_text().count("asked") == 3


@pytest.mark.parametrize("said", ["iperf3-3.12-reset.json", "iperf3-3.18-reset.json"])
def test_a_download_comes_again_where_the_server_was_not_done_with_somebody_else_s(
    said, hourly, program, monkeypatch, tmp_path
):
    monkeypatch.setattr(chain, "BUSY_WAIT_SECONDS", 0.01)
    log = tmp_path / "log"
    first = f"echo asked >> {log}; [ $(wc -l < {log}) -gt 1 ] || {{ cat {FIXTURES}/{said}; exit 0; }}"
    found = run(hourly(), program("iperf3", f"{first}\n{REPLAY_IPERF3}"))
    assert (found.status, found.attempt) == ("ok", 2)
    assert log.read_text().count("asked") == 3  # the download twice, the upload once


def test_an_upload_that_was_broken_off_is_not_made_again(hourly, program, tmp_path):
    log = tmp_path / "log"
    began = (FIXTURES / "iperf3-3.12-upload.json").read_text().rstrip()[:-1]
    (tmp_path / "broken").write_text(
        f'{began}, "error": "unable to receive control message: Connection reset by peer"}}'
    )
    script = REPLAY_IPERF3.replace("  *) cat", f"  *) echo asked >> {log}; cat {tmp_path}/broken; exit 1; cat")
    found = run(hourly(), program("iperf3", script))
    assert (found.status, found.upload_bps) == ("partial", None)
    assert log.read_text().count("asked") == 1


def test_a_server_that_stays_busy_leaves_the_download(hourly, program, monkeypatch):
    monkeypatch.setattr(chain, "BUSY_WAIT_SECONDS", 0.2)
    busy = REPLAY_IPERF3.replace("  *) cat", f"  *) cat {BUSY}; exit 1; cat")
    found = run(hourly(measure_timeout_seconds="3", duration_seconds="2"), program("iperf3", busy))
    assert (found.status, found.reason, found.upload_bps) == ("partial", "incomplete", None)


def test_a_busy_server_is_asked_again_while_nothing_else_answers(hourly, program, monkeypatch, tmp_path):
    monkeypatch.setattr(chain, "BUSY_WAIT_SECONDS", 0.01)
    busy_twice = f"echo asked >> {tmp_path}/log; [ $(wc -l < {tmp_path}/log) -gt 2 ] || {{ cat {BUSY}; exit 1; }}"
    found = run(hourly(), program("iperf3", f"{busy_twice}\n{REPLAY_IPERF3}"))
    assert (found.status, found.engine, found.attempt) == ("ok", "iperf3", 3)
    assert Spool(hourly().state_dir).read_state("rests") is None  # it answered: it is asked first next time too


def test_a_server_that_is_busy_all_the_time_is_the_reason(hourly, program, monkeypatch):
    monkeypatch.setattr(chain, "BUSY_WAIT_SECONDS", 0.1)
    found = run(hourly(measure_timeout_seconds="3", duration_seconds="1"), program("iperf3", f"cat {BUSY}; exit 1"))
    assert (found.status, found.reason) == ("failed", "server_busy")


NO_UPLOAD = "the upload was not measured; unable to connect to server: Connection refused"


@pytest.mark.parametrize(
    ("upload", "status", "before"),
    [("iperf3-3.12-upload.json", "ok", ""), ("iperf3-3.12-refused.json", "partial", f"{NO_UPLOAD}; ")],
)
def test_a_loss_above_100_percent_is_no_measurement_and_is_told(hourly, program, upload, status, before):
    script = REPLAY_IPERF3.replace("iperf3-3.12-download.json", "iperf3-3.12-udp-loss-180.json")
    found = run(hourly(), program("iperf3", script.replace("iperf3-3.12-upload.json", upload)))
    assert (found.status, found.packet_loss_pct) == (status, None)
    assert found.message == before + "packet_loss_pct left out: 179.649 is no percentage"


def test_upload_missing_is_partial(hourly, program):
    script = REPLAY_IPERF3.replace("iperf3-3.12-upload.json", "iperf3-3.12-refused.json")
    found = run(hourly(), program("iperf3", script))
    assert (found.status, found.reason, found.upload_bps) == ("partial", "incomplete", None)
    assert found.message == NO_UPLOAD
    assert found.download_bps


def test_the_second_engine_answers_and_the_record_says_so(hourly, program):
    program("iperf3", "cat " + str(FIXTURES / "iperf3-3.12-refused.json"))
    path = program("speedtest-cli", f"cat {FIXTURES}/speedtest-cli-2.1.3-ok.json")
    here = hourly(engines="iperf3 speedtest_cli")
    found = run(here, path)
    assert (found.engine_requested, found.engine, found.attempt, found.status) == ("iperf3", "speedtest_cli", 2, "ok")
    assert Spool(here.state_dir).read_state("rests")["iperf3"]["seconds"] == 900


def test_an_engine_that_rests_is_asked_last_and_a_rate_limited_one_not_at_all(hourly):
    here = hourly(engines="iperf3 speedtest_cli ookla", ookla_licence_accepted="true")
    rests = {
        "iperf3": {"until": SLOT + 900, "reason": "server_unreachable"},
        "speedtest_cli": {"until": SLOT + 900, "reason": "rate_limited"},
    }
    assert [name for name, _ in chain.plan(here, rests)] == ["ookla", "iperf3"]


def test_rate_limits_rest_longer_each_time_up_to_two_hours(hourly, program, clock):
    here = hourly(engines="speedtest_cli")
    path = program("speedtest-cli", "echo 'ERROR: HTTP Error 429: Too Many Requests' >&2; exit 1")
    seconds = []
    for _ in range(5):
        assert run(here, path).reason == "rate_limited"
        rest = Spool(here.state_dir).read_state("rests")["speedtest_cli"]
        seconds.append(rest["seconds"])
        clock["now"] = rest["until"] - rest["until"] % 3600 + 3700 + 1
    assert seconds == [900, 1800, 3600, 7200, 7200]


def test_while_rate_limited_nothing_is_started(hourly, program, clock, tmp_path):
    path = program("speedtest-cli", f"echo x >> {tmp_path}/calls; echo 'HTTP Error 429' >&2; exit 1")
    here = hourly(engines="speedtest_cli", interval_seconds="300", measure_timeout_seconds="60")
    clock["now"] = SLOT + 1
    run(here, path)
    clock["now"] += 300
    assert run(here, path).reason == "rate_limited"
    assert (tmp_path / "calls").read_text() == "x\n"


def test_servers_are_tried_in_order_without_the_blocked(hourly):
    here = hourly(iperf3_servers="a:1 b:2 c:3", iperf3_blocked_servers="b:2")
    assert list(chain.plan(here, {})) == [("iperf3", "a:1"), ("iperf3", "c:3")]


def test_another_program_under_the_name_is_missing(hourly, program):
    path = program("speedtest", "echo '{}'", version="speedtest-cli 2.1.3")
    found = run(hourly(engines="ookla", ookla_licence_accepted="true"), path)
    assert found.reason == "engine_missing"
    assert "speedtest-cli 2.1.3" in found.message


def test_ookla_does_not_run_without_its_licence(hourly, program, tmp_path):
    path = program("speedtest", f"touch {tmp_path}/ran")
    assert run(hourly(engines="ookla"), path).reason == "licence_not_accepted"
    assert not (tmp_path / "ran").exists()


def test_a_name_that_does_not_resolve_is_dns_failed(monkeypatch):
    monkeypatch.setattr(network, "resolves", lambda _: False)
    assert chain.explain(EngineError("server_unreachable", "odd"), "no-such-host.invalid:5201").reason == "dns_failed"
    assert chain.explain(EngineError("bad_output", "odd"), "no-such-host.invalid:5201").reason == "bad_output"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"paused": "true"}, "paused"),
        ({"quiet_hours": "00:00-23:59"}, "quiet_hours"),
        ({"disk_min_free_mb": "999999999"}, "disk_full"),
    ],
)
def test_gates_leave_a_record(hourly, variables, reason):
    found = run(hourly(**variables))
    assert (found.status, found.reason) == ("skipped", reason)
    assert outbox(hourly()) == [found]


@pytest.mark.parametrize(
    ("window", "zone", "inside"),
    [
        ("22:00-06:00", "UTC", False),
        ("07:00-09:00", "UTC", True),
        ("08:00-09:00", "Europe/Berlin", False),
        ("09:00-10:00", "Europe/Berlin", True),
        ("23:00-08:01", "UTC", True),
    ],
)
def test_quiet_hours_follow_the_owners_clock(hourly, window, zone, inside):
    eight = 1_800_000_000 - 1_800_000_000 % 86_400 + 8 * 3600  # 08:00 UTC in January, 09:00 in Berlin
    assert bool(gates.quiet_window(hourly(quiet_hours=window, timezone=zone), eight)) == inside


def test_utc_needs_no_table_of_zones(hourly, monkeypatch):
    monkeypatch.setitem(sys.modules, "zoneinfo", None)  # importing it fails
    assert gates.quiet_window(hourly(quiet_hours="07:00-09:00", timezone="UTC"), 8 * 3600) == "07:00-09:00"


def test_the_budget_counts_this_months_bytes(hourly, program, clock):
    clock["now"] = 1_800_000_000 // 3600 * 3600 + 101.0  # amid a month
    here = hourly(data_budget_gb="0.001")
    assert run(here, program("iperf3", REPLAY_IPERF3)).status == "ok"
    clock["now"] += 3600
    assert run(here).reason == "data_budget"
    clock["now"] += 40 * 86_400 - 3600  # next month
    assert run(here).reason == "engine_missing"


def test_a_busy_line_is_left_alone(hourly, monkeypatch):
    counts = iter([(0, 0), (0, 0), (0, 0), (10_000_000, 0)])
    monkeypatch.setattr(network, "counters", lambda _: next(counts))
    monkeypatch.setattr(network, "default_interface", lambda: "eth0")
    assert gates.busy(hourly(busy_mbps="50", busy_window_seconds="1")) is None
    assert gates.busy(hourly(busy_mbps="50", busy_window_seconds="1"))[0] == "line_busy"


@pytest.fixture
def running(hourly):
    """A measurement is running."""
    here = hourly()
    spool = Spool(here.state_dir)
    spool.prepare()
    with (here.state_dir / "state/measure.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield spool


def test_two_measurements_do_not_meet(hourly, running):
    found = run(hourly())
    assert (found.status, found.reason, found.scheduled_at) == ("skipped", "locked", record.utc_text(SLOT))


@pytest.mark.parametrize("marked", [True, False])  # the one that runs may not have said yet whose slot it is
def test_by_hand_while_the_slot_is_measured_says_so_and_leaves_the_slot_alone(hourly, running, marked, capfd):
    if marked:
        running.write_state("measuring", measure.begin(hourly(), SLOT, SLOT).to_row())
    found = run(hourly(), timer=False)
    assert (found.status, found.reason, found.scheduled_at) == ("skipped", "locked", None)
    assert outbox(hourly()) == [found]
    assert "another measurement is still running" in capfd.readouterr().err


def test_a_timer_leaves_a_slot_that_is_being_measured_alone(hourly, running, capfd):
    running.write_state("measuring", measure.begin(hourly(), SLOT, SLOT).to_row())
    assert run(hourly()) is None
    assert outbox(hourly()) == []
    assert "slot_is_being_measured" in capfd.readouterr().err


def test_what_was_killed_leaves_a_record_at_the_next_start(hourly, clock):
    here = hourly()
    spool = Spool(here.state_dir)
    spool.prepare()
    spool.write_state("measuring", measure.begin(here, SLOT, SLOT + 1).to_row())
    clock["now"] += 3600
    run(here)
    assert {(r.scheduled_at, r.reason) for r in outbox(here)} == {
        (record.utc_text(SLOT), "interrupted"),
        (record.utc_text(SLOT + 3600), "engine_missing"),
    }


def test_the_outbox_has_a_cap_and_what_it_drops_is_counted_in_one_record(hourly, clock):
    here = hourly(outbox_max_mb="0.02")
    for _ in range(8):
        run(here)
        clock["now"] += 3600
    (count,) = (r for r in outbox(here) if r.reason == "outbox_dropped")
    span = f"of slots from {record.utc_text(SLOT)} to {record.utc_text(SLOT + 4 * 3600)}"
    assert count.message == f"5 undelivered records dropped, {span}"
    assert len(outbox(here)) == 4
    assert sum(found.st_blocks * 512 for found in Spool(here.state_dir).waiting().values()) <= 0.02e6


def test_addresses_are_shortened_or_left_out(hourly):
    result = chain.engines.get("ookla").parse([recorded("ookla-1.2.0-ok.json")])
    assert measure.measured(hourly(), result)["external_ip"] == "203.0.113.7"
    assert measure.measured(hourly(external_ip="shortened"), result)["external_ip"] == "203.0.113.0"
    assert record.shorten("2001:db8:1234:5678::1") == "2001:db8:1234::"
    left_out = measure.measured(hourly(external_ip="none", isp_enabled="false"), result)
    assert left_out["external_ip"] is left_out["isp"] is None


def test_background_is_the_counters_less_the_tests_own_bytes(hourly):
    found = replace(measure.begin(hourly(), SLOT, SLOT), bytes_received=1000, bytes_sent=500)
    with_background = measure.with_background(found, (0, 0), (1500, 400))
    assert (with_background.background_rx_bytes, with_background.background_tx_bytes) == (500, 0)


def test_old_history_and_raw_output_go_and_the_outbox_stays(hourly, program, clock):
    here = hourly(history_days="10", raw_days="5")
    run(here, program("iperf3", REPLAY_IPERF3))
    for file in here.state_dir.rglob("*"):
        if file.is_file():
            os.utime(file, (SLOT - 7 * 86_400, SLOT - 7 * 86_400))
    clock["now"] += 86_400
    run(here)
    assert not list(here.state_dir.glob("raw/*"))
    assert len(list(here.state_dir.glob("results/**/*.csv"))) == 2
    assert len(outbox(here)) == 2


def test_the_log_is_json_lines_and_rotates(hourly, monkeypatch):
    here = hourly()
    log = Log(here.log_file)
    monkeypatch.setattr("speedtest_logger.log.MAX_BYTES", 1000)
    for number in range(200):
        log.event("debug", "tick", number=number)
    files = sorted(here.log_file.parent.glob("diag.log*"))
    assert len(files) == 10
    assert all(file.stat().st_size <= 1000 for file in files)
    assert json.loads(here.log_file.read_text().splitlines()[-1])["number"] == 199


@pytest.mark.parametrize("said", ["x" * 5000, "a\\0b \\033[31m c", "\\377\\376", "{}" * 3000])
def test_whatever_an_engine_says_the_record_is_one_that_the_archive_takes(hourly, program, said):
    path = program("iperf3", f"printf '%b' '{said}' >&2; printf '%b' '{said}'; exit 1")
    program("speedtest-cli", f"printf '%b' '{said}' >&2; exit 1")
    program("librespeed-cli", f"printf '%b' '{said}' >&2; exit 1")
    found = run(hourly(engines="iperf3 speedtest_cli librespeed"), path)
    assert found.status == "failed"
    assert record.validate(found.to_row()) == found
    assert outbox(hourly()) == [found]


def test_an_impossible_record_is_kept_as_a_failed_one(hourly):
    impossible = replace(
        measure.begin(hourly(), SLOT, SLOT), status="ok", reason=None, download_bps=-1.0, upload_bps=1.0
    )
    found = measure.presentable(impossible)
    assert (found.status, found.reason, found.run_id) == ("failed", "bad_output", impossible.run_id)
    assert "download_bps is -1.0" in found.message


@pytest.mark.parametrize("speed", ["1e300", "9" * 400, "1e16", "-5", "NaN"])
def test_a_huge_number_is_no_speed(hourly, program, speed):
    path = program("speedtest-cli", f'echo \'{{"download": {speed}, "upload": {speed}, "ping": 1}}\'')
    assert run(hourly(engines="speedtest_cli"), path).reason == "bad_output"


def test_who_waits_measures_after_the_one_that_runs(hourly, program):
    here = hourly()
    path = program("iperf3", REPLAY_IPERF3)
    spool = Spool(here.state_dir)
    spool.prepare()
    with (here.state_dir / "state/measure.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        found = measure.measure(here, Log(here.log_file), {"PATH": path}, wait=True)
    assert found.status == "ok"
