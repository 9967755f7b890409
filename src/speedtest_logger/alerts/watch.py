"""One evaluation: what is new in the archive, what that means, and what is to be told of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from speedtest_logger import registry
from speedtest_logger.alerts import diagnosed, follow, messages, progress, reading, state
from speedtest_logger.alerts.findings import FLEET, Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.alerts.progress import Progress
from speedtest_logger.alerts.reading import Known
from speedtest_logger.alerts.rules import Limited, effective
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.alerts.state import State
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import changes, hellos, parts
from speedtest_logger.archive.read.parts import Part
from speedtest_logger.errors import DamagedFileError, SpeedtestError, UsageError

BREAK = 300  # s between two evaluations, after which nobody knows what was missed meanwhile
TWICE = 2  # evaluations in a row that see something, until it fires: disks and clocks waver
SLACK = 1  # s: what came while the last evaluation ran is looked at again
MOST_SLOTS = 1_000_000  # of lines that are judged from the beginning, in one evaluation: 10 s of CPU
DISK_POINTS = 1.0  # percentage points more that are free, until a full disk is over
AT_ONCE = ("ingest_stopped", "backup", "verify")  # of the archive: they have waited already


@dataclass
class Outcome:
    """What an evaluation did: lines judged, findings that last, messages made, and what could not be judged.

    `postponed`: lines that are judged from the beginning by one of the next evaluations. `state` as it is on disk.
    """

    state: State
    lines: int = 0
    postponed: int = 0
    lasting: int = 0
    made: int = 0
    is_listening: bool = False
    problems: list[str] = field(default_factory=list)


@dataclass
class Evaluation:
    """All that one of them is made of; `now` in Unix time (s)."""

    layout: Layout
    settings: Settings
    now: float
    state: State
    progress: Progress
    known: dict[str, Known]
    heard: dict[str, float]  # when each node that is expected was in contact last
    outcome: Outcome

    @property
    def late(self) -> float:
        """The slots before it that have no record are missed ones (Unix time, s)."""
        return self.now - self.settings.grace_seconds


def evaluate(layout: Layout, settings: Settings, now: float) -> Outcome:
    """Judge what is new, and put down what is to be told of it.

    Raises StorageError, ConfigError. What was put down is on disk when this returns.
    """
    found = registry.read(layout.root)
    known = reading.known_of(found, settings.rules) if found else {}
    times = hellos.times(layout)
    heard = {node: times[node] for line in known.values() for node in line.expected() if node in times}
    before = state.load(layout)
    one = Evaluation(layout, settings, now, before, progress.of_archive(layout), known, heard, Outcome(before))
    one.state.began = one.state.began or now
    _judge_archive(one)
    one.outcome.is_listening = _is_listening(one.state, settings, now)
    if one.outcome.is_listening:
        _judge_lines(one)
        _judge_clocks(one)
    one.outcome.made = len(tell(one.state, settings, now, diagnosed.words_of(layout, now)))
    one.state.evaluated = now
    one.state.book.forget(now - state.KEPT_SECONDS, state.MOST_FINDINGS)
    one.outcome.lasting = len(one.state.book.open())
    state.save(layout, one.state)
    one.progress.save()  # last: what is kept of a line must not be ahead of what is known of its findings
    return one.outcome


def tell(
    known: State, settings: Settings, now: float, words: diagnosed.Words = diagnosed.no_words
) -> list[messages.Message]:
    """Messages of what is to be told now, each with what probes say; a destination's wait behind what waits already."""
    begun, ended = follow.due(known.book, now)
    told = [*messages.begun(begun), *messages.ended(ended)]
    made: list[messages.Message] = []
    for destination in settings.destinations:
        reminded = messages.reminders(known.book.open(), destination.reminder_hours, known.evaluated or now, now)
        said = [replace(each, diagnosis=words(each.entry.finding)) for each in (*told, *reminded)]
        made += messages.compose(said, destination, now, settings.link)
    for entry in begun:
        entry.told_begin, entry.told_end, entry.since_told = True, entry.finding.ended is not None, now
    for entry in ended:
        entry.told_end = True
    known.waiting += made
    return made


def _is_listening(known: State, settings: Settings, now: float) -> bool:
    """Whether what is missing is missing: the archive was filled and watched for as long as a record may take."""
    if any(entry.finding.rule == "ingest_stopped" for entry in known.book.open()):
        known.listening_since = None
        return False
    is_new = known.evaluated is None or not 0 <= now - known.evaluated <= BREAK
    if known.listening_since is None or is_new or known.listening_since > now:
        known.listening_since = now
    return now - known.listening_since >= settings.grace_seconds


# lines


def _judge_lines(one: Evaluation) -> None:
    wanted = _touched(one)
    rules = _fingerprint(one.known)
    if rules != one.state.rules:
        one.state.rules, wanted = rules, set(one.known)
    due = one.state.due
    ready = [name for name in one.known if name in wanted or due.get(name, 0) <= one.now]
    judged, anew = {}, 0
    for location in sorted(ready, key=lambda name: (due.get(name, 0), name)):  # who has waited longest is first
        if count := one.progress.slots_anew(one.known[location], one.now):
            if anew and anew + count > MOST_SLOTS:
                due[location] = min(due.get(location, one.now), one.now)
                one.outcome.postponed += 1
                continue
            anew += count
        if found := _judge_line(one, one.known[location]):
            judged[location] = found
    for location in set(due) - set(one.known):
        del due[location]
        one.progress.drop(location)
        judged[location] = ([], one.now)
    one.outcome.lines = len(judged)
    one.state.book.take(judged, one.now)


def _judge_line(one: Evaluation, line: Known) -> tuple[list[Finding], float] | None:
    """Its findings that lasted at a time (Unix time, s) or began after it; None where it cannot be judged."""
    try:
        judged, since = one.progress.judge(one.layout, line, one.now, one.late)
    except DamagedFileError as error:
        one.outcome.problems.append(str(error))
        return None
    last = {name: node.last for name, node in judged.nodes.items()}
    ahead = progress.next_slots(line, last, one.late)
    one.state.due[line.location] = min(ahead, default=one.now + progress.DAY) + one.settings.grace_seconds + 1
    return judged.found, since


def _touched(one: Evaluation) -> set[str]:
    """The locations that the archive's changes since the last evaluation touched."""
    touched: set[str] = set()
    try:
        for change in changes.since(one.layout, one.state.cursor):
            if changes.is_under_way(one.layout, change):
                break
            touched |= one.progress.touch(change)
            one.state.cursor = change.cursor
    except UsageError:  # of an archive that was restored: all is judged anew
        if one.state.cursor is None:
            raise
        one.state.cursor = None
        one.progress.drop_all()
        return _touched(one)
    return touched


def _fingerprint(known: dict[str, Known]) -> str:
    """Another one where rules, schedules or budgets changed: then all lines are judged again."""
    content = json.dumps([[k.location, k.entries, k.limits, k.budgets] for k in known.values()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


# the archive and clocks: what is so now, seen again and again


def _judge_archive(one: Evaluation) -> None:
    limits, now, lasting = effective(one.settings.rules), int(one.now), one.state.book.lasting()
    for rule, look in ARCHIVE.items():
        finding = None
        if rule in limits:
            try:
                finding = look(one, limits[rule])
            except (OSError, SpeedtestError) as error:
                finding = Finding(rule, FLEET, None, now, now, reason=str(error))
        finding, wrong = finding or Finding(rule, FLEET, None, now, now), finding is not None
        _see(one.state, finding, lasting.get(finding.key), wrong=wrong, now=one.now)


def _see(known: State, finding: Finding, lasting: Watched | None, *, wrong: bool, now: float) -> None:
    """Something that is judged by looking; it fires where it was seen often enough, and ends where it is not."""
    name = "/".join((finding.rule, finding.location, finding.node or ""))
    if not wrong:
        known.seen.pop(name, None)
        if lasting:
            lasting.finding.ended = int(now)
        return
    if lasting:
        lasting.finding.last, lasting.finding.reason, lasting.finding.worst = int(now), finding.reason, finding.worst
        return
    known.seen[name] = known.seen.get(name, 0) + 1
    if known.seen[name] >= TWICE or finding.rule in AT_ONCE:
        known.seen.pop(name)
        finding.last = int(now)
        known.book.entries.append(Watched(finding, finding.id))


def _of_part(rule: str, part: Part, now: float) -> Finding:
    since = min(part.since or int(now), int(now))
    return Finding(rule, FLEET, None, since, int(now), reason=part.sentence)


def _is_new(one: Evaluation, part: Part, patience: float) -> bool:
    """Whether what has never been done (it has no time) need not have been done yet on this archive."""
    return part.since is None and one.now - (one.state.began or one.now) < patience


def _ingest(one: Evaluation, _: dict[str, float]) -> Finding | None:
    found = [*parts.ingest(one.layout, one.now, expected=bool(one.known)), *parts.inbox(one.layout, one.now)]
    wrong = [part for part in [*found, *_contact(one)] if not (part.ok or _is_new(one, part, parts.INGEST_LATE))]
    return _of_part("ingest_stopped", wrong[0], one.now) if wrong else None


def _contact(one: Evaluation) -> Iterator[Part]:
    """Whether anybody at all is heard: several lines that fall silent at once are hardly all down.

    It is known before any of them would be called down, which takes two slots.
    """
    places = [line for line in one.known.values() if line.expected()]
    if len(places) < 2 or not one.heard:
        return
    last = max(one.heard.values())
    shortest = min(line.entries[node][-1]["interval_seconds"] for line in places for node in line.expected())
    if one.now - last > shortest + one.settings.grace_seconds:
        sentence = f"nothing arrives from any of {len(one.heard)} nodes: the archive's network, or all lines"
        yield Part("contact", ok=False, sentence=sentence, since=int(last))


def _disk(one: Evaluation, limit: dict[str, float]) -> Finding | None:
    (part,) = parts.disk(one.layout)
    if not part.figures:
        return _of_part("disk", part, one.now)
    least = limit["percent"] + (DISK_POINTS if any(e.finding.rule == "disk" for e in one.state.book.open()) else 0)
    share = 100 * float(part.figures["free_bytes"]) / float(part.figures["total_bytes"])
    if share >= least:
        return None
    return Finding("disk", FLEET, None, int(one.now), int(one.now), worst=share)


def _backup(one: Evaluation, limit: dict[str, float]) -> Finding | None:
    oldest = limit["hours"] * 3600
    found = parts.backup(one.layout, one.now, oldest)
    wrong = [part for part in found if not (part.ok or _is_new(one, part, oldest))]
    return _of_part("backup", wrong[0], one.now) if wrong else None


def _verify(one: Evaluation, _: dict[str, float]) -> Finding | None:
    wrong = [part for part in parts.verify(one.layout) if not part.ok]
    return _of_part("verify", wrong[0], one.now) if wrong else None


Look = Callable[[Evaluation, dict[str, float]], Finding | None]
ARCHIVE: dict[str, Look] = {"ingest_stopped": _ingest, "disk": _disk, "backup": _backup, "verify": _verify}


def _judge_clocks(one: Evaluation) -> None:
    """Those of the nodes that have said something since the last evaluation."""
    now, before, lasting = int(one.now), one.state.evaluated or 0, one.state.book.lasting()
    for location, line in one.known.items():
        for node in line.expected():
            if one.heard.get(node, 0) > before - SLACK:
                offset = _offset(hellos.of(one.layout, node), line.limits[node])
                finding = Finding("clock", location, node, now, now, worst=offset)
                _see(one.state, finding, lasting.get(finding.key), wrong=offset is not None, now=one.now)
    expected = {(location, node) for location, line in one.known.items() for node in line.expected()}
    for entry in one.state.book.open():
        if entry.finding.rule == "clock" and (entry.finding.location, entry.finding.node) not in expected:
            entry.finding.ended = now


def _offset(hello: dict[str, Any], limits: Limited) -> float | None:
    """By how much a node's clock is off (s), where that is too much; None where it is not, or nobody knows."""
    limit, offset = limits.get("clock"), hello.get("clock_offset")
    if limit is None or not isinstance(offset, (int, float)):
        return None
    return float(offset) if abs(offset) > limit["seconds"] else None
