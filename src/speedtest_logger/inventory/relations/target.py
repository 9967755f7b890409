"""The ports of a target's servers."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import as_list, problem


def ports(view: View) -> Iterator[Problem]:
    """Each server of a target has a port of its own."""
    variable, port = "speedtest_target_librespeed_port", view["speedtest_target_librespeed_port"]
    if port in as_list(view["speedtest_target_iperf3_ports"]):
        yield problem(view, variable, "speedtest_target_iperf3_ports has it too: give each server a port of its own")
    if port == 80 and view["speedtest_target_stock_nginx_enabled"]:
        yield problem(
            view, variable, "speedtest_target_stock_nginx_enabled keeps Debian's own nginx on 80: choose another port"
        )
