"""Whatever value an input has: it is refused where its domain says so, and where the node would."""

from __future__ import annotations

import math

import pytest
from everything import DOWNLOAD, INFINITY, NAN, L, problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.errors import ConfigError
from speedtest_logger.inventory import environment, roles
from speedtest_logger.inventory.found import View
from speedtest_logger.node import config

PLANTED = st.sampled_from(["a\nb", "x\x00", "\x1b[31m", "é\u202e", "\ud800"])
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), PLANTED, st.just("x" * 5000),
    st.sampled_from([NAN, INFINITY, -1, 0, 2**64, "", "/", "/etc", "../x", "-x", "root", "7min", "garbage", "latest"]),
    st.lists(st.text(max_size=4) | st.integers() | PLANTED, max_size=3),
    st.dictionaries(st.text(max_size=4),
    st.text(max_size=4), max_size=2),
)  # fmt: skip
EVERY = sorted(roles.known())


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=tries(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(value=ODD)
def test_a_value_outside_is_refused_and_one_inside_is_not(name, value):
    refused = roles.known()[name].domain.problem(value)
    named = [line for line in problems(**{name: value}) if line.startswith(f"{name}: seen ")]
    assert len(named) == 1 if refused else not [line for line in named if " is expected" in line]
    # what no input can be, whatever its domain says
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and "\x00" in value)
    ):
        assert refused


@pytest.mark.parametrize("name", EVERY)
def test_every_input_refuses_what_is_beyond_its_ends(name):
    domain = roles.known()[name].domain
    beyond = [None, NAN, INFINITY, -INFINITY, "x\ny", {"a": {"b": NAN}}, [NAN], object()]
    beyond += (
        [domain.least - 1, domain.most + 1, True]
        if hasattr(domain, "least") and domain.kind in ("int", "float")
        else []
    )
    for value in beyond:
        if isinstance(value, dict) and name in ("docker_host_daemon", "managed_host_plan", "managed_host_os"):
            assert domain.problem(value)
        assert [line for line in problems(**{name: value}) if line.startswith(f"{name}: seen ")], value


NUMBERS = {
    name: st.integers(int(i.domain.least), int(i.domain.most))
    if i.domain.kind == "int"
    else st.floats(i.domain.least, i.domain.most)
    for name, i in roles.known().items()
    if name.startswith(L) and hasattr(i.domain, "least") and i.domain.kind in ("int", "float")
}
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
OTHERS = {
    L + "interval": st.sampled_from(["1min", "15min", "1h", "2h 24min", "1d"]),
    L + "push_interval": st.sampled_from(["1min", "5min", "1d"]),
    L + "engines": st.lists(st.sampled_from(list(ENGINES)), min_size=1, max_size=4, unique=True),
    L + "iperf3_servers": st.lists(st.sampled_from(["a", "b:1", "[::1]:5", "192.0.2.1:5201"]), max_size=2),
    L + "librespeed_servers": st.lists(st.sampled_from(["7", "http://a/", "https://b:1/x?y"]), max_size=2),
    L + "iperf3_extra_args": st.lists(WORDS | st.just("a b 'c' \"d\" $x `y` \\"), max_size=3),
    L + "quiet_hours": st.lists(st.sampled_from(["22:00-06:00", "00:00-23:59"]), max_size=2),
    L + "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    L + "paused": st.booleans(), L + "archive_raw": st.booleans(), L + "isp_enabled": st.booleans(),
    L + "external_ip": st.sampled_from(["full", "shortened", "none"]), L + "ookla_licence_accepted": st.just(True),
    L + "location": st.sampled_from(["home", "a-1"]), L + "uplink": st.sampled_from(["", "dsl"]),
    L + "state_dir": st.sampled_from(["/srv/node", "/var/lib/x"]), L + "downloads": st.sampled_from([{},
    {"ookla": DOWNLOAD}]),
    L + "source_address": st.sampled_from(["", "192.0.2.1"]),
    L + "archive_address": st.sampled_from(["", "nas.example.org"]),
}  # fmt: skip


@settings(max_examples=tries(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.fixed_dictionaries({}, optional={**NUMBERS, **OTHERS}))
def test_what_passes_here_the_node_takes_and_the_other_way_round(values):
    view = View("h", values, ("speedtest_logger",))
    try:
        read = config.load(environment.environment(view))
    except ConfigError as error:
        assert problems(**values), error.problems
    else:
        assert [line for line in problems(**values) if "divide" in line or "with speedtest_logger_start" in line] == []
        assert read.location == values.get(L + "location", "unknown-location")
