"""metrics: what node-exporter's textfile collector shows of this node, in one small file."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from speedtest_logger import __version__
from speedtest_logger.log import KEEP, Log
from speedtest_logger.metrics import BUILD_INFO, NODE, OF_NODE, OF_PROBES, TEXTFILE, family, labels
from speedtest_logger.node import gates, outbox, probe_status
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import unix_time

STATE = "metrics"  # what was last said of a failure
MODE = 0o644  # node-exporter runs as somebody else


def write(settings: Settings, directory: Path, log: Log) -> None:
    """Replace a directory's file. What goes wrong is said once, and never to whoever measures."""
    spool = Spool(settings.state_dir)
    try:
        publish(directory, text(settings, spool, time.time()).encode())
    except Exception as error:  # whatever it is: a measurement that was made must not fail for it
        complain(spool, log, f"{directory}/{TEXTFILE}: {getattr(error, 'strerror', None) or error}")
    else:
        with suppress(OSError):
            spool.clear_state(STATE)


def complain(spool: Spool, log: Log, words: str) -> None:
    """Log a failure, unless it is the one that was logged already."""
    if (spool.read_state(STATE) or {}).get("failed") != words:
        log.event("warning", "metrics_not_written", message=words)
        with suppress(OSError):
            spool.write_hint(STATE, {"failed": words})


def publish(directory: Path, content: bytes) -> None:
    """Put a file in the place of the one before; neither it nor the directory may be a link. Raises OSError."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    temporary = f".{TEXTFILE}.{os.getpid()}.tmp"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)  # of a process of this number that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, MODE, dir_fd=folder), "wb") as stream:
            os.fchmod(stream.fileno(), MODE)  # whatever the umask
            stream.write(content)
        os.replace(temporary, TEXTFILE, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(folder)


def text(settings: Settings, spool: Spool, now: float) -> str:
    """What the file says at a time (Unix time, s)."""
    version = ".".join(map(str, sys.version_info[:3]))
    known = labels(version=__version__, role="logger", python=version)
    values = figures(settings, spool, now)
    samples = [(metric, values.get(metric.name.removeprefix(f"{NODE}_"))) for metric in OF_NODE]
    return family(BUILD_INFO, [(known, 1)]) + "".join(
        [
            *(family(metric, [("", value)]) for metric, value in samples),
            *of_probes(settings, spool, now),
        ]
    )


def of_probes(settings: Settings, spool: Spool, now: float) -> Iterator[str]:
    """The probes' metrics; what is old is no figure of now."""
    oldest = now - probe_status.old(settings)
    recent = [
        result
        for result in probe_status.last_results(settings, spool.read_state)
        if result.sent and result.probe != "traceroute" and unix_time(result.finished_at) >= oldest
    ]
    names = [labels(probe=result.probe, target=result.target) for result in recent]
    loss, latency = OF_PROBES
    yield family(loss, zip(names, (round(result.lost / result.sent, 4) for result in recent), strict=True))
    medians = [None if result.median_ms is None else round(result.median_ms / 1000, 6) for result in recent]
    yield family(latency, zip(names, medians, strict=True))


def figures(settings: Settings, spool: Spool, now: float) -> dict[str, float | None]:
    """The figures by their metrics' names without what all of these begin with; None is what there is not."""
    waiting = outbox.count(spool.outbox) if spool.outbox.is_dir() else 0
    receipt = (spool.read_state("last_receipt") or {}).get("at")
    return {
        **last_run(spool),
        "outbox_records": waiting,
        "outbox_bytes": outbox_bytes(spool) if waiting else 0,
        "outbox_dropped_total": spool.dropped(),
        "delivery_last_success_timestamp_seconds": unix_time(receipt) if receipt else None,
        "budget_used_bytes": gates.used_bytes(spool, now),
        "budget_limit_bytes": int(settings.data_budget_gb * gates.GB) or None,
        "log_bytes": log_bytes(settings.log_file),
    }


def last_run(spool: Spool) -> dict[str, float]:
    """When the last run ended, how long it took, and whether it did what it should; empty before the first one."""
    last = spool.read_state("last_record")
    if not last:
        return {}
    ended = unix_time(last["finished_at"])
    return {
        "last_run_timestamp_seconds": ended,
        "last_run_duration_seconds": round(ended - unix_time(last["started_at"]), 3),
        "last_run_success": int(last["status"] in ("ok", "skipped")),
    }


def outbox_bytes(spool: Spool) -> int:
    """What the outbox takes on the disk: as the last one who filled it knew, for there may be tens of thousands."""
    known = (spool.read_state("outbox") or {}).get("bytes")
    if isinstance(known, (int, float)):
        return int(known)
    return sum(entry.disk_bytes for entry in outbox.listed(spool.outbox))


def log_bytes(file: Path) -> int:
    """The size of the log and of what was rotated."""
    total = 0
    for name in [str(file), *(f"{file}.{number}" for number in range(1, KEEP))]:
        with suppress(OSError):
            found = os.lstat(name)
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total
