"""What every probe of the catalogue keeps to; a new one has to pass by being there."""

from __future__ import annotations

import pytest
from builders import ROOT
from worlds import DEAD, GARBAGE, GOOD, LOSS, TARGETS, Ended, World, says

from speedtest_logger import probes
from speedtest_logger.errors import ProbeError
from speedtest_logger.probe_result import NAME_PATTERN, REASONS, ProbeResult, validate
from speedtest_logger.probes.catalogue import PROBES
from speedtest_logger.probes.contract import Answer, Job

HOSTILE = ("", "-x", "--help", "a b", "$(id)", "a;b", "a\nb", "ä" * 10, "x" * 5000, "a@-x", "http://a b/", "\x1b[2J")


@pytest.fixture(autouse=True)
def nobody_sleeps(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)


def asked(probe: str, world: World) -> Answer:
    """What a probe makes of a world: its answer, or its refusal as the node keeps it."""
    try:
        return probes.get(probe).run(Job(TARGETS[probe]), world)
    except ProbeError as error:
        return Answer(1, reason=error.reason, message=str(error))


def is_kept(probe: str, answer: Answer) -> bool:
    """Whether the archive would take an answer."""
    times = sorted(answer.times_ms)
    row = ProbeResult(
        started_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:01.000Z",
        probe=probe,
        target=TARGETS[probe],
        runs=1,
        sent=answer.sent,
        lost=answer.sent - len(times),
        ip_family=answer.ip_family,
        **dict.fromkeys(("min_ms", "median_ms", "p90_ms", "max_ms"), times[0] if times else None),
        reason=answer.reason,
        message=answer.message,
        path=answer.path,
    ).to_row()
    return validate(row).to_row() == row


def test_the_folder_holds_the_catalogue_and_each_probe_has_a_world():
    modules = {file.stem for file in (ROOT / "src/speedtest_logger/probes").glob("*.py")}
    assert modules - {"__init__", "catalogue", "contract"} == set(PROBES)
    assert set(TARGETS) == set(GOOD) == set(DEAD) == set(PROBES)
    assert all(NAME_PATTERN.fullmatch(name) for name in PROBES)


@pytest.mark.parametrize("probe", PROBES)
def test_a_target_that_answers(probe):
    found = asked(probe, GOOD[probe])
    assert found.sent == len(found.times_ms) >= 1
    assert all(0 <= time < 1000 for time in found.times_ms)
    assert (found.reason, found.message, found.failed) == (None, None, False)
    assert is_kept(probe, found)


@pytest.mark.parametrize("probe", LOSS)
def test_requests_that_are_lost_are_counted_and_the_others_measured(probe):
    found = asked(probe, LOSS[probe])
    assert 0 < len(found.times_ms) < found.sent
    assert (found.reason, found.failed) == ("no_answer", False)
    assert is_kept(probe, found)


@pytest.mark.parametrize("probe", PROBES)
def test_a_target_that_is_dead_has_a_reason(probe):
    assert len(DEAD[probe]) > 2
    for world in DEAD[probe]:
        found = asked(probe, world)
        assert found.failed
        assert found.reason in REASONS
        assert found.message
        assert is_kept(probe, found)


@pytest.mark.parametrize("probe", PROBES)
def test_garbage_is_no_answer(probe):
    for content in GARBAGE:
        world = World(ended=Ended(content, content, 1)) if PROBES[probe].program else World(says(content))
        found = asked(probe, world)
        assert found.failed, content[:40]
        assert found.reason in REASONS
        assert is_kept(probe, found)


@pytest.mark.parametrize("probe", [name for name, known in PROBES.items() if known.program])
def test_a_program_that_is_missing_is_said(probe):
    with pytest.raises(ProbeError) as caught:
        probes.get(probe).run(Job(TARGETS[probe]), World())
    assert caught.value.reason == "program_missing"


@pytest.mark.parametrize("probe", [name for name, known in PROBES.items() if known.targets])
def test_hostile_names_are_refused_and_the_defaults_are_not(probe):
    domain = PROBES[probe].targets
    assert [name for name in HOSTILE if domain.problem(name) is None] == []
    assert [name for name in (*PROBES[probe].default, TARGETS[probe]) if domain.problem(name)] == []
    assert bool(PROBES[probe].default) != bool(PROBES[probe].own_target)
