"""The archive host's own units: their lines come in once, bounded, and are asked for as a node's are."""

from __future__ import annotations

import json
import time

import pytest
from builders import run

from speedtest_logger.archive.arrive import journal
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import RefusedError, StorageError

# as `journalctl --output=json` of systemd 252 printed them, less fields that are not looked at
SAID = {
    "__CURSOR": "s=1;i=1", "__REALTIME_TIMESTAMP": "0", "__MONOTONIC_TIMESTAMP": "10", "_BOOT_ID": "a" * 32,
    "PRIORITY": "6", "_SYSTEMD_UNIT": "speedtest-ingest.service", "MESSAGE": '{"files": 1}',
}  # fmt: skip


@pytest.fixture
def host(program, monkeypatch, tmp_path):
    """journalctl, which prints entries after a cursor as the real one does, and keeps how it was asked."""
    entries: list[dict[str, object]] = []
    asked = tmp_path / "asked"

    def has(*more, code=0):
        now = int(time.time() * 1e6)
        for change in more:
            number = len(entries) + 1
            at = {"__CURSOR": f"s=1;i={number}", "__REALTIME_TIMESTAMP": str(now), "__MONOTONIC_TIMESTAMP": str(number)}
            entries.append({**SAID, **at, **change})
        (tmp_path / "entries").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        script = (
            f'echo "$*" >>{asked}\n'
            f"for word; do case $word in --after-cursor=*) after=${{word#--after-cursor=s=1;i=}};; esac; done\n"
            f"tail -n +$((${{after:-0}} + 1)) {tmp_path}/entries; exit {code}\n"
        )
        monkeypatch.setenv("PATH", program("journalctl", script, "systemd 252"))
        return asked

    return has


def lines(layout, capsys, *options):
    ingest.ingest(layout)
    capsys.readouterr()
    assert run(layout, "logs", "--format", "json", "--level", "debug", *options) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_units_said_is_there_once(layout, host, capsys):
    asked = host({}, {"PRIORITY": "3", "MESSAGE": [0x66, 0xFF, 0x6F]})
    assert journal.collect(layout, Limits()) == 2
    host({"_SYSTEMD_UNIT": "init.scope", "UNIT": "speedtest-backup.service", "MESSAGE": "Failed to start"})
    assert journal.collect(layout, Limits()) == 1
    assert journal.collect(layout, Limits()) == 0
    found = lines(layout, capsys, "--node", "@archive")
    assert [(line["level"], line["event"], line["fields"]["message"]) for line in found] == [
        ("info", "speedtest-ingest", '{"files": 1}'),
        ("error", "speedtest-ingest", "f\ufffdo"),
        ("info", "speedtest-backup", "Failed to start"),
    ]
    words = asked.read_text().splitlines()
    assert "--since=-1h" in words[0]
    assert "--after-cursor=s=1;i=2" in words[1]
    assert "--unit=speedtest-dashboard.service" in words[0]


def test_a_run_that_was_killed_reads_again_and_no_line_is_there_twice(layout, host, capsys):
    host({}, {})
    journal.collect(layout, Limits())
    (layout.state / journal.STATE).unlink()
    host({})
    assert journal.collect(layout, Limits()) == 3
    assert len(lines(layout, capsys)) == 3


def test_lines_of_one_moment_are_several(layout, host, capsys):
    host(*[{"__MONOTONIC_TIMESTAMP": "7", "MESSAGE": str(number)} for number in range(3)])
    journal.collect(layout, Limits())
    assert sorted(line["fields"]["message"] for line in lines(layout, capsys)) == ["0", "1", "2"]


def test_a_unit_that_shouts_is_counted_and_the_next_day_says_so(layout, host, capsys):
    host(*[{"MESSAGE": "x" * 3000}] * 2000)
    journal.collect(layout, Limits(log_day_mb=1))
    assert len(lines(layout, capsys, "--limit", "9999")) < 350
    journal.collect(layout, Limits(log_day_mb=1), time.time() + 86_400)
    told = [line for line in lines(layout, capsys) if line["event"] == "lines_left_out"]
    assert sum(line["fields"]["lines"] for line in told) > 1600


def test_an_inbox_that_is_full_loses_nothing(layout, host, capsys):
    host(*[{"MESSAGE": "x" * 3000}] * 1000)
    with pytest.raises(RefusedError, match="wait for ingest"):
        journal.collect(layout, Limits(log_inbox_mb=1))
    assert not list(layout.log_inbox.glob("*/*"))
    assert journal.collect(layout, Limits()) == 1000


def test_long_lines_are_cut_and_odd_entries_left_out(layout, host, capsys):
    host({"MESSAGE": "\u00e4" * 100_000}, {"MESSAGE": None}, {"PRIORITY": "x", "MESSAGE": "well"}, {"MESSAGE": 7})
    journal.collect(layout, Limits())
    assert [line["fields"].get("message", "")[:4] for line in lines(layout, capsys)] == [
        "\u00e4" * 4,
        "None",
        "well",
        "7",
    ]


def test_a_journal_that_cannot_be_read_is_said(layout, host, capsys):
    host(code=1)
    with pytest.raises(StorageError, match="exit code 1"):
        journal.collect(layout, Limits())
    assert run(layout, "collect") == 5
