"""The dashboard answers on the archive host itself and nowhere else, and can write nothing of the archive."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from fleet import LAB, attempt, ingest, lab, on, playbook, quoted, recap, wait_until
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright
from security import exposure

HOST = "archive"
ACCOUNT = "speedtest-dashboard"
UNIT = f"{ACCOUNT}.service"
ARCHIVE = "/srv/speedtest-archive"
MOST_EXPOSED = 2.0
SECONDS = 180_000  # that a page is waited for, in milliseconds
# What the page said of its connection, and each row that news came for: both may be over before they are looked for.
WATCH = """() => {
  window.seen = new Set();
  const note = () => {
    if (!document.querySelector("#live.on")) window.seen.add("lost");
    for (const row of document.querySelectorAll("[data-location].fresh")) window.seen.add(row.dataset.location);
  };
  const what = {subtree: true, childList: true, attributes: true, attributeFilter: ["class"]};
  new MutationObserver(note).observe(document.body, what);
}"""
USERS = [
    {
        "name": "ada",
        "password": "scrypt$32768$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$5sfY8P85Gz2Wi0Gj/1mwLsPGSnZvPs1HKCewzF/EYfU=",
    }
]
CONVERGE = ("playbooks/dashboard.yml", "--diff")


def inside_of(unit: str) -> str:
    """What runs a command of root's where a service runs."""
    return f"nsenter --mount --target $(systemctl show --property=MainPID --value {unit})"


def health(address: str = "127.0.0.1", port: int = 8000) -> str:
    """What the host itself is told, body and status, or why it is told nothing."""
    program = (
        "import sys, urllib.request as r, urllib.error as e\n"
        f"try: answer = r.urlopen('http://{address}:{port}/health', timeout=60)\n"
        "except e.HTTPError as error: answer = error\n"
        "print(answer.status, answer.read().decode())"
    )
    return attempt(HOST, f'python3 -c "{program}"').stdout


def test_it_runs_and_answers_on_loopback():
    assert on(HOST, f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}").split() == ["active", "enabled"]
    status, _, body = health().partition(" ")
    assert status in ("200", "503"), body
    assert json.loads(body)["status"] in ("healthy", "degraded")


def test_it_tells_prometheus_of_every_node():
    program = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics', timeout=60).read().decode())"
    )
    told = on(HOST, f'python3 -c "{program}"')
    for name in ("slots_total", "last_seen_timestamp_seconds", "expected_interval_seconds", "transferred_bytes_total"):
        found = set(re.findall(rf'^speedtest_{name}\{{node="(\w+)"', told, re.MULTILINE))
        assert found >= {"attic", "porch", "shed"}, name
    ok = re.findall(r'^speedtest_slots_total\{node="attic",location="[^"]+",outcome="ok"\} (\d+)$', told, re.MULTILINE)
    assert int(ok[0]) > 0
    assert re.findall(r"^speedtest_archive_rows [1-9]", told, re.MULTILINE)
    assert not re.findall(r"nan|inf$", told, re.IGNORECASE | re.MULTILINE)


def test_nothing_of_it_listens_on_another_address():
    listening = re.findall(r"(\S+):8000\s", on(HOST, "ss --listening --tcp --numeric --no-header"))
    assert listening == ["127.0.0.1"]
    addresses = on(HOST, "hostname -I").split()
    assert addresses
    for address in addresses:
        assert "refused" in health(f"[{address}]" if ":" in address else address)


def test_its_service_is_sandboxed():
    found, said = exposure(HOST, UNIT)
    print(f"{UNIT}: {found}")
    assert found <= MOST_EXPOSED, said


FOLDERS = ("archive", "manifest", "state", "fleet", "inbox", "raw", "quarantine", "gathered", "work")


@pytest.mark.parametrize("folder", FOLDERS)
def test_its_account_reads_the_archive_and_writes_nothing_there(folder):
    """With the rights of its files alone; the unit's sandbox comes on top."""
    place = f"{ARCHIVE}/{folder}"
    mine = f"runuser -u {ACCOUNT} --"
    # files come and go meanwhile: what counts is that none may not be read
    assert on(HOST, f"{mine} find {place} -type f -exec cat {{}} + 2>&1 >/dev/null | grep denied; true") == ""
    assert attempt(HOST, f"{mine} touch {place}/x").returncode != 0
    change = "{ true >>$file; } 2>/dev/null && echo $file; rm $file 2>/dev/null </dev/null && echo $file is gone"
    each = f"for file in $(find {place} -type f); do {change}; done; true"
    assert on(HOST, f"{mine} sh -c {quoted(each)}") == ""


def test_the_service_itself_could_write_nothing_but_its_own_state():
    """Not even with root's rights."""
    sandbox = on(HOST, f"systemctl show --property=ProtectSystem,ReadWritePaths,User {UNIT}").split("\n")
    assert {"ProtectSystem=strict", "ReadWritePaths=/var/lib/speedtest-dashboard", f"User={ACCOUNT}"} <= set(sandbox)
    inside = inside_of(UNIT)
    assert "Read-only file system" in attempt(HOST, f"{inside} touch {ARCHIVE}/archive/x").stdout
    assert "Read-only file system" in attempt(HOST, f"{inside} touch /etc/speedtest-dashboard/x").stdout
    on(HOST, f"{inside} touch /var/lib/speedtest-dashboard/x && rm /var/lib/speedtest-dashboard/x")


def test_what_its_account_must_not_have():
    mine = f"runuser -u {ACCOUNT} --"
    for path in ("/etc/speedtest-archive/backup.env", "/etc/ssh/ssh_host_ed25519_key", "/etc/shadow"):
        assert attempt(HOST, f"{mine} cat {path}").returncode != 0, path
    assert attempt(HOST, f"{mine} systemctl stop speedtest-ingest.timer").returncode != 0


@pytest.fixture
def users():
    """Users in the inventory, and the dashboard as it was afterwards."""
    extra = ("--extra-vars", json.dumps({"speedtest_dashboard_users": USERS}))
    yield playbook(*CONVERGE, *extra), extra
    done = playbook(*CONVERGE)
    assert done.returncode == 0, done.stdout[-3000:]


def test_users_reach_the_service_and_nobody_else(users):
    done, extra = users
    assert done.returncode == 0, done.stdout[-3000:]
    assert "scrypt" not in done.stdout
    shown = on(HOST, "stat --format '%U %G %a' /etc/speedtest-dashboard/users.json").strip()
    assert shown == "root root 600"
    pid = on(HOST, f"systemctl show --property=MainPID --value {UNIT}").strip()
    handed = re.findall(r"SPEEDTEST_DASHBOARD_USERS_FILE=([^\0]+)", on(HOST, f"cat /proc/{pid}/environ"))
    assert handed == [f"/run/credentials/{UNIT}/users.json"]
    assert json.loads(on(HOST, f"{inside_of(UNIT)} cat {handed[0]}")) == USERS
    assert attempt(HOST, "runuser -u speedtest-archive -- cat /etc/speedtest-dashboard/users.json").returncode != 0
    assert health().startswith(("200", "503"))
    again = playbook(*CONVERGE, *extra)
    assert {counts["changed"] for counts in recap(again).values()} == {0}


def test_another_address_without_users_is_refused_before_anything_is_touched():
    extra = json.dumps({"speedtest_dashboard_bind": "0.0.0.0"})  # noqa: S104
    done = playbook("site.yml", "--extra-vars", extra)
    assert done.returncode != 0
    assert "speedtest_dashboard_bind: seen '0.0.0.0' on archive" in " ".join(done.stdout.split())


@pytest.fixture
def address():
    """The dashboard through ssh, as docs/how-to/look-at-the-dashboard.md has it; the connection ends with the lab."""
    return f"http://{lab('forward', LAB, HOST, '8000', '--background').strip()}"


def is_live(page, address):
    """Go there. Chromium breaks off what it loads when a network of this machine changes, as by another lab."""
    try:
        page.goto(address)
        page.locator("#live.on").wait_for(timeout=SECONDS / 3)
    except PlaywrightError:
        return False
    return True


def wait_until_seen(page, what):
    wait_until(f"{what} was seen", lambda: page.evaluate("what => seen.has(what)", what), SECONDS / 1000, HOST, 0.2)


def test_a_browser_shows_what_arrives_and_comes_back_after_a_restart(address):
    """Nothing is pressed: a node measures and delivers, and the page that is open has it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"))
        page = browser.new_page()
        page.set_default_timeout(SECONDS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        live = page.locator("#live.on")
        wait_until("the page is live", lambda: is_live(page, f"{address}/line/garden"), SECONDS / 1000, HOST)
        page.evaluate(WATCH)
        run = json.loads(on("shed", "speedtest-logger measure --wait --json 2>/dev/null"))["run_id"]
        on("shed", "speedtest-logger push --force")
        wait_until_seen(page, "garden")
        ingest(HOST)
        on(HOST, f"systemctl restart {UNIT}")
        wait_until_seen(page, "lost")
        live.wait_for()
        page.goto(f"{address}/record/{run}")
        assert "shed" in page.locator("main").inner_text()
        browser.close()
    assert errors == []
