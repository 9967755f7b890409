"""A line's tests as they would have been, for tests of what is made of them."""

from __future__ import annotations

from builders import FIRST, slot

from speedtest_logger.alerts import rules
from speedtest_logger.alerts.judge import FAILED, LINE_FAILED, MEASURED, MISSED, SKIPPED, Line, Test
from speedtest_logger.alerts.reading import Known
from speedtest_logger.record import utc_text

INTERVAL = 600
LETTERS = {".": MEASURED, "x": LINE_FAILED, "e": FAILED, "s": SKIPPED, "-": MISSED}
REASONS = {LINE_FAILED: "no_route", FAILED: "engine_error"}


def told(node: str, letters: str, offset: int = 0, start: int = FIRST) -> list[Test]:
    """A letter a slot; a digit is a test that measured so many tenths of the plan (0: all of it)."""
    found = []
    for number, letter in enumerate(letters):
        at = start + offset + number * INTERVAL
        if letter.isdecimal():
            share = 10.0 * int(letter) or 100.0
            found.append(Test(at, node, MEASURED, None, (share, None, None, None, None)))
        else:
            outcome = LETTERS[letter]
            found.append(Test(at, node, outcome, REASONS.get(outcome), (None,) * 5))
    return found


def judged(*of_nodes: list[Test], **changes: object) -> list[tuple[str, str | None, int, int | None]]:
    """What is found: rule, node, and the numbers of the slots in which it began and ended."""
    every = sorted((test for own in of_nodes for test in own), key=lambda test: (test.at, test.node))
    limits = rules.effective(changes)
    line = Line("home", {test.node: limits for test in every}).take(every)
    return [
        (f.rule, f.node, (f.began - FIRST) // INTERVAL, None if f.ended is None else (f.ended - FIRST) // INTERVAL)
        for f in line.found
    ]


def known(*nodes: str, interval: int = INTERVAL, location: str = "home", **changes: object) -> Known:
    """A location whose nodes have their slots one after the other, with a plan of 100 and 50 Mbit/s."""
    entries = {
        node: [
            {
                "valid_from": utc_text(FIRST),
                "valid_to": None,
                "interval_seconds": interval,
                "offset_seconds": number * interval // len(nodes),
                "location": location,
                "plan_download_mbps": 100.0,
                "plan_upload_mbps": 50.0,
            }
        ]
        for number, node in enumerate(nodes)
    }
    limits = rules.effective(changes)
    return Known(location, entries, dict.fromkeys(nodes, limits), dict.fromkeys(nodes, 0.0))


def records(line: Known, node: str, letters: str) -> list[dict]:
    """The rows of a node's slots from FIRST on; where nothing was ever sent, none."""
    entry = line.entries[node][0]
    rows = []
    for number, letter in enumerate(letters):
        at = FIRST + entry["offset_seconds"] + number * entry["interval_seconds"]
        if letter == "-":
            continue
        nothing = {"download_bps": None, "upload_bps": None}
        changes = {
            "x": {"status": "failed", "reason": "no_route", **nothing},
            "e": {"status": "failed", "reason": "engine_error", **nothing},
            "s": {"status": "skipped", "reason": "paused", **nothing},
        }.get(letter, {})
        if letter.isdecimal():
            changes = {"download_bps": (int(letter) or 10) * 1e7, "upload_bps": 5e7}
        rows.append(slot(node, at, line.location, engine="iperf3", engine_requested="iperf3", **changes))
    return rows
