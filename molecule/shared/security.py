"""The sandbox of every service that the roles install."""

from __future__ import annotations

import re

from fleet import on

MOST_EXPOSED = 2.5


def assert_sandboxed(node: str) -> None:
    """Systemd's own score of every speedtest service on a node is at most 2.5 (lower is better)."""
    listed = on(node, "systemctl list-unit-files --no-legend 'speedtest-*.service'").split("\n")
    names = [line.split()[0].replace("@.", "@5201.") for line in listed if line.strip()]
    assert names, f"{node}: no speedtest service is installed"
    for name in names:
        found, said = exposure(node, name)
        assert found <= MOST_EXPOSED, f"{node}: {name}: {found}\n{said}"


def exposure(node: str, unit: str) -> tuple[float, str]:
    """Systemd's score of a service, from 0 to 10, and the table that it comes from."""
    said = on(node, f"systemd-analyze security --no-pager {unit}")
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert found, said
    return float(found[1]), said
