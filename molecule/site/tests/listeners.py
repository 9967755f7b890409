"""What hears alerts, on the target: ntfy, a mail server, a webhook."""

from __future__ import annotations

import base64

from fleet import ROOT, attempt, listens, on, wait_until

HOST = "target"
BOX, HOOK = "/var/tmp/alerts.mails", "/var/tmp/alerts.jsonl"
NTFY = "http://127.0.0.1:2586/speed/json?poll=1&since=all"
WEBHOOK = "hear-hook"


def start() -> None:
    """All three listen, from now on."""
    on(HOST, "DEBIAN_FRONTEND=noninteractive apt-get -qq -y install ntfy python3-aiosmtpd >/dev/null")
    limits = "--visitor-request-limit-burst 100000"  # the tests ask it all the time
    run("hear-ntfy", f"ntfy serve --listen-http :2586 --cache-file /var/tmp/alerts.db --auth-file '' {limits}")
    run("hear-mail", f"python3 -m aiosmtpd -n -l 0.0.0.0:2525 -c aiosmtpd.handlers.Mailbox {BOX}")
    program = base64.b64encode((ROOT / "molecule/shared/programs/hook.py").read_bytes()).decode()
    on(HOST, f"echo {program} | base64 -d >/var/tmp/hook.py")
    start_webhook()
    listens(HOST, 2525)
    wait_until("ntfy answers", lambda: attempt(HOST, f"curl -sf '{NTFY}'").returncode == 0, 30, every=1)


def start_webhook() -> None:
    """It listens."""
    run(WEBHOOK, f"python3 /var/tmp/hook.py 8900 {HOOK}")
    listens(HOST, 8900)


def lose_webhook() -> None:
    """It is dead, and has forgotten what it heard."""
    on(HOST, f"systemctl stop {WEBHOOK}; rm -f {HOOK}")


def run(unit: str, command: str) -> None:
    """A program as a unit, unless it runs."""
    on(HOST, f"systemctl is-active -q {unit} || systemd-run --quiet --unit={unit} --collect {command}")
