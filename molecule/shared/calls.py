"""What a run costs: each call of a machine, by the role that makes it."""

from __future__ import annotations

import re
from collections import Counter

from fleet import SCENARIO, playbook, recap

# which roles a scenario shows it of: of each role one does
ROLES = {
    "compose": ("speedtest_target", "speedtest_archive", "docker_host", "speedtest_logger"),
    "default": ("speedtest_target", "speedtest_archive", "speedtest_store", "speedtest_cluster", "speedtest_logger"),
    "monitoring": (
        *("speedtest_target", "speedtest_archive", "speedtest_dashboard", "speedtest_monitoring"),
        "speedtest_logger",
    ),
    "drift": (
        *("speedtest_target", "speedtest_archive", "speedtest_dashboard", "speedtest_database", "speedtest_front"),
        "speedtest_logger",
    ),
}
MOST_CALLS = 4  # of a role, on a machine that is as it should be
# else Ansible names a task with its first result, behind its calls, which the task before would be charged with
NAMED_FIRST = {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
TASK = re.compile(r"^TASK \[(?:(?:speedtest\.telemetry\.)?(\S+) : )?.*\] \**$")
CALL = re.compile(r"^<([^>]+)> SSH: EXEC ")


def calls_of_roles(said: str) -> Counter[tuple[str, str]]:
    """Calls by role and address, from what `ansible-playbook -vvv` says; those of a play's own tasks are nobody's."""
    found: Counter[tuple[str, str]] = Counter()
    role = None
    for line in said.splitlines():
        if task := TASK.match(line):
            role = task[1]
        elif role and (call := CALL.match(line)):
            found[role, call[1]] += 1
    return found


def assert_each_role_costs_little(scenario: str = SCENARIO) -> None:
    """Run each role by itself: nothing changes, and none calls a machine more often than MOST_CALLS."""
    done = playbook("molecule/shared/each_role.yml", "-vvv", environment=NAMED_FIRST)
    assert done.returncode == 0, done.stdout[-3000:]
    changed = {host: counts["changed"] for host, counts in recap(done).items() if counts["changed"]}
    assert not changed, changed
    found = calls_of_roles(done.stdout)
    print(*(f"{role} on {address}: {count}" for (role, address), count in sorted(found.items())), sep="\n")
    assert {role for role, _ in found} == set(ROLES[scenario]), found
    dear = {where: count for where, count in found.items() if count > MOST_CALLS}
    assert not dear, dear
