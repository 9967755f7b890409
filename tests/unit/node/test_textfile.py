"""The node's textfile: every figure is what the node's own state says, and nothing that goes wrong costs a record."""

from __future__ import annotations

import json
import os
import re
import stat

import promtool
import pytest

from speedtest_logger import __version__, metrics
from speedtest_logger.log import Log
from speedtest_logger.node import cap, cli, gates, measure
from speedtest_logger.node import metrics as own
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import unix_time, utc_text

NOW = unix_time("2026-06-01T12:00:00.000Z")


@pytest.fixture
def here(settings, tmp_path):
    """A node that writes metrics into a directory of its own."""
    (tmp_path / "metrics").mkdir()
    made = settings(metrics_dir=str(tmp_path / "metrics"))
    Spool(made.state_dir).prepare()
    return made


@pytest.fixture
def log(here):
    return Log(here.log_file)


def shown(directory):
    """The samples of a directory's file, by name; labels are left out."""
    text = (directory / "speedtest.prom").read_text("utf-8")
    promtool.check(text)
    return {name: value for name, own in promtool.samples(text).items() for value in own.values()}


def record(settings, now, **values):
    return measure.begin(settings, None, now).to_row() | values


def test_a_node_that_has_done_nothing_yet_says_only_what_it_knows(here, log):
    own.write(here, here.metrics_dir, log)
    assert shown(here.metrics_dir) == {
        "speedtest_build_info": 1,
        "speedtest_logger_outbox_records": 0,
        "speedtest_logger_outbox_bytes": 0,
        "speedtest_logger_outbox_dropped_total": 0,
        "speedtest_logger_budget_used_bytes": 0,
        "speedtest_logger_log_bytes": 0,
    }
    text = (here.metrics_dir / "speedtest.prom").read_text()
    assert f'speedtest_build_info{{version="{__version__}",role="logger",python="3.' in text
    assert not re.search("nan|inf ", text, re.IGNORECASE)


def test_every_figure_is_what_the_state_says(settings, here, tmp_path, monkeypatch):
    with_budget = settings(metrics_dir=str(here.metrics_dir), data_budget_gb="1.5")
    spool, log = Spool(here.state_dir), Log(here.log_file)
    monkeypatch.setattr(own.time, "time", lambda: NOW)
    ended = utc_text(NOW - 60)
    spool.write_state("last_record", record(here, NOW - 90.5, status="ok", reason=None, finished_at=ended))
    spool.write_state("last_receipt", {"receipt": "r", "at": utc_text(NOW - 30)})
    spool.write_state("usage", {"month": "2026-06", "bytes": 123})
    for name in ("a", "b"):
        (spool.outbox / f"{name}.csv").write_bytes(b"x" * 5000)
    (spool.outbox / "no-record.tmp").write_bytes(b"x")
    here.log_file.write_bytes(b"x" * 10)
    here.log_file.with_name("diag.log.3").write_bytes(b"x" * 7)
    here.log_file.with_name("diag.log.2").symlink_to(tmp_path / "elsewhere")
    own.write(with_budget, here.metrics_dir, log)
    found = shown(here.metrics_dir)
    assert found.pop("speedtest_logger_outbox_bytes") == sum(
        f.stat().st_blocks * 512 for f in spool.outbox.glob("*.csv")
    )
    assert {name.removeprefix("speedtest_logger_"): value for name, value in found.items()} == {
        "speedtest_build_info": 1,
        "last_run_timestamp_seconds": NOW - 60,
        "last_run_duration_seconds": 30.5,
        "last_run_success": 1,
        "outbox_records": 2,
        "outbox_dropped_total": 0,
        "delivery_last_success_timestamp_seconds": NOW - 30,
        "budget_used_bytes": 123,
        "budget_limit_bytes": 1.5 * gates.GB,
        "log_bytes": 17,
    }


@pytest.mark.parametrize(("status", "success"), [("ok", 1), ("skipped", 1), ("partial", 0), ("failed", 0)])
def test_a_run_that_did_what_it_should_is_a_success(here, log, status, success):
    Spool(here.state_dir).write_state("last_record", record(here, NOW, status=status))
    own.write(here, here.metrics_dir, log)
    assert shown(here.metrics_dir)["speedtest_logger_last_run_success"] == success


def test_the_file_is_readable_for_all_and_no_link_is_followed(here, log, tmp_path):
    precious, file = tmp_path / "precious", here.metrics_dir / "speedtest.prom"
    precious.write_text("as it was")
    file.symlink_to(precious)
    (here.metrics_dir / f".speedtest.prom.{os.getpid()}.tmp").symlink_to(precious)
    os.umask(0o077)
    own.write(here, here.metrics_dir, log)
    assert precious.read_text() == "as it was"
    assert stat.filemode(file.lstat().st_mode) == "-rw-r--r--"
    assert [entry.name for entry in here.metrics_dir.iterdir()] == ["speedtest.prom"]
    here.metrics_dir.rename(tmp_path / "other")
    here.metrics_dir.symlink_to(tmp_path / "other")
    before = file.stat().st_mtime_ns
    own.write(here, here.metrics_dir, log)
    assert file.stat().st_mtime_ns == before
    assert "metrics_not_written" in here.log_file.read_text()


def test_whoever_reads_sees_a_whole_file(here, log):
    """The file is never the one that is being written: it has another inode each time."""
    own.write(here, here.metrics_dir, log)
    with (here.metrics_dir / "speedtest.prom").open() as reading:
        own.write(here, here.metrics_dir, log)
        assert reading.read().endswith("\n")
        assert os.fstat(reading.fileno()).st_ino != (here.metrics_dir / "speedtest.prom").stat().st_ino


def test_what_goes_wrong_is_said_once_and_again_after_it_was_right(here, log, monkeypatch):
    def complaints():
        lines = here.log_file.read_text().splitlines() if here.log_file.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == "metrics_not_written"]

    here.metrics_dir.rmdir()
    for number in range(3):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)  # each run is a process of its own
        own.write(here, here.metrics_dir, log)
    assert [(line["level"], str(here.metrics_dir) in line["message"]) for line in complaints()] == [("warning", True)]
    here.metrics_dir.mkdir()
    own.write(here, here.metrics_dir, log)
    assert "speedtest_build_info" in shown(here.metrics_dir)
    (here.metrics_dir / "speedtest.prom").unlink()
    (here.metrics_dir / "speedtest.prom").mkdir()
    for number in range(3):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        own.write(here, here.metrics_dir, log)
    assert len(complaints()) == 2
    assert [entry.name for entry in here.metrics_dir.iterdir()] == ["speedtest.prom"]


@pytest.mark.parametrize(
    "damage", [{"last_record": {"finished_at": 7}}, {"last_record": {}}, {"usage": {"month": "x", "bytes": []}}]
)
def test_a_state_that_makes_no_sense_costs_nothing(here, log, damage):
    for name, content in damage.items():
        Spool(here.state_dir).write_state(name, content)
    own.write(here, here.metrics_dir, log)
    said = here.log_file.read_text() if here.log_file.exists() else ""
    assert (here.metrics_dir / "speedtest.prom").exists() != ("metrics_not_written" in said)


def test_a_measurement_and_a_push_write_the_file_whatever_becomes_of_them(
    here, settings, tmp_path, program, monkeypatch
):
    variables = {
        "node": "attic",
        "state_dir": here.state_dir,
        "log_file": here.log_file,
        "metrics_dir": here.metrics_dir,
    }
    variables |= {
        "engines": "iperf3",
        "iperf3_servers": "192.0.2.1",
        "disk_min_free_mb": "0",
        "archive_host": "192.0.2.1",
    }
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name, value in variables.items():
        monkeypatch.setenv(f"SPEEDTEST_{name.upper()}", str(value))
    monkeypatch.setenv("PATH", program("iperf3", "exit 1"))
    file = here.metrics_dir / "speedtest.prom"
    assert cli.main(["measure"]) == 3
    assert shown(here.metrics_dir)["speedtest_logger_last_run_success"] == 0
    assert shown(here.metrics_dir)["speedtest_logger_outbox_records"] == 1
    file.unlink()
    monkeypatch.setattr("speedtest_logger.node.push.TRIES", 1)
    assert cli.main(["push"]) == 4
    assert file.exists()
    here.metrics_dir.chmod(0o755)
    file.unlink()
    here.metrics_dir.rmdir()
    assert cli.main(["measure"]) == 3  # what it would have been
    assert len(list((here.state_dir / "outbox").iterdir())) == 2


def test_no_file_is_written_where_none_is_wanted(settings, tmp_path):
    plain = settings()
    assert plain.metrics_dir is None
    cli.write_metrics(plain, Log(None))
    assert not list(tmp_path.rglob("*.prom"))


def test_dropped_records_are_counted_for_ever_and_once(settings, here, log):
    """Through a count that is rewritten, one that was sent and another one after it, and a crash between two steps."""
    small = settings(metrics_dir=str(here.metrics_dir), outbox_max_mb="0.02")
    spool, counts = Spool(here.state_dir), []
    for number in range(12):
        measured = measure.presentable(measure.begin(small, None, NOW + number))
        cap.keep_below_cap(small, spool, log, measured)
        spool.write(measured)
        counts.append(spool.dropped())
        if number == 6:
            cap.freeze(spool)
        if number == 9:
            cap.add_up(spool)
            assert spool.dropped() == counts[-1]  # killed before the journal went: not twice
            spool.clear_state("dropped")
            assert spool.dropped() == counts[-1]
    assert counts == sorted(counts)
    assert counts[-1] > counts[6] > counts[3] >= 0
    kept = sum(1 for f in spool.outbox.glob("*.csv") if "outbox_dropped" not in f.read_text())
    assert counts[-1] == 12 - kept
    own.write(small, here.metrics_dir, log)
    assert shown(here.metrics_dir)["speedtest_logger_outbox_dropped_total"] == counts[-1]


def test_all_that_is_written_is_in_the_table(here, log):
    own.write(here, here.metrics_dir, log)
    assert set(shown(here.metrics_dir)) <= set(metrics.BY_NAME)
    values = own.figures(here, Spool(here.state_dir), NOW)
    assert {f"speedtest_logger_{name}" for name in values} <= {metric.name for metric in metrics.OF_NODE}
