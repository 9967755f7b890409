"""Real faults are told of and end, and what follows from another one is not told."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
import recorded
from fleet import on, quoted, wait_until
from prometheus import ALERTMANAGER, firing, held, named, values
from recorded import DROPPING, GROWING, SILENT
from test_1_watched import MONITORS, body, received

LOGGER = "/opt/speedtest-telemetry/current/bin/speedtest-logger"
FAULTS = {
    ("SpeedtestDashboardDown", ""): (
        "archive",
        "systemctl stop speedtest-dashboard",
        "systemctl start speedtest-dashboard",
    ),
    ("SpeedtestExporterStale", "attic"): (
        "attic",
        "systemctl stop prometheus-node-exporter",
        "systemctl start prometheus-node-exporter",
    ),
    # its program is gone: a failed update, a card that has gone bad
    ("SpeedtestLoggerFailed", "porch"): (
        "porch",
        f"chmod 0 {LOGGER}; systemctl start speedtest-logger speedtest-push; true",
        f"chmod 0755 {LOGGER}; systemctl reset-failed 'speedtest-*'; systemctl restart speedtest-push",
    ),
}


@pytest.fixture(scope="module")
def at_fault():
    """All of the faults at once."""
    wait_until("nothing is wrong yet", lambda: seen(set(FAULTS)) == set(), 60)
    for node, harm, _ in FAULTS.values():
        on(node, harm)


def seen(alerts: set[tuple[str, str]]) -> set[tuple[str, str, str]]:
    """Which of some alerts fire: monitoring host and alert."""
    return {(monitor, *alert) for monitor in MONITORS for alert in firing(monitor) & alerts}


def wait_for(alerts: set[tuple[str, str]], seconds: float) -> None:
    """Return once alerts fire on all monitoring hosts."""
    missing: set[tuple[str, str, str]] = set()

    def all_fire() -> bool:
        missing.clear()
        missing.update((monitor, *alert) for monitor in MONITORS for alert in alerts - firing(monitor))
        return not missing

    try:
        wait_until(f"{len(alerts)} alerts fire", all_fire, seconds)
    finally:
        print("do not fire:", missing)
        for monitor, _, node in missing:
            for seen_of in (f'up{{node="{node}"}}', f'node_systemd_unit_state{{node="{node}",state="failed"}}'):
                print(monitor, values(f"changes({seen_of}[5m])", monitor), values(seen_of, monitor))


@pytest.mark.usefixtures("at_fault")
def test_recorded_faults_fire_and_end():
    """Meanwhile the real ones last for the minute that Prometheus waits."""
    with recorded.served() as times:
        for monitor in MONITORS:
            assert time.time() < times.fires, "what was recorded is over"
            wait_recorded(monitor, GROWING | DROPPING, times.fires)
        for monitor in MONITORS:
            wait_recorded(monitor, GROWING | DROPPING | SILENT, times.ends)
        for monitor in MONITORS:
            wait_recorded(monitor, set(), times.last)  # later nothing was recorded any more


def wait_recorded(monitor: str, alerts: set[tuple[str, str]], until: float) -> None:
    """Return once these fire, and no others, in a monitoring host's second Prometheus."""
    left = until - time.time()
    wait_until(f"{monitor}: {alerts}", lambda: recorded.fires(monitor) == alerts, left, every=1, more=0)


def test_real_faults_fire(at_fault):
    wait_for(set(FAULTS), 180)
    for monitor in MONITORS:
        assert set(FAULTS) <= {named(alert["labels"]) for alert in held(monitor)}


def test_somebody_is_told_once_a_location(at_fault):
    def groups() -> set[str]:
        return {message["groupLabels"].get("location", "") for message in messages()}

    wait_until("messages have come", lambda: groups() == {"", "garden", "home"}, 120)
    texts = [alert["annotations"]["summary"] for message in messages() for alert in message["alerts"]]
    assert "The dashboard does not answer" in texts
    told = [(message["groupKey"], state_of(message)) for message in messages()]
    print(told)
    assert len(told) == len(set(told)), "nobody is told the same twice"


def state_of(message: dict) -> tuple[tuple[str, str], ...]:
    """What a message says: each alert, and whether it fires."""
    return tuple(sorted((alert["fingerprint"], alert["status"]) for alert in message["alerts"]))


def messages() -> list[dict]:
    """What somebody was told."""
    return [json.loads(body(name)) for name in received("told")]


def test_what_is_mended_ends(at_fault):
    for node, _, mend in FAULTS.values():
        on(node, mend)
    wait_until("all faults have ended", lambda: seen(set(FAULTS)) == set(), 90)
    wait_until(
        "nobody holds them any more",
        lambda: not {named(alert["labels"]) for monitor in MONITORS for alert in held(monitor)} & set(FAULTS),
        60,
    )


def test_what_follows_from_a_line_that_is_down_is_not_told():
    """As findings of the archive come; in another location the same finding stays what it is."""
    now = datetime.now(timezone.utc)
    findings = [("line_down", "home"), ("below_plan", "home"), ("silent_node", "home"), ("below_plan", "garden")]
    labels = [{"alertname": "SpeedtestFinding", "rule": rule, "location": place} for rule, place in findings]
    labels.append({"alertname": "SpeedtestExporterStale", "node": "attic", "location": "home"})
    ends = (now + timedelta(minutes=10)).isoformat()
    posted = json.dumps([{"labels": each, "startsAt": now.isoformat(), "endsAt": ends} for each in labels])
    on(
        "archive",
        f"curl --silent --fail -H 'Content-Type: application/json' -d {quoted(posted)} {ALERTMANAGER}/api/v2/alerts",
    )

    def states() -> dict[tuple[str, str], str]:
        alerts = [alert for alert in held() if "location" in alert["labels"]]
        names = [(alert["labels"].get("rule", "stale"), alert["labels"].get("location", "")) for alert in alerts]
        return {name: alert["status"]["state"] for name, alert in zip(names, alerts, strict=True)}

    expected = {
        ("line_down", "home"): "active",
        ("below_plan", "home"): "suppressed",
        ("silent_node", "home"): "suppressed",
        ("stale", "home"): "suppressed",
        ("below_plan", "garden"): "active",
    }
    wait_until(f"inhibition holds: {states()}", lambda: states() == expected, 60, every=1)


def test_whoever_watches_for_the_watchdog_hears_it():
    wait_until("the watchdog is heard", lambda: bool(received("alive")), 60)
    (alert,) = json.loads(body(received("alive")[0]))["alerts"]
    assert alert["labels"]["alertname"] == "Watchdog"
    assert [name for name in received("told") if b"Watchdog" in body(name)] == []
