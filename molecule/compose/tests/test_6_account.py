"""The account of a node in a container, in a stranger's hands, plants links at every name that it can reach."""

from __future__ import annotations

import planting
import pytest
from fleet import playbook
from planting import Round

SHED = "shed"


@pytest.fixture(scope="module")
def planted_round() -> Round:
    """Plant from within the container, let root run everything, put it back."""
    done = playbook("site.yml")  # the machine may have lost its Docker to a test before
    assert done.returncode == 0, done.stdout[-3000:]
    plays = {"playbooks/status.yml": [], "site.yml": ["--limit", SHED]}
    return planting.a_round("deep", "link", {SHED: planting.logger_commands()}, plays)


def test_it_planted_where_it_can(planted_round):
    assert len(planted_round.planted[SHED]) >= 20


def test_nothing_outside_changed(planted_round):
    assert planted_round.changed == []


def test_no_command_hung(planted_round):
    assert [where for where, (code, _) in planted_round.said.items() if code in planting.KILLED] == []


def test_nothing_of_roots_was_told(planted_round):
    assert [where for where, (_, text) in planted_round.said.items() if planting.tells(text)] == []


def test_the_status_says_what_it_found(planted_round):
    code, text = planted_round.said["control", "playbooks/status.yml"]
    assert code != 0
    assert planting.names_a_path(text, planted_round.planted[SHED]), text[-3000:]


def test_all_is_well_when_they_are_gone():
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
