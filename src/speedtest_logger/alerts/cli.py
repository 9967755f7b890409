"""speedtest-alerts' command line: what the timer runs, and how people look, try and tune."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedtest_logger import __version__, accounts, light, registry
from speedtest_logger.alerts import rules as rules_
from speedtest_logger.alerts import settings as settings_
from speedtest_logger.alerts.findings import Finding, duration
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.alerts.rules import RULES
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.archive.format.layout import Layout, default_root
from speedtest_logger.errors import (
    EXIT_DELIVERY,
    EXIT_OK,
    EXIT_UNHEALTHY,
    ConfigError,
    DeliveryError,
    NoAccessError,
    SpeedtestError,
    UsageError,
)
from speedtest_logger.log import Log
from speedtest_logger.record import utc_text
from speedtest_logger.schedule import parse_duration
from speedtest_logger.text import as_table
from speedtest_logger.usage import add_verbs, exit_code_of

if TYPE_CHECKING:
    from speedtest_logger.alerts.state import State
    from speedtest_logger.alerts.watch import Outcome

EXIT_CODES = """exit codes:
  0  done
  1  run: something could not be judged
  2  the command line or the settings are wrong
  4  test: a destination did not take the message
  5  the archive or what is remembered cannot be read or written
  7  a file may not be opened by this account: use sudo
"""
VERBS = {
    "run": ("judge what is new, and send what is due (what the timer does)", "speedtest-alerts run"),
    "list": ("what lasts, what waits to be sent, and what was lately", "speedtest-alerts list"),
    "explain": ("why a finding was made: the slots around it", "speedtest-alerts explain 1f0c22ab"),
    "replay": (
        "what the rules would have found, with other limits too",
        "speedtest-alerts replay --last 90d --set below_plan.percent=60",
    ),
    "test": ("send every destination a message", "speedtest-alerts test --to phone"),
    "rules": ("each rule: when it fires, when it ends, its limits", "speedtest-alerts rules"),
}
OLDEST_DEFAULT = 90 * 86_400
SHOWN = 20  # findings that have ended


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="speedtest-alerts", description="Tells what is wrong.", epilog=EXIT_CODES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"speedtest-alerts {__version__}")
    top.add_argument("--root", type=Path, default=default_root(), help="the archive; default %(default)s")
    top.add_argument("--settings", type=Path, metavar="FILE", help=f"default {settings_.FILE}")
    made = add_verbs(top, VERBS)
    made["run"].add_argument("--now", action="store_true", help="try destinations that failed without waiting longer")
    made["explain"].add_argument("finding", metavar="FINDING", help="the name at the end of a message's line")
    made["replay"].add_argument("--last", type=_duration, default=OLDEST_DEFAULT, help="such as 90d (default), 12h")
    made["replay"].add_argument("--location", help="this line only")
    made["replay"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="RULE[.PARAMETER]=VALUE",
        help="another limit, or a rule on or off (true, false), as often as wanted",
    )
    made["test"].add_argument("--to", metavar="NAME", help="this destination only")
    for name in ("list", "explain", "replay", "rules"):
        made[name].add_argument("--format", choices=("table", "json"), default="table")
    return top


def _duration(text: str) -> float:
    try:
        return float(parse_duration(text))
    except (ValueError, SpeedtestError) as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a duration: write it like 90d or 12h") from error


@dataclass(frozen=True)
class Asked:
    """What a verb works on."""

    args: argparse.Namespace
    layout: Layout
    settings: Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)

    def act() -> int:
        os.umask(0o027)
        if argv is None:
            light.start()
        settings = _settings(args)
        if args.verb != "rules":
            accounts.become_owner_in(args.root, "alerts")
        return RUN[args.verb](Asked(args, Layout(args.root), settings))

    return exit_code_of("speedtest-alerts", act)


def _settings(args: argparse.Namespace) -> Settings:
    """What the inventory says; what only looks does without, where there is none."""
    place = args.settings or settings_.place()
    try:
        return settings_.load(place)
    except (ConfigError, NoAccessError):
        if args.settings or args.verb in ("run", "test") or place.exists():
            raise
        return Settings()


def run(asked: Asked) -> int:
    """What the timer does."""
    from speedtest_logger.alerts import post, state, watch

    log, stopping = Log(None), []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    layout, settings = asked.layout, asked.settings
    (layout.root / state.FOLDER).mkdir(mode=0o750, exist_ok=True)
    with state.alone(layout, wait=300):  # the timer's run, where somebody else's finds it under way
        outcome = watch.evaluate(layout, settings, time.time())
        known = outcome.state
        on_disk = deepcopy((known.posts, known.waiting))
        digested = _digests(layout, settings, known)
        if asked.args.now:
            post.try_now(known)
        sent = post.deliver(
            known, settings, time.time(), lambda: state.save(layout, known), post.by_apprise, lambda: bool(stopping)
        )
        if (known.posts, known.waiting) != on_disk:  # since when destinations are known, digests that wait, what left
            state.save(layout, known)
    if settings.heartbeat_url and not outcome.problems and not stopping:
        from speedtest_logger.alerts import heartbeat

        heartbeat.beat(settings.heartbeat_url, log)
    _tell(log, outcome, made=outcome.made + digested, sent=sent)
    return EXIT_UNHEALTHY if outcome.problems else EXIT_OK


def _tell(log: Log, outcome: Outcome, made: int, sent: int) -> None:
    """What an evaluation came to, in the log."""
    for problem in outcome.problems:
        log.event("warning", "not_judged", why=problem)
    for name, one in outcome.state.posts.items():
        if one.failing_since is not None:
            log.event("warning", "not_delivered", to=name, since=utc_text(one.failing_since), why=one.why)
    log.event(
        "info",
        "evaluated",
        lines=outcome.lines,
        postponed=outcome.postponed,
        lasting=outcome.lasting,
        made=made,
        sent=sent,
        waiting=len(outcome.state.waiting),
        listening=outcome.is_listening,
    )


def _digests(layout: Layout, settings: Settings, known: Any) -> int:
    made = 0
    for destination in settings.destinations:
        if known.post(destination.name).wants_digest(destination, time.time()):
            from speedtest_logger.alerts import digest  # DuckDB with it, once a day

            made += digest.add(layout, known, destination, time.time(), settings.link)
    return made


def show_list(asked: Asked) -> int:
    """What lasts, what waits, and what was."""
    from speedtest_logger.alerts import state

    known = state.load(asked.layout)
    rows = _listed(known)
    if asked.args.format == "json":
        print(json.dumps({"evaluated": known.evaluated, **rows}, indent=2))
        return EXIT_OK
    nothing = {"open": "nothing is wrong", "waiting": "nothing waits", "destinations": "nothing was sent yet"}
    for title, listed in rows.items():
        print(f"{title}:" if listed else f"{title}: {nothing.get(title, 'nothing')}")
        if listed:
            _table(listed)
        print()
    at = "never yet" if known.evaluated is None else utc_text(known.evaluated)
    print(f"last evaluation: {at}")
    return EXIT_OK


def _listed(known: State) -> dict[str, list[dict[str, Any]]]:
    """What is known, as rows under a title each."""
    held_back = known.book.held_back()
    return {
        "open": [
            _row(entry.finding, entry.id, told=_told(entry, held_back))
            for entry in sorted(known.book.open(), key=lambda entry: entry.finding.began)
        ],
        "waiting": [{"to": m.destination, "since": utc_text(m.at)[:16] + "Z", "title": m.title} for m in known.waiting],
        "destinations": [
            {
                "name": name,
                "sent": one.sent,
                "last": "" if one.last_sent is None else utc_text(one.last_sent)[:16] + "Z",
                "failing since": "" if one.failing_since is None else utc_text(one.failing_since)[:16] + "Z",
                "why": one.why,
            }
            for name, one in sorted(known.posts.items())
        ],
        "lately": [
            _row(entry.finding, entry.id, told=_told(entry, held_back))
            for entry in known.book.entries
            if entry.finding.ended is not None
        ][-SHOWN:],
    }


def _row(finding: Finding, name: str, *, told: str) -> dict[str, Any]:
    """A finding as one flat row, under a name; `told`: whether somebody was or would be, in a word."""
    until = finding.ended
    return {
        "finding": name,
        "rule": finding.rule,
        "of": finding.subject,
        "from": utc_text(finding.began)[:16] + "Z",
        "until": "" if until is None else utc_text(until)[:16] + "Z",
        "lasted": "" if until is None else duration(until - finding.began),
        "told": told,
        "what": finding.sentence(),
    }


def _told(entry: Watched, held_back: Mapping[str, str]) -> str:
    if entry.withdrawn:
        return "withdrawn"
    return "yes" if entry.since_told is not None else "follows" if entry.id in held_back else "no"


def _table(rows: list[dict[str, Any]]) -> None:
    print(as_table(list(rows[0]), [tuple(row.values()) for row in rows]))


def explain(asked: Asked) -> int:
    """Why a finding was made."""
    from speedtest_logger.alerts import diagnosed, reading, state
    from speedtest_logger.alerts import explain as explain_

    wanted = asked.args.finding
    entries = [entry for entry in state.load(asked.layout).book.entries if entry.id.startswith(wanted)]
    if len({entry.id for entry in entries}) != 1:
        listed = "it is the beginning of several" if entries else "there is none of that name"
        raise UsageError(f"finding {wanted!r:.40}: {listed}: speedtest-alerts list shows those that are known")
    finding, now = entries[-1].finding, time.time()
    found = registry.read(asked.layout.root)
    known = reading.known_of(found, asked.settings.rules).get(finding.location) if found else None
    limits = _limits(known.limits if known else {}, finding.rule, finding.node, asked.settings)
    rows = []
    if known and finding.rule not in ("clock", "ingest_stopped", "disk", "backup", "verify"):
        rows = explain_.slots(asked.layout, known, finding, now, now - asked.settings.grace_seconds)
    probes = diagnosed.sentence(asked.layout, finding, now)
    if asked.args.format == "json":
        said = {"finding": replace(finding).to_json(), "limits": limits, "slots": rows, "probes": probes}
        print(json.dumps(said, indent=2))
        return EXIT_OK
    print(explain_.words(finding, limits, probes))
    if rows:
        print()
        _table(rows)
    return EXIT_OK


def _limits(
    of_nodes: Mapping[str, rules_.Limited], rule: str, node: str | None, settings: Settings
) -> dict[str, float] | None:
    own = of_nodes.get(node) if node else next(iter(of_nodes.values()), None)
    return (rules_.effective(settings.rules) if own is None else own).get(rule)


def replay(asked: Asked) -> int:
    """What the rules would have found."""
    from speedtest_logger.alerts import replay as replay_
    from speedtest_logger.alerts import tune

    args, now = asked.args, time.time()
    found = registry.read(asked.layout.root)
    if not found:
        raise UsageError(f"{asked.layout.root} has no schedules: only what site.yml deployed can be judged by slots")
    known = tune.lines(found, asked.settings.rules, args.set)
    if args.location and args.location not in known:
        raise UsageError(f"no node measures {args.location!r:.80}: {', '.join(sorted(known))}")
    made = []
    wanted = [known[name] for name in sorted(known) if args.location in (None, name)]
    for number, line in enumerate(wanted, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{len(wanted)} {line.location:<60.60}", end="", file=sys.stderr, flush=True)
        made.append(replay_.replay(asked.layout, line, now - args.last, now, now - asked.settings.grace_seconds))
    if sys.stderr.isatty():
        print("\r" + " " * 72 + "\r", end="", file=sys.stderr)
    rows = [
        _row(finding, finding.id, told="follows" if finding.id in each.silent else "yes")
        for each in made
        for finding in sorted(each.findings, key=lambda f: f.began)
    ]
    if args.format == "json":
        print(json.dumps(rows, indent=2))
    elif rows:
        _table(rows)
    print(replay_.summary(made, args.last), file=sys.stderr)
    return EXIT_OK


def test(asked: Asked) -> int:
    """Send every destination a message, and say what became of it."""
    from speedtest_logger.alerts import post
    from speedtest_logger.alerts.messages import Message

    wanted = [d for d in asked.settings.destinations if asked.args.to in (None, d.name)]
    if not wanted:
        names = ", ".join(d.name for d in asked.settings.destinations) or "there are none"
        raise UsageError(f"no such destination: {names} (speedtest_archive_alerts_destinations)")
    failed = 0
    for destination in wanted:
        now = time.time()
        message = Message(
            f"test-{int(now)}",
            destination.name,
            now,
            "info",
            "speedtest: a test",
            ["This is how alerts will reach you."],
        )
        try:
            post.by_apprise(destination, message)
            print(f"{destination.name}: sent")
        except DeliveryError as error:
            failed += 1
            print(f"{destination.name}: {error}")
    return EXIT_DELIVERY if failed else EXIT_OK


def show_rules(asked: Asked) -> int:
    """Each rule, with the fleet's limits."""
    limits = rules_.effective(asked.settings.rules)
    if asked.args.format == "json":
        print(json.dumps({name: limits.get(name) for name in RULES}, indent=2))
        return EXIT_OK
    for rule in RULES.values():
        shown = ", ".join(f"{key} {value:g}" for key, value in limits.get(rule.name, {}).items())
        state = f"on{': ' if shown else ''}{shown}" if rule.name in limits else "off"
        print(f"{rule.name} ({rule.severity}, {state})\n  fires: {rule.fires}\n  ends: {rule.ends}\n")
    return EXIT_OK


RUN: dict[str, Callable[[Asked], int]] = {
    "run": run,
    "list": show_list,
    "explain": explain,
    "replay": replay,
    "test": test,
    "rules": show_rules,
}
