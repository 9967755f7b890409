"""What is said of a node that is refused; and that nothing in its file breaks or blocks anything."""

from __future__ import annotations

import json
import os

import pytest
from deliveries import DAY, LIMITS, NOW, deliver, entry, register, row, send

from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import standing
from speedtest_logger.record import utc_text

pytestmark = pytest.mark.usefixtures("clock")


def test_problems_name_node_count_and_reason_and_fade_after_a_day(archive, clock):
    register(archive, mallory=[entry()])
    rows = [row(node="mallory", location="castle") for _ in range(1200)]
    deliver(archive, *rows, node="mallory")
    assert standing.problems(archive, NOW + 60) == [
        f"node mallory: 1,200 records refused since {utc_text(NOW)}, last: "
        "other_location: 'castle' is not a location of node 'mallory'"
    ]
    clock(NOW + 3600)
    deliver(archive, row(node="mallory"), node="mallory")
    assert standing.problems(archive, NOW + 3600)
    assert standing.problems(archive, NOW + DAY + 1) == []
    clock(NOW + 2 * DAY)
    deliver(archive, rows[0], node="mallory")
    assert (
        f"node mallory: 1 record refused since {utc_text(NOW + 2 * DAY)}"
        in standing.problems(archive, NOW + 2 * DAY)[0]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff" * 100,
        b"[" * 10_000,
        b" " * 1_000_000,
        b'{"tokens": 3, "at": 5, "last_rows": 1}',
        b'{"rows": NaN, "bytes": Infinity, "raw": "x", "at": true, "records": -1, "last": 1e400, "reason": 7}',
        json.dumps({"last": NOW, "records": 1.5, "reason": "\x1b[31m", "message": "x\n" * 9999}).encode(),
        json.dumps(dict.fromkeys(("at", "rows", "last", "since", "waiting"), 10**400)).encode(),
    ],
)
def test_nothing_in_a_standings_file_breaks_or_blocks_anything(archive, content):
    (archive.state / "receive-attic.json").write_bytes(content)
    (archive.state / "receive-..json").write_bytes(content)
    assert all(text.isprintable() and len(text) < 1000 for text in standing.problems(archive, NOW))
    assert deliver(archive, row())["accepted"]
    assert standing.load(archive.state / "receive-attic.json").rows == LIMITS.rows_burst - 1


@pytest.mark.parametrize("plant", [os.mkfifo, lambda file: file.symlink_to("/etc/passwd")])
def test_a_pipe_or_a_link_in_its_place_is_not_followed(archive, plant):
    file = archive.state / "receive-attic.json"
    plant(file)
    assert standing.problems(archive, NOW) == []
    assert deliver(archive, row())["accepted"]
    assert file.is_file()
    assert not file.is_symlink()


def test_status_names_who_is_refused_and_limits_that_are_none(archive, capsys):
    (archive.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_ROWS=lots\n")
    send(archive, b"{}\n", "mallory")
    assert cli.main(["--root", str(archive.root), "fleet"]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert any(said.startswith("node mallory: 1 record refused") for said in problems)
    assert any("SPEEDTEST_LIMIT_ROWS='lots'" in said for said in problems)
