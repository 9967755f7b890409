"""What alerts have found and told, as they wrote it down: for pages and metrics, which know no rules.

speedtest-alerts writes `alerts/state.json` as a whole each minute; who reads it takes nothing in it for granted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.files import read_bounded

VERSION = 1  # of the file
MOST_BYTES = 16_000_000
LATEST = 2**33  # Unix time (s) that a file may name: the year 2242
SEVERITIES = ("critical", "warning", "info")  # worst first
MISSING = "nothing is judged and nobody is told: no destination is set (speedtest_archive_alerts_destinations)"
NOWHERE = "no destination is set: speedtest_archive_alerts_destinations"
LATE_SECONDS = 300
STOPPED_SECONDS = 600  # after which nobody knows whether what lasted still does


@dataclass(frozen=True)
class Told:
    """A finding; times are Unix times (s), `until` is None while it lasts.

    `location` is None for what is said of the archive, `node` for what is said of a whole line. `told`: a message of it
    was made; `withdrawn`: later records showed that it was not so; `follows`: the id of the finding that holds it back.
    """

    id: str
    rule: str
    severity: str
    title: str
    subject: str
    sentence: str
    location: str | None
    node: str | None
    start: int
    until: int | None
    told: bool
    withdrawn: bool
    follows: str | None


@dataclass(frozen=True)
class Destination:
    """Where messages go, by its name: how many wait, left and failed, and since when they fail (Unix times, s)."""

    name: str
    waiting: int
    sent: int
    failed: int
    last_sent: float | None
    failing_since: float | None


@dataclass(frozen=True)
class Alerts:
    """All of it: findings that last, the worst first; those that have ended, the newest first; destinations by name.

    `problem` says why nobody is told, or nothing is known; `evaluated` is when all was judged last (Unix time, s).
    """

    evaluated: float | None
    problem: str | None
    lasting: list[Told]
    ended: list[Told]
    destinations: list[Destination]

    def is_late(self, now: float) -> bool:
        """Whether nobody judges any more what was judged before."""
        return self.evaluated is not None and now - self.evaluated > LATE_SECONDS

    def groups(self) -> list[tuple[Told, list[Told]]]:
        """Those that last and follow from nothing, each with all that follows from it."""
        known = {finding.id: finding for finding in self.lasting}
        found: dict[str, list[Told]] = {}
        for finding in self.lasting:
            root, seen = finding, {finding.id}
            while root.follows in known and root.follows not in seen:
                root = known[root.follows]
                seen.add(root.id)
            if root.follows in known:  # in a circle: each stands for itself
                root = finding
            followers = found.setdefault(root.id, [])
            if root is not finding:
                followers.append(finding)
        return [(finding, found[finding.id]) for finding in self.lasting if finding.id in found]


def file_of(layout: Layout) -> Path:
    """Where alerts remember."""
    return layout.root / "alerts" / "state.json"


def read(layout: Layout) -> Alerts:
    """What was written last; what cannot be read is a problem in words, and no error."""
    try:
        return _alerts(json.loads(read_bounded(file_of(layout), MOST_BYTES), parse_constant=_no_number))
    except FileNotFoundError:
        return _nothing(MISSING)
    except OSError as error:
        return _nothing(f"what alerts remember cannot be read: {error.strerror or error}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _nothing("what alerts remember is damaged, or of another version: see speedtest-alerts.service")


def _nothing(problem: str) -> Alerts:
    return Alerts(None, problem, [], [], [])


def _no_number(text: str) -> None:
    raise ValueError(text)


def _alerts(content: dict[str, Any]) -> Alerts:
    if content["version"] != VERSION:
        raise ValueError("another version")
    found = [_told(entry) for entry in content["findings"]]
    waiting = Counter(_text(message["destination"]) for message in content["waiting"])
    destinations = [_destination(name, post, waiting[name]) for name, post in sorted(content["posts"].items())]
    lasting = sorted((each for each in found if each.until is None), key=_worst_first)
    ended = sorted((each for each in found if each.until is not None), key=lambda each: -(each.until or 0))
    problem = None if destinations else NOWHERE
    return Alerts(_time(content["evaluated"]), problem, lasting, ended, destinations)


def _worst_first(told: Told) -> tuple[int, int, str]:
    return SEVERITIES.index(told.severity), told.start, told.subject


def _told(entry: dict[str, Any]) -> Told:
    finding, words = entry["finding"], entry["words"]
    severity = words["severity"]
    if severity not in SEVERITIES:
        raise ValueError("no severity")
    start, until = _time(finding["began"]), _time(finding["ended"])
    if start is None:
        raise ValueError("no beginning")
    return Told(
        _text(entry["id"]),
        _text(finding["rule"]),
        severity,
        _text(words["title"]),
        _text(words["subject"]),
        _text(words["sentence"]),
        _name(finding["location"]),
        _name(finding["node"]),
        int(start),
        None if until is None else int(until),
        _time(entry["since_told"]) is not None,
        bool(entry["withdrawn"]),
        None if entry["follows"] is None else _text(entry["follows"]),
    )


def _destination(name: str, post: dict[str, Any], waiting: int) -> Destination:
    sent, failed = post["sent"], post["failed"]
    if type(sent) is not int or type(failed) is not int:
        raise TypeError("no numbers")
    return Destination(name, waiting, sent, failed, _time(post["last_sent"]), _time(post["failing_since"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _name(value: object) -> str | None:
    return None if value in (None, "") else _text(value)


def _time(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LATEST:
        raise ValueError("no time")
    return float(value)


Sample = tuple[dict[str, str], float]


def firing(alerts: Alerts, now: float) -> Iterator[Sample]:
    """Samples of `speedtest_alert_firing`: each finding that lasts, whether it was told or is held back.

    None where nothing has been judged for a while. No two have the same labels, for Prometheus takes no answer in which
    some have.
    """
    if alerts.evaluated is None or now - alerts.evaluated > STOPPED_SECONDS:
        return
    for rule, node, location, severity in dict.fromkeys(
        (each.rule, each.node or "", each.location or "", each.severity) for each in alerts.lasting
    ):
        yield {"rule": rule, "node": node, "location": location, "severity": severity}, 1.0


def notifications(alerts: Alerts) -> Iterator[Sample]:
    """Samples of `speedtest_notifications_total`: how many tries to send something went well, and how many did not."""
    for each in alerts.destinations:
        for outcome, count in (("sent", each.sent), ("failed", each.failed)):
            yield {"destination": each.name, "outcome": outcome}, float(count)
