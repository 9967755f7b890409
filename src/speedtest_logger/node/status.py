"""status: what this node last did, what waits, and whether that is well."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from speedtest_logger import __version__
from speedtest_logger.node import outbox, probe_results, probe_status
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import ReadState, Spool
from speedtest_logger.record import run_id_of_slot, unix_time, utc_text
from speedtest_logger.schedule import Schedule

MOST_NAMES = 5  # of odd files
SETTINGS = ("node", "location", "uplink", "runtime", "interval_seconds", "offset_seconds", "paused")
LAST_RECORD = (
    "run_id", "scheduled_at", "started_at", "finished_at", "status", "reason", "message", "engine",
    "download_bps", "upload_bps", "latency_ms",
)  # fmt: skip
# The states that are read where nothing waits.
STATES = ("last_record", "usage", "rests", "push", "last_receipt", probe_results.STATE)
SLACK_SECONDS = 30  # for starting the program and writing the record on a slow machine


class Contents(NamedTuple):
    """What lies in a node's folders, as far as its status tells of it; without more: nothing that it would."""

    records: int = 0  # in the outbox
    oldest_ns: int | None = None  # when the first of them was written
    strange: tuple[str, ...] = ()  # names of what lies in the outbox and is no record
    rejected: int = 0
    probe_results: int = 0  # files
    strangers: tuple[str, ...] = ()  # what is neither a file nor a directory, in words

    @classmethod
    def of(cls, spool: Spool) -> Contents:
        """As it is on the disk."""
        there = spool.outbox.is_dir()
        waiting = outbox.listed(spool.outbox) if there else []
        return cls(
            len(waiting),
            waiting[0].written_ns if waiting else None,
            tuple(outbox.strange(spool.outbox)[:MOST_NAMES]) if there else (),
            sum(1 for _ in outbox.names(spool.rejected)) if spool.rejected.is_dir() else 0,
            len(probe_results.waiting_results(spool)),
            tuple(spool.strangers()),
        )


def status(settings: Settings, now: float | None = None) -> dict[str, Any]:
    """The node's state as plain data: times in UTC, `problems` in words (empty when all is well)."""
    spool = Spool(settings.state_dir)
    return status_of(settings, spool.read_state, Contents.of(spool), time.time() if now is None else now)


def status_of(settings: Settings, read_state: ReadState, contents: Contents, now: float) -> dict[str, Any]:
    """The same from its parts, wherever they were read."""
    last = read_state("last_record") or {}
    usage = read_state("usage") or {}
    rests = read_state("rests") or {}
    state = {
        **{name: getattr(settings, name) for name in SETTINGS},
        "version": __version__,
        "plan_download_mbps": settings.plan_download_mbps or None,
        "plan_upload_mbps": settings.plan_upload_mbps or None,
        "last_record": {name: last.get(name) for name in LAST_RECORD} if last else None,
        "next_slot": utc_text(Schedule(settings.interval_seconds, settings.offset_seconds).next_after(now)),
        **delivery(read_state, contents, now),
        "month_bytes": usage.get("bytes", 0) if usage.get("month") == utc_text(now)[:7] else 0,
        "engines_resting": sorted(name for name, rest in rests.items() if rest.get("until", 0) > now),
        "probes": probe_status.registry(settings, read_state, now),
        "probe_results": contents.probe_results,
    }
    return {**state, "problems": [*problems(settings, state, last, now), *contents.strangers]}


def delivery(read_state: ReadState, contents: Contents, now: float) -> dict[str, Any]:
    """What waits for the archive, what it refused or put off, and when it last took something."""
    oldest = contents.oldest_ns
    return {
        "outbox_records": contents.records,
        "outbox_oldest_seconds": None if oldest is None else max(0, round(now - oldest / 1e9)),
        "outbox_strange": list(contents.strange),
        "rejected_records": contents.rejected,
        "deferred": (read_state("deferred") or {}).get("reasons", {}) if contents.records else {},
        "failed_delivery": read_state("push"),
        "last_receipt_at": (read_state("last_receipt") or {}).get("at"),
    }


def problems(settings: Settings, state: dict[str, Any], last: dict[str, Any], now: float) -> list[str]:
    """What its owner should look at."""
    found = []
    if last:
        if last["status"] in ("failed", "partial"):
            found.append(f"the last measurement {last['status']}: {last['reason']}: {last['message']}")
        silent = now - unix_time(last["finished_at"])
        if silent > 2 * settings.interval_seconds + settings.measure_timeout_seconds:
            found.append(f"no record for {silent / 60:.0f} minutes: is the timer running?")
        if silent < -settings.start_tolerance_seconds:
            found.append(
                f"the last record ended at {last['finished_at']}, which is in the future: the clock was set back"
            )
    if settings.archive_host:
        found += delivery_problems(settings, state, now)
    found += probe_status.problems(settings, state["probes"], now)
    if state["rejected_records"]:
        found.append(
            f"the archive refused {state['rejected_records']} records: {settings.state_dir}/rejected says why; "
            "`speedtest-logger push --rejected` delivers them once the cause is gone"
        )
    if state["outbox_strange"]:
        found.append(
            f"{settings.state_dir}/outbox holds files that are not records: {', '.join(state['outbox_strange'])!r}"
        )
    return found


def delivery_problems(settings: Settings, state: dict[str, Any], now: float) -> list[str]:
    """What keeps records from the archive."""
    found = []
    if failed := state["failed_delivery"]:
        then = float(failed.get("not_before", 0))
        following = f"at {utc_text(then)}" if now < then <= now + outbox.LONGEST_REST_SECONDS else "with the next push"
        found.append(
            f"the last delivery failed at {failed.get('at')}: {failed.get('message')} "
            f"(tried {failed.get('failures')} times, next try {following})"
        )
    found += [
        f"{min(told['records'], state['outbox_records'])} records wait for the archive: {told['text']}"
        for told in state["deferred"].values()
    ]
    if (state["outbox_oldest_seconds"] or 0) > max(3600, 2 * settings.interval_seconds):
        found.append(
            f"{state['outbox_records']} records wait, the oldest for {state['outbox_oldest_seconds'] // 60} minutes"
        )
    return found


def health(settings: Settings, now: float | None = None) -> dict[str, Any]:
    """{"healthy": bool, "text": why}: whether the last slot that must be over by now was accounted for.

    Slots from before the loop's start are nobody's fault; a slot may take its tolerance and its timeout.
    """
    from speedtest_logger.node import slots

    now = time.time() if now is None else now
    spool = Spool(settings.state_dir)
    schedule = Schedule(settings.interval_seconds, settings.offset_seconds)
    allowed = settings.start_tolerance_seconds + settings.busy_window_seconds + settings.measure_timeout_seconds
    due = schedule.slot_at(now - allowed - SLACK_SECONDS)
    known = (spool.read_state("last_slot") or {}).get("run_id")
    if known in {run_id_of_slot(settings.node, utc_text(slot)) for slot in schedule.between(due, now + 1)}:
        return {"healthy": True, "text": f"the slot of {utc_text(due)} or a later one is accounted for"}
    if known and slots.accounted(settings, spool, due):
        return {"healthy": True, "text": f"the slot of {utc_text(due)} had its record before the clock was set back"}
    started = (spool.read_state("loop") or {}).get("started_at")
    if started and unix_time(started) > due:
        return {"healthy": True, "text": f"started at {started}, no slot was due since"}
    return {"healthy": False, "text": f"the slot of {utc_text(due)} is not accounted for"}


def in_words(settings: Settings, record: dict[str, Any]) -> str:
    """A record for a person: what was measured, in Mbit/s and ms beside the contract, or why nothing was."""
    words = [record["status"], *([record["reason"]] if record["reason"] else [])]
    for name, plan in (("download", settings.plan_download_mbps), ("upload", settings.plan_upload_mbps)):
        if record[f"{name}_bps"]:
            of = f" of {plan:g}" if plan else ""
            words.append(f"{name} {record[f'{name}_bps'] / 1e6:.1f}{of} Mbit/s")
    words += [f"latency {record['latency_ms']:.1f} ms"] if record["latency_ms"] else []
    words += [record["message"]] if record["message"] else []
    return ", ".join(words)


def as_text(settings: Settings, state: dict[str, Any]) -> str:
    """The same for a person."""
    last = state["last_record"]
    plan = [f"{way} {mbps:g}" for way in ("download", "upload") if (mbps := state[f"plan_{way}_mbps"])]
    lines = [
        f"node {state['node']} at {state['location']}, runtime {state['runtime']}, version {state['version']}",
        f"last record   {last['started_at']}  {in_words(settings, last)}" if last else "last record   none yet",
        f"plan          {', '.join(plan)} Mbit/s" if plan else "plan          none is set",
        f"next slot     {state['next_slot']}" + ("  (paused)" if state["paused"] else ""),
        f"outbox        {state['outbox_records']} records",
        f"last receipt  {state['last_receipt_at'] or 'none yet'}",
        f"this month    {state['month_bytes'] / 1e9:.2f} GB",
        *probe_status.as_lines(state["probes"], state["probe_results"]),
    ]
    return "\n".join(lines + [f"PROBLEM       {problem}" for problem in state["problems"]])
