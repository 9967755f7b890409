"""How the scenarios count what a role calls of a machine: one call too many is seen."""

from __future__ import annotations

import subprocess
import sys

import pytest
from builders import ROOT

sys.path.insert(0, str(ROOT / "molecule/shared"))

import calls

SAID = """
TASK [Lock the fleet against other runs] ****************************************
<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1
TASK [speedtest.telemetry.speedtest_target : observe | Compare the host with its desired state] *****
<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1
<192.0.2.1> (0, b'...')
<192.0.2.2> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.2
TASK [speedtest.telemetry.managed_host : schedule | Reload units of others] *************************
<192.0.2.2> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.2
PLAY RECAP *********************************************************************
host : ok=5 changed=0
"""
CALL = "<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1\n"


def test_calls_are_counted_by_role_and_machine():
    assert calls.calls_of_roles(SAID) == {
        ("speedtest_target", "192.0.2.1"): 1,
        ("speedtest_target", "192.0.2.2"): 1,
        ("managed_host", "192.0.2.2"): 1,
    }


@pytest.mark.parametrize(("more", "is_right"), [(3, True), (4, False)])
def test_a_role_that_calls_five_times_is_refused(monkeypatch, more, is_right):
    roles = ("speedtest_target", "managed_host")
    said = SAID.replace(CALL + "<192.0.2.1> (0", CALL * (more + 1) + "<192.0.2.1> (0")
    monkeypatch.setattr(calls, "playbook", lambda *_: subprocess.CompletedProcess("", 0, said))
    if is_right:
        calls.assert_each_role_costs_little(*roles)
    else:
        with pytest.raises(AssertionError, match=r"'speedtest_target', .*: 5"):
            calls.assert_each_role_costs_little(*roles)
