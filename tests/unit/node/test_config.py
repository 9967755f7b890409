"""Settings: typed, all problems at once, read as systemd reads them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from plugins.desired import templates
from speedtest_logger import __version__, env_file
from speedtest_logger.errors import ConfigError
from speedtest_logger.node import config


def problems(**variables):
    with pytest.raises(ConfigError) as caught:
        config.load({f"SPEEDTEST_{name}": value for name, value in variables.items()})
    return caught.value.problems


def test_the_node_is_all_that_must_be_set():
    settings = config.load({"SPEEDTEST_NODE": "attic"})
    assert (settings.engines, settings.interval_seconds, settings.location) == (
        ("librespeed",),
        3600,
        "unknown-location",
    )
    assert settings.engine["iperf3"].program == "iperf3"


def test_every_problem_is_reported_with_variable_value_and_what_is_wanted():
    found = problems(
        ENGINES="fastcom",
        INTERVAL_SECONDS="420",
        PAUSED="perhaps",
        QUIET_HOURS="25:00-06:00",
        TYPO="1",
        TIMEZONE="Mars/Olympus",
        LOCATION="../etc",
        DATA_BUDGET_GB="-1",
    )
    assert len(found) == 9
    for variable, value, wanted in (
        ("NODE", "", "not set"),
        ("ENGINES", "fastcom", "librespeed, iperf3"),
        ("INTERVAL_SECONDS", "420", "nearest is 432"),
        ("PAUSED", "perhaps", "true or false"),
        ("QUIET_HOURS", "25:00", "22:00-06:00"),
        ("TYPO", "", "no such setting"),
        ("TIMEZONE", "Mars", "Europe/Berlin"),
        ("LOCATION", "../etc", "letters"),
        ("DATA_BUDGET_GB", "-1", "from 0 to 1000000"),
    ):
        assert any(f"SPEEDTEST_{variable}" in text and value in text and wanted in text for text in found), variable


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        (
            {"NODE": "a", "INTERVAL_SECONDS": "300", "OFFSET_SECONDS": "300", "MEASURE_TIMEOUT_SECONDS": "60"},
            "OFFSET_SECONDS",
        ),
        ({"NODE": "a", "INTERVAL_SECONDS": "60", "MEASURE_TIMEOUT_SECONDS": "60"}, "MEASURE_TIMEOUT_SECONDS"),
        ({"NODE": "a", "ENGINES": "iperf3"}, "IPERF3_SERVERS"),
    ],
)
def test_contradictions(variables, word):
    assert word in problems(**variables)[0]


def written(values):
    return templates.env_file("speedtest_logger", values)


AWKWARD = {
    "SPEEDTEST_NODE": "attic",
    "SPEEDTEST_IPERF3_EXTRA_ARGS": ["--title", 'a "quoted" $HOME `x` \\ word', "it's"],
}


def test_an_env_file_from_ansible_reads_back(tmp_path):
    file = tmp_path / "logger.env"
    file.write_text(written(AWKWARD))
    settings = config.load(env_file.read(file))
    assert list(settings.engine["iperf3"].extra_args) == AWKWARD["SPEEDTEST_IPERF3_EXTRA_ARGS"]


def test_a_shell_reads_it_alike(tmp_path):
    file = tmp_path / "logger.env"
    file.write_text(written(AWKWARD))
    assert shutil.which("sh")
    said = subprocess.run(
        ["sh", "-c", f'. {file}; printf %s "$SPEEDTEST_IPERF3_EXTRA_ARGS"'], capture_output=True, text=True, check=True
    ).stdout
    assert said == env_file.read(file)["SPEEDTEST_IPERF3_EXTRA_ARGS"]


def test_settings_written_for_another_release_may_be_unknown():
    newer = {"SPEEDTEST_NODE": "attic", "SPEEDTEST_FROM_THE_FUTURE": "1"}
    assert config.load({**newer, "SPEEDTEST_RELEASE": "99.0.0"}).node == "attic"
    with pytest.raises(ConfigError, match="SPEEDTEST_FROM_THE_FUTURE: there is no such setting"):
        config.load({**newer, "SPEEDTEST_RELEASE": __version__})
