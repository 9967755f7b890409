"""What is kept of lines that were refused: little, with its reason, bounded in bytes and age."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from deliveries import DAY, LIMITS, NOW, in_inbox, quarantined, refused, row, send

from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import quarantine, standing

pytestmark = pytest.mark.usefixtures("clock")


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"\xff\xfe{}", "bad_json"), (b"[" * 10_000, "bad_json"), (b"[1]", "bad_json"), (b"{}", "schema_version")],
)
def test_lines_that_are_no_records_lie_in_quarantine_with_their_reason(archive, line, reason):
    assert send(archive, line + b"\n")["accepted"] == []
    assert quarantined(archive)[0]["reason"] == reason


def test_a_delivery_of_no_objects_is_no_nodes(archive):
    said = refused(archive, b"\xff\n" * 101 + json.dumps(row()).encode(), "no_records")
    assert "more than 100 lines" in said
    assert len(quarantined(archive)) == quarantine.KEPT_LINES + 1
    assert in_inbox(archive) == []


@pytest.mark.parametrize("byte", [b"\xff", b"\0", b'"', b"\\", b"\x1b", "é".encode()])
def test_little_is_kept_of_a_line_in_characters_that_a_screen_can_show(archive, byte):
    send(archive, byte * 10_000 + b"\n")
    (file,) = archive.quarantine.glob("attic/*")
    kept = json.loads(file.read_text())
    assert kept["line"].isprintable()
    assert len(json.dumps(kept["line"], ensure_ascii=False).encode()) <= 4 * quarantine.KEPT_BYTES + 2


def test_the_quarantine_of_a_node_is_bounded_in_bytes_and_age(archive, clock):
    limits = replace(LIMITS, quarantine_mb=0.0125)
    for _ in range(5):
        send(archive, b"{}\n", limits=limits)
    files = list(archive.quarantine.glob("attic/*"))
    assert len(files) == 3
    assert "node attic: 5 records refused since" in standing.problems(archive, NOW)[0]
    for file in files:
        os.utime(file, (NOW - 91 * DAY, NOW - 91 * DAY))
    send(archive, b"{}\n", limits=limits)
    assert len(list(archive.quarantine.glob("attic/*"))) == 1
    clock(NOW + 100 * DAY)
    for file in archive.quarantine.glob("attic/*"):
        os.utime(file, (NOW, NOW))
    quarantine.clear(archive, limits, NOW + 91 * DAY)
    assert not list(archive.quarantine.glob("attic/*"))


def test_the_upkeep_clears_the_quarantine_of_nodes_that_deliver_no_more(archive, clock):
    send(archive, b"{}\n", "gone")
    (file,) = archive.quarantine.glob("gone/*")
    os.utime(file, (NOW, NOW))
    month = archive.quarantine / "spoiled_months/one.parquet"
    month.parent.mkdir()
    month.write_bytes(b"a month that was replaced")
    os.utime(month, (0, 0))
    for days, left in ((89, [file]), (91, [])):
        clock(NOW + days * DAY)
        assert cli.main(["--root", str(archive.root), "gather"]) == 0
        assert list(archive.quarantine.glob("gone/*")) == left
    assert month.exists()
