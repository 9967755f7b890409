"""An archive that the version before has made works as it is."""

from __future__ import annotations

import pytest
from builders import FIXTURES, run, unpack

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import changes

LAST_LINE = "c0e7f5c1d181da9943645b297d666c3a53042d62848988e1b03237dc87c1983d"
COUNTS = "SELECT node, count(*) AS n, count(download_bps) AS ok FROM records GROUP BY node ORDER BY node"


@pytest.fixture
def before(tmp_path):
    unpack(FIXTURES / "before/archive.tgz", tmp_path)
    return Layout(tmp_path / "archive")


def test_its_manifest_proves_it(before, capsys):
    assert run(before, "verify") == 0
    assert f"its line 42 has SHA-256 {LAST_LINE}" in capsys.readouterr().err


def test_it_answers_as_it_did(before, capsys):
    assert run(before, "query", COUNTS, "--format", "csv") == 0
    assert capsys.readouterr().out.splitlines() == ["node,n,ok", "attic,912,874", "porch,912,874"]


def test_it_goes_on(before, capsys):
    """What lay in its inbox is taken in, what was pruned stays pruned, what lies in quarantine is told."""
    assert run(before, "ingest") == 0
    assert run(before, "verify") == 0
    capsys.readouterr()
    assert run(before, "query", COUNTS, "--format", "csv") == 0
    assert "attic,913,875" in capsys.readouterr().out
    assert run(before, "prune", "--older-than", "365000d", "--yes") == 0
    assert run(before, "fleet") in (0, 1)
    assert "in quarantine that the archive has with other content" in capsys.readouterr().out


def test_its_changes_can_be_followed(before):
    found = list(changes.since(before))
    assert len(found) == 42
    assert [change.gone for change in found if change.gone] == [
        tuple(f"location={place}/year=2025/month=10/speedtest.parquet" for place in ("garden", "home"))
    ]
    assert {day for change in found for days in change.months.values() for day in days or ()} >= {"2025-12-08"}
