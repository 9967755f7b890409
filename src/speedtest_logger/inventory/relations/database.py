"""The database and what it follows."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import DATABASE, problem


def database(view: View) -> Iterator[Problem]:
    """What follows the archive is where the archive is; who reads a server elsewhere is made there."""
    if view[DATABASE + "state"] == "absent":
        return
    if view["speedtest_archive_state"] == "absent":
        words = "speedtest_archive_state is absent, and it follows what lies there: set absent here too"
        yield problem(view, DATABASE + "state", words)
    if view[DATABASE + "dsn"] and view[DATABASE + "reader_password"]:
        words = f"{DATABASE}dsn names a server elsewhere: make the role speedtest_reader there, and leave this out"
        yield problem(view, DATABASE + "reader_password", words)
