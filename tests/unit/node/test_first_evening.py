"""What a newcomer types first: without sudo, by hand, and with the words that neighbours take."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import jinja2
import pytest
from builders import REPLAY_IPERF3, ROOT

from speedtest_logger.archive import cli as archive_cli
from speedtest_logger.archive.cli import parser
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_NO_ACCESS, EXIT_OK, EXIT_USAGE
from speedtest_logger.node import cli, config, measure, network
from speedtest_logger.schedule import check_interval, parse_duration

STRANGER = 60_123
ENVIRONMENT = {
    "SPEEDTEST_NODE": "attic",
    "SPEEDTEST_ENGINES": "iperf3",
    "SPEEDTEST_IPERF3_SERVERS": "192.0.2.1",
    "SPEEDTEST_DISK_MIN_FREE_MB": "0",
    "SPEEDTEST_PLAN_DOWNLOAD_MBPS": "250",
}


def as_a_stranger(act):
    """Run a function in a child that is neither root nor an account of ours; its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def open_path():
    """A folder where everybody may pass, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("verb", ["measure", "status", "doctor", "push", "healthcheck", "config check"])
@pytest.mark.parametrize("option", [False, True])
def test_the_logger_without_sudo_says_so(open_path, monkeypatch, capfd, verb, option):
    file = open_path / "logger.env"
    file.write_text('SPEEDTEST_NODE="attic"\n')
    file.chmod(0o640)
    monkeypatch.setattr(config, "ENV_FILE", file)
    for name in [name for name in os.environ if name.startswith("SPEEDTEST_")]:
        monkeypatch.delenv(name)
    argv = [*(["--env-file", str(file)] if option else []), *verb.split()]
    assert as_a_stranger(lambda: cli.main(argv)) == EXIT_NO_ACCESS
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == f"speedtest-logger: cannot read {file} as this account: run this with sudo\n"


def test_a_state_that_may_not_be_read_is_no_fault_of_the_disk(open_path, monkeypatch, capfd):
    (open_path / "state").mkdir(mode=0o750)
    (open_path / "state" / "state").mkdir(mode=0o750)
    for name, value in {**ENVIRONMENT, "SPEEDTEST_STATE_DIR": str(open_path / "state")}.items():
        monkeypatch.setenv(name, value)
    assert as_a_stranger(lambda: cli.main(["status"])) == EXIT_NO_ACCESS
    assert capfd.readouterr().err.endswith(" as this account: run this with sudo\n")


def test_without_any_settings_the_first_one_is_asked_for(open_path, monkeypatch, capfd):
    monkeypatch.setattr(config, "ENV_FILE", open_path / "there-is-none.env")
    monkeypatch.delenv("SPEEDTEST_NODE", raising=False)
    assert cli.main(["status"]) == EXIT_USAGE
    assert "SPEEDTEST_NODE is not set" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["nodes", "latest", "verify", "ingest", "fleet", "query 'SELECT 1'"])
def test_the_archive_without_sudo_says_so(open_path, capfd, verb):
    layout = Layout(open_path / "archive")
    layout.prepare()
    layout.root.chmod(0o750)
    argv = ["--root", str(layout.root), *verb.split(maxsplit=1)]
    assert as_a_stranger(lambda: archive_cli.main(argv)) == EXIT_NO_ACCESS
    said = capfd.readouterr().err
    assert said.startswith(f"speedtest-archive: cannot open {layout.root}")
    assert said.endswith(" as this account: run this with sudo\n")


def test_measure_by_hand_prints_what_it_measured(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(network, "outage_reason", lambda _: None)
    places = {"SPEEDTEST_STATE_DIR": str(tmp_path / "state"), "SPEEDTEST_LOG_FILE": str(tmp_path / "log")}
    for name, value in {**ENVIRONMENT, **places, "PATH": program("iperf3", REPLAY_IPERF3)}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "state").mkdir()
    assert cli.main(["measure"]) == EXIT_OK
    line = capsys.readouterr().out
    assert line == "ok, download 192.9 of 250 Mbit/s, upload 48.9 Mbit/s\n"
    assert cli.main(["status"]) == EXIT_OK
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].endswith(line.strip())
    assert shown[2] == "plan          download 250 Mbit/s"
    assert shown[3].startswith("next slot     20")
    assert cli.main(["measure", "--scheduled"]) == EXIT_OK  # a unit's: the journal has the record already
    assert capsys.readouterr().out == ""


def test_why_nothing_was_measured_is_printed(settings):
    from speedtest_logger.node import status

    known = settings()
    record = measure.skipped(measure.begin(known, None, 1_800_000_000), "paused", "measuring is paused").to_row()
    assert status.in_words(known, record) == "skipped, paused, measuring is paused"


def test_weeks_are_a_time_and_latest_takes_a_period():
    assert parse_duration("1w") == parse_duration("7d") == 604_800
    with pytest.raises(ValueError, match="does not divide a day"):
        check_interval(parse_duration("1w"))
    for verb in ("latest", "coverage", "outages", "export"):
        words = [verb, "--last", "1w", *(["x"] if verb == "export" else [])]
        assert parser().parse_args(words).last == 604_800


def test_a_number_with_its_unit_is_told_plainly():
    settings, problems = config.read({**ENVIRONMENT, "SPEEDTEST_BUSY_MBPS": "5 Mbit"})
    assert problems == ["SPEEDTEST_BUSY_MBPS='5 Mbit': a number from 0 to 1000000 is expected"]
    assert settings.busy_mbps == 0


@pytest.mark.parametrize(
    ("verb", "mode", "runs"),
    [
        ("measure", 0o644, "docker exec speedtest-logger speedtest-logger measure --wait"),
        ("measure", 0o600, "program measure --wait"),  # which says that it needs sudo
        ("status", 0o644, "program status --wait"),
    ],
)
def test_the_containers_wrapper_leaves_saying_what_is_missing_to_the_program(open_path, capfd, verb, mode, runs):
    names = {"config_dir": open_path, "install_dir": open_path}
    template = ROOT / "roles/speedtest_logger/templates/usr/local/bin/speedtest-logger.j2"
    wrapper = open_path / "wrapper"
    wrapper.write_text(
        jinja2.Template(template.read_text()).render(
            **{f"speedtest_logger_{name}": str(value) for name, value in names.items()},
            project={"container": "speedtest-logger"},
        )
    )
    (open_path / "logger.env").touch(mode)
    (open_path / "logger.env").chmod(mode)
    (open_path / "current/bin").mkdir(parents=True)
    for file, name in ((open_path / "current/bin/speedtest-logger", "program"), (open_path / "docker", "docker")):
        file.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        file.chmod(0o755)
    for folder in (open_path / "current", open_path / "current/bin"):
        folder.chmod(0o755)
    environment = {"PATH": f"{open_path}:{os.environ['PATH']}"}

    def act():
        return subprocess.run(["sh", str(wrapper), verb, "--wait"], env=environment, check=False).returncode

    assert as_a_stranger(act) == 0
    assert capfd.readouterr().out == runs + "\n"
