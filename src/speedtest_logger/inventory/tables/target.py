"""Inputs of the role speedtest_target."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import ACCOUNT, ListOf, Whole
from speedtest_logger.inventory.inputs import DIRECTORY, STATE, EntryPoint, Input, Role

INPUTS = (
    Input(
        "speedtest_target_state",
        "present",
        "present: the host answers speed tests. absent: everything is taken off.",
        STATE,
    ),
    Input(
        "speedtest_target_librespeed_port",
        8989,
        "LibreSpeed's protocol over HTTP, answered by an nginx instance of its own on this port; 0 = none.",
        Whole(0, 65_535),
    ),
    Input(
        "speedtest_target_garbage_bytes",
        104857600,
        "Size of the random file that downloads read (bytes).",
        Whole(1_000_000, 100_000_000_000),
    ),
    Input(
        "speedtest_target_iperf3_ports",
        [5201],
        "iperf3 serves one test at a time: one server on each of these ports; [] = none.",
        ListOf(domains.PORT, most=100, unique=True),
    ),
    Input(
        "speedtest_target_irtt_port",
        0,
        "irtt's server on this port (UDP; 2112 is its own), for nodes whose probes are irtt; 0 = none.",
        Whole(0, 65_535),
    ),
    Input(
        "speedtest_target_stock_nginx_enabled",
        False,
        "false: the nginx that Debian's package starts on port 80 is stopped and disabled. true: it is yours "
        "and stays.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_target_user",
        "speedtest-target",
        "Account of the servers.",
        ACCOUNT,
    ),
    Input(
        "speedtest_target_dir",
        "/srv/speedtest-target",
        "The random file that downloads read.",
        DIRECTORY,
    ),
    Input(
        "speedtest_target_config_dir",
        "/etc/speedtest-target",
        "The configuration of the nginx instance.",
        DIRECTORY,
    ),
)

ENTRY_POINTS = (
    EntryPoint("observe", "Compare the host with what the role wants there, change nothing: speedtest_target_observed"),
)

ROLE = Role("speedtest_target", "A measurement server: LibreSpeed's protocol and iperf3", INPUTS, ENTRY_POINTS)
