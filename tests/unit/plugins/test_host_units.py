"""The module host_units: what it tells systemd, and what it says of it. systemctl is a script that keeps states."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.modules import host_units
from plugins.remote import answer_of, with_arguments

MODULE = Path(host_units.__file__)
# A unit is a file with its UnitFileState and its ActiveState; `broken` does not start.
SYSTEMCTL = """#!/bin/sh
cd {folder}; echo "$@" >>told; verb=$1; shift
[ "$verb" = daemon-reload ] && exit
[ "$verb" = show ] && {{ shift; first=yes; for unit; do
  [ $first ] || echo; first=; [ -e $unit ] || echo '' '' >$unit
  read file state <$unit; echo "UnitFileState=$file"; echo "ActiveState=$state"; done; exit; }}
for unit; do
  [ $unit = broken.service ] && {{ echo "Job for $unit failed" >&2; exit 1; }}
  read file state <$unit
  case $verb in enable) file=enabled;; disable) file=disabled;;
    stop) [ $unit = sulky.service ] && state=failed || state=inactive;;
    reset-failed) state=inactive;; *) state=active;; esac
  echo $file $state >$unit
  [ "$verb $unit" = "stop slot.service" ] && echo static active >delivery.service
done
exit 0
"""


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Units by name with their two states, and what was told."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/systemctl"
    program.write_text(SYSTEMCTL.format(folder=tmp_path), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name, states in {
        "on.timer": "enabled active",
        "off.timer": "disabled inactive",
        "idle.service": "static inactive",
        "busy.service": "static active",
        "broken.service": "disabled inactive",
        "failed.service": "static failed",
        "sulky.service": "static active",
    }.items():
        (tmp_path / name).write_text(f"{states}\n", encoding="utf-8")
    return tmp_path


def units(check=False, **lists):
    program = with_arguments(MODULE.read_text(encoding="utf-8"), {**lists, "check": check, "diff": False})
    done = subprocess.run([sys.executable, "-IS", "-"], input=program, capture_output=True, timeout=120, check=False)
    return answer_of(sys.executable, done.returncode, done.stdout.decode(), done.stderr.decode())


def told(systemd):
    """What was told but for questions."""
    lines = (systemd / "told").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("show ")]


ALL = [{"name": "on.timer"}, {"name": "off.timer"}, {"name": "idle.service"}]


def test_what_is_needed_is_told_once_and_then_nothing(systemd):
    assert units(daemon_reload=True, units=ALL, restart=["on.timer"]) == {
        "done": ["off.timer: enabled, started", "idle.service: started", "on.timer: restarted"]
    }
    assert told(systemd) == ["daemon-reload", "enable off.timer", "start off.timer idle.service", "restart on.timer"]
    assert units(units=ALL) == {"done": []}


def test_units_that_must_not_run(systemd):
    absent = ["on.timer", "off.timer", "busy.service", "nothing.service"]
    assert units(absent=absent) == {"done": ["on.timer: disabled, stopped", "busy.service: stopped"]}
    assert told(systemd) == ["disable on.timer", "stop on.timer busy.service"]
    assert units(units=[{"name": "on.timer", "active": False}]) == {"done": ["on.timer: enabled"]}
    assert units(units=[{"name": "busy.service", "enabled": False}]) == {"done": ["busy.service: started"]}


@pytest.mark.parametrize("state", ["active", "deactivating"])
def test_a_unit_that_another_one_starts_by_its_end_is_stopped_too(systemd, state):
    """As OnSuccess= of a slot that is being measured does with its delivery."""
    (systemd / "slot.service").write_text(f"static {state}\n", encoding="utf-8")
    absent = ["delivery.service", "slot.service"]
    assert units(absent=absent) == {"done": ["slot.service: stopped", "delivery.service: stopped"]}
    assert told(systemd) == ["stop slot.service", "stop delivery.service"]
    assert units(absent=absent) == {"done": []}


def test_units_that_go_are_not_remembered_as_failed(systemd):
    absent = ["failed.service", "sulky.service", "idle.service"]
    would = units(check=True, absent=absent)
    assert would == {"done": ["sulky.service: stopped", "failed.service: no longer failed"]}
    assert units(absent=absent) == {
        "done": ["sulky.service: stopped, no longer failed", "failed.service: no longer failed"]
    }
    assert told(systemd) == ["stop sulky.service", "reset-failed failed.service sulky.service"]
    assert units(absent=absent) == {"done": []}


def test_a_check_tells_what_would_be_done_and_tells_systemd_nothing(systemd):
    yet_to_come = {"name": "new.timer", "present": False}
    lists = {"units": [*ALL, yet_to_come], "restart": ["on.timer", "new.timer"], "daemon_reload": True}
    assert units(check=True, **lists) == {
        "done": ["off.timer: enabled, started", "idle.service: started", "on.timer: restarted"]
    }
    assert told(systemd) == []
    assert units(reload=["on.timer"]) == {"done": ["on.timer: reloaded"]}


def test_a_unit_that_does_not_start_is_named_with_systemd_s_words_and_with_what_was_done(systemd):
    answer = units(units=[{"name": "off.timer", "active": False}, {"name": "broken.service", "enabled": False}])
    assert answer == {
        "failed": True,
        "msg": "Unable to start broken.service: Job for broken.service failed",
        "done": ["off.timer: enabled"],
    }
