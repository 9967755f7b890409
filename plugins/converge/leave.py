"""A node that its bundle takes off: what it has measured is delivered, then all of it goes.

Nothing goes while something waits that the archive has not taken: the next run tries again. What brings all this about
goes last, so that a run which was cut is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plugins.converge import carry_out
from plugins.converge.bundle import Bundle
from plugins.converge.containers import Serve
from plugins.converge.programs import FailedError, run

COMMAND = Path("/usr/local/bin/speedtest-logger")
UNITS = Path("/etc/systemd/system")
PUSH_SECONDS = 1800  # a node that was away for long has much to deliver
MEASURING = ("speedtest-logger.timer", "speedtest-logger.service", "speedtest-probe.timer", "speedtest-probe.service")


def taken_off(bundle: Bundle, serve: Serve, about_to: Callable[[], None], *, begun: bool) -> list[str]:
    """Deliver, and be no node any more; what was done. `about_to` is called before the last delivery, which tells it.

    `begun`: a run before this one got as far as that.

    Raises FailedError where the archive has not taken everything, RefusedError before anything was changed.
    """
    carry_out.check_places(bundle)
    if COMMAND.exists():
        deliver()
        measure_no_more(bundle)
        about_to()
        deliver()
    elif not begun:
        raise FailedError(f"it stays, for nobody can deliver what it has measured: {COMMAND} is missing")
    return carry_out.carried_out(bundle, serve)


def deliver() -> None:
    """The archive has what was measured. Raises FailedError."""
    try:
        run([str(COMMAND), "push", "--force"], PUSH_SECONDS)
    except FailedError as error:
        raise FailedError(f"it stays, for what it has measured was not delivered: {error}") from error


def measure_no_more(bundle: Bundle) -> None:
    """Nothing starts any more; a measurement under way leaves its record in the outbox."""
    if there := [name for name in MEASURING if (UNITS / name).exists()]:
        run(["systemctl", "stop", *there], PUSH_SECONDS)
    for item in bundle.desired.get("absent_projects", []):
        if Path(item["directory"], "compose.yml").exists():
            run(["docker", "compose", "--project-name", item["name"], "stop"], PUSH_SECONDS)
