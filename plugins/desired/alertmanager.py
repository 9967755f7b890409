"""Alertmanager's configuration from a role's values: who is told of what, and what needs no telling."""

from __future__ import annotations

from typing import Any

from plugins.desired.prometheus import as_yaml

Values = dict[str, Any]
EVERYBODY, NOBODY, WATCHDOG = "everybody", "nobody", "watchdog"
FINDING = 'alertname="SpeedtestFinding"'
# What a line that is down brings with it, and what an archive that stands still makes it look like.
OF_A_LINE = "below_plan|below_usual|latency|loss|bufferbloat|failing_engine|coverage_low|silent_node"
OF_A_NODE = "SpeedtestExporterStale|SpeedtestLoggerFailed|SpeedtestOutboxGrowing"


def config(v: Values) -> str:
    """alertmanager.yml; it holds secrets."""
    return as_yaml(
        {
            "route": route(v),
            "inhibit_rules": inhibitions(),
            "receivers": [
                {"name": EVERYBODY, **webhooks(v["webhooks"]), **mail(v)},
                {"name": NOBODY},
                {"name": WATCHDOG, **webhooks([v["watchdog_url"]] if v["watchdog_url"] else [], resolved=False)},
            ],
        }
    )


def route(v: Values) -> Values:
    """One message a location; the alert that always fires goes to whoever watches for its absence."""
    return {
        "receiver": EVERYBODY,
        "group_by": ["location"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": f"{int(v['repeat_hours'])}h",
        "routes": [
            {
                "receiver": WATCHDOG if v["watchdog_url"] else NOBODY,
                "matchers": ['alertname="Watchdog"'],
                "group_wait": "0s",
                "group_interval": "1m",
                "repeat_interval": "4m",
            }
        ],
    }


def inhibitions() -> list[Values]:
    """What silences what, where the labels in `equal` are the same."""
    down = [FINDING, 'rule="line_down"']
    still = [FINDING, 'rule="ingest_stopped"']
    silent = f"{OF_A_NODE}|SpeedtestNodeSilent"
    return [
        inhibition(down, [FINDING, f'rule=~"{OF_A_LINE}"'], "location"),
        inhibition(down, [f'alertname=~"{silent}"'], "location"),
        inhibition(['alertname="SpeedtestNodeSilent"'], [f'alertname=~"{OF_A_NODE}"'], "location", "node"),
        inhibition(still, [FINDING, 'rule=~"silent_node|coverage_low"']),
        inhibition(still, ['alertname=~"SpeedtestNodeSilent|SpeedtestArchiveLag"']),
        inhibition(['alertname="SpeedtestArchiveLag"'], ['alertname="SpeedtestNodeSilent"']),
    ]


def inhibition(source: list[str], target: list[str], *equal: str) -> Values:
    """While an alert of the source fires, those of the target are not told of."""
    return {"source_matchers": source, "target_matchers": target, **({"equal": list(equal)} if equal else {})}


def webhooks(urls: list[str], *, resolved: bool = True) -> Values:
    """Addresses that alerts are posted to."""
    made = [{"url": url, "send_resolved": resolved} for url in urls]
    return {"webhook_configs": made} if made else {}


def mail(v: Values) -> Values:
    """People who get mail."""
    if not v["mail_to"]:
        return {}
    login = {"auth_username": v["mail_username"], "auth_password": v["mail_password"]} if v["mail_username"] else {}
    host = str(v["mail_smarthost"])
    smarthost = host if host.rpartition(":")[2].isdigit() and (host.count(":") == 1 or "]:" in host) else f"{host}:587"
    one = {
        "to": ", ".join(v["mail_to"]),
        "from": v["mail_from"],
        "smarthost": smarthost,
        "require_tls": bool(v["mail_tls_enabled"]),
        "send_resolved": True,
        **login,
    }
    return {"email_configs": [one]}
