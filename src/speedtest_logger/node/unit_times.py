"""When a node's units start, and how long a measurement may take: the role's templates and the package ask here.

`main` is the package's systemd.generator(7): at each start and `systemctl daemon-reload` it puts what logger.env says
into drop-ins of the package's units. Where Ansible manages the node, the units themselves have it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger import env_file
from speedtest_logger.errors import ConfigError
from speedtest_logger.node import config
from speedtest_logger.schedule import Schedule

TO_END_SECONDS = 30  # above what a measurement may take: to keep its record


@dataclass(frozen=True)
class UnitTimes:
    """When units start: slots, what a delivery left behind, probes as far from slots as their interval allows."""

    slots: Schedule
    push: Schedule
    probe: Schedule

    @classmethod
    def of(cls, interval: int, offset: int, push_interval: int, probe_interval: int) -> UnitTimes:
        """From the node's interval and offset, and the intervals of the others (s)."""
        return cls(
            Schedule(interval, offset),
            Schedule(push_interval, offset % push_interval),
            Schedule(probe_interval, (offset + probe_interval // 2) % probe_interval),
        )


def timeout_seconds(measure_timeout: int, busy_window: int) -> int:
    """How long the unit of a measurement may take."""
    return measure_timeout + busy_window + TO_END_SECONDS


def drop_ins(settings: config.Settings) -> dict[str, str]:
    """What the units of a package get from the settings, by unit."""
    times = UnitTimes.of(
        settings.interval_seconds,
        settings.offset_seconds,
        settings.push_interval_seconds,
        settings.probe_interval_seconds,
    )
    timers = {"logger": times.slots, "push": times.push, "probe": times.probe}
    longest = timeout_seconds(settings.measure_timeout_seconds, settings.busy_window_seconds)
    return {
        **{f"speedtest-{name}.timer": timer(schedule) for name, schedule in timers.items()},
        "speedtest-logger.service": f"[Service]\nTimeoutStartSec={longest}\n",
    }


def timer(schedule: Schedule) -> str:
    """A timer's times, in the place of those that its file has."""
    lines = ["[Timer]", "OnCalendar=", *(f"OnCalendar={moment}" for moment in schedule.on_calendar())]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write drop-ins into the directory that systemd names; a node that has no settings yet gets none."""
    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    try:
        values = env_file.read(config.ENV_FILE)
        if config.PREFIX + "NODE" not in values:
            return 0
        made = drop_ins(config.load(values))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, ConfigError) as error:
        print(f"speedtest-logger: {config.ENV_FILE}: {error}", file=sys.stderr)  # noqa: T201  the journal has it
        return 1
    for unit, text in made.items():
        place = folder / f"{unit}.d"
        place.mkdir(parents=True, exist_ok=True)
        (place / "50-logger-env.conf").write_text(text, encoding="utf-8")
    return 0
