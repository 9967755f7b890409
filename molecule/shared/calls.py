"""What a run costs: each call of a machine, by the role that makes it."""

from __future__ import annotations

import re
from collections import Counter

from fleet import playbook, recap

MOST_CALLS = 4  # of a role, on a machine that is as it should be
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


def assert_each_role_costs_little(*roles: str) -> None:
    """Run each role by itself: nothing changes, and none calls a machine more often than MOST_CALLS."""
    done = playbook("molecule/shared/each_role.yml", "-vvv")
    assert done.returncode == 0, done.stdout[-3000:]
    changed = {host: counts["changed"] for host, counts in recap(done).items() if counts["changed"]}
    assert not changed, changed
    found = calls_of_roles(done.stdout)
    print(*(f"{role} on {address}: {count}" for (role, address), count in sorted(found.items())), sep="\n")
    assert {role for role, _ in found} == set(roles), found
    dear = {where: count for where, count in found.items() if count > MOST_CALLS}
    assert not dear, dear
