"""What goes wrong is told once, by ntfy, by mail and to a webhook, and once more when it is over."""

from __future__ import annotations

import json
import re
import time

import listeners
import pytest
from fleet import LAB, anew, attempt, ingest, lab, on, playbook, quoted, wait_until

from speedtest_logger.record import utc_text

ALERTS = "speedtest-alerts.service"
STOPPED = 600  # s: as old as ingest's last run is made


@pytest.fixture(scope="module", autouse=True)
def services():
    """From here on the webhook is dead; of what was before all is told."""
    listeners.start()  # what was rebooted since has forgotten them
    listeners.lose_webhook()
    on("archive", f"systemctl stop speedtest-alerts.timer {ALERTS}")
    on("archive", "speedtest-alerts run --now; systemctl start speedtest-alerts.timer")


def by_ntfy() -> list[dict]:
    lines = on("target", f"curl -sf '{listeners.NTFY}'").splitlines()
    return [message for message in map(json.loads, filter(None, lines)) if message["event"] == "message"]


def titles() -> list[str]:
    return [message.get("title", "") for message in by_ntfy()]


def told(line: str, before: int) -> bool:
    """Whether a message says so, but for the first ones, which are of what was before."""
    return any(line in f"{message.get('title')}\n{message.get('message')}" for message in by_ntfy()[before:])


def mails() -> str:
    return on("target", f"cat {listeners.BOX}/new/* 2>/dev/null", check=False)


def names(text: str) -> list[str]:
    """The findings' names in messages, begun and ended, in order."""
    return re.findall(r"\(([0-9a-f]{8})\)", text)


def all_text() -> str:
    return "\n".join(message.get("message", "") for message in by_ntfy())


def nothing_is_wrong() -> bool:
    """The tests before have cut these as well: that is told and over before it is done again."""
    known = json.loads(on("archive", "speedtest-alerts list --format json"))
    last = [each for each in known["open"] if each["rule"] in ("line_down", "silent_node")]
    return not any(name in each["of"] for name in ("garden", "attic") for each in last)


def evaluate() -> None:
    ingest("archive")
    on("archive", anew(ALERTS))


def measured(node: str, since: float) -> bool:
    """Whether a slot since then (Unix time, s) is measured: by hand nothing is over."""
    last = json.loads(attempt(node, "speedtest-logger status --json").stdout)["last_record"]
    return last["status"] == "ok" and (last["scheduled_at"] or "") > utc_text(since)


def test_a_cut_line_and_a_node_that_died_are_told_once_and_once_when_they_are_back():
    wait_until("what was before is over", nothing_is_wrong, 240, "archive")
    before = len(titles())
    lab("cut", LAB, "shed")  # alone on its line
    lab("kill", LAB, "attic")  # its power is cut; porch measures the same line
    down, silent = "garden: line down since", "attic (home): silent node since"
    wait_until("both are told", lambda: told(down, before) and told(silent, before), 420, "archive")
    back = time.time()
    lab("restore", LAB, "shed")
    lab("start", LAB, "attic")
    over = ("garden: line down is over", "attic (home): silent node is over")
    for node in ("shed", "attic"):
        wait_until(f"{node} measured", lambda node=node: measured(node, back), 90, node)
        on(node, "speedtest-logger push --force")
    evaluate()
    wait_until("both are over", lambda: all(told(line, before) for line in over), 60, "archive")
    evaluate()
    new = "\n".join(message.get("message", "") for message in by_ntfy()[before:])
    for line in (down, silent, *over):
        assert new.count(line) == 1, new
    assert re.search(r"garden: line down is over: \S+ \S+ UTC to \S+ \S+ UTC, \d+ min: the line is down: no_route", new)


def test_mail_says_the_same_and_a_webhook_that_was_dead_hears_it_later_in_order():
    told_by_ntfy = set(names(all_text()))
    wait_until("what ntfy was told, mail was told", lambda: told_by_ntfy <= set(names(mails())), 60, "archive")
    text = mails()
    assert "Subject: garden: line down" in text or "garden: line down since" in text
    listed = json.loads(on("archive", "speedtest-alerts list --format json"))
    hook = next(each for each in listed["destinations"] if each["name"] == "hook")
    assert hook["failing since"]
    status = " ".join(playbook("playbooks/status.yml").stdout.split())
    assert f"archive: destination hook has taken nothing since {hook['failing since']}: " in status
    listeners.start_webhook()
    on("archive", "speedtest-alerts run --now")
    heard = [json.loads(line) for line in on("target", f"cat {listeners.HOOK}").splitlines()]
    assert len(heard) == 1
    assert heard[0]["title"].partition(" ")[2].startswith("messages since")
    text = heard[0]["message"]
    name = re.findall(r"garden: line down since [^\n]*\(([0-9a-f]{8})\)", text)[-1]  # of the cut before
    of_it = [line.strip() for line in text.splitlines() if f"({name})" in line]
    assert [line.partition("garden: line down ")[2].split()[0] for line in of_it] == ["since", "is"], of_it
    assert not json.loads(on("archive", "speedtest-alerts list --format json"))["waiting"]


def test_an_archive_that_is_not_filled_is_one_message_and_no_flood():
    before = len(titles())
    on("archive", "systemctl stop speedtest-ingest.timer")
    ingest("archive")  # none runs on that would say so below
    ingested = json.loads(on("archive", "cat /srv/speedtest-archive/state/ingest.json"))
    ingested["at"] = utc_text(time.time() - STOPPED)
    as_archive = "sudo -u speedtest-archive tee /srv/speedtest-archive/state/ingest.json"
    on("archive", f"echo {quoted(json.dumps(ingested))} | {as_archive}")
    on("archive", anew(ALERTS))
    assert titles()[before:] == ["archive: archive is not filled"]
    on("archive", "systemctl start speedtest-ingest.timer speedtest-ingest.service speedtest-alerts.service")
    both = ["archive: archive is not filled", "archive: archive is not filled is over"]
    wait_until("it is over", lambda: titles()[before:] == both, 120, "archive")


def test_a_rebooted_archive_tells_nothing_twice():
    before = titles()
    lab("reboot", LAB, "archive")
    running = "systemctl is-active -q speedtest-alerts.timer"
    wait_until("its timer runs", lambda: attempt("archive", running).returncode == 0, 60)
    evaluate()
    assert titles() == before


def test_why_it_was_told_and_that_nobody_else_can_read_the_addresses():
    text = all_text()
    name = re.search(r"garden: line down since [^\n]*\(([0-9a-f]{8})\)", text)[1]
    explained = on("archive", f"speedtest-alerts explain {name}")
    assert "no_route" in explained
    assert "fires" in explained
    assert "line_down" in on("archive", "speedtest-alerts replay --last 1h")
    folders = "/etc /srv/speedtest-archive /var/lib/speedtest-archive"
    places = on("archive", f"grep -rl 'ntfy://' {folders}", check=False)
    assert places.split() == ["/etc/speedtest-archive/alerts.json"]
    assert on("archive", "stat -c '%U %a' /etc/speedtest-archive/alerts.json").split() == ["root", "600"]
    for account in ("speedtest-archive", "speedtest-alerts"):
        assert attempt("archive", f"sudo -u {account} cat /etc/speedtest-archive/alerts.json").returncode != 0
    assert attempt("archive", "sudo -u speedtest-alerts touch /srv/speedtest-archive/archive/x").returncode != 0
