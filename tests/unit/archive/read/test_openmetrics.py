"""History for Prometheus: every value that was measured, once, with its time, in a form that promtool takes."""

from __future__ import annotations

import io

import promtool
import pytest
from builders import by_hand, fresh, put, run, slot, wait
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from speedtest_logger.archive.read import openmetrics
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.metrics import MEASURED

STEP, FIRST = 3600, 1_767_225_600  # 2026-01-01
NOTHING = {"download_bps": None, "upload_bps": None, "latency_ms": None}


@pytest.fixture
def layout(tmp_path_factory):
    """Two nodes, one of which moved, over the end of a month; a failed test, a loss of 0, two tests of one moment."""
    made = fresh(tmp_path_factory)
    at = [FIRST + 29 * 86_400 + n * STEP for n in range(100)]
    put(made, *(slot("attic", t, download_bps=9e7 + n, latency_ms=0.1 + n, late=0.001 * n) for n, t in enumerate(at)))
    put(made, *(slot("barn", t, "farm", packet_loss_pct=0.0, jitter_ms=1e-7) for t in at[:20]))
    put(made, slot("attic", at[-1] + STEP, "farm"), slot("barn", at[30], "farm", status="failed", **NOTHING))
    put(made, *(by_hand("barn", n, at[40], "farm", late=2.0, download_bps=n * 1e6) for n in (7, 8)))
    return made


def written(archive):
    out = io.BytesIO()
    return openmetrics.write(archive, out), out.getvalue().decode()


def wanted(archive):
    """The values of the records by name, labels and time, asked one by one."""
    found = {}
    for row in archive.to_arrow().to_pylist():
        for metric, column, by in MEASURED:
            if row[column] is not None:
                key = (metric.name, row["node"], row["location"], round(row["started_at"].timestamp(), 3))
                found[key] = min(found.get(key, 1e99), row[column] / by)
    return found


def test_each_measured_value_is_there_once_with_its_time(layout):
    count, text = written(Archive(layout))
    families = list(text_string_to_metric_families(text))  # which refuses what is out of order or interleaved
    found = {
        (s.name, s.labels["node"], s.labels["location"], round(float(s.timestamp), 3)): s.value
        for family in families
        for s in family.samples
    }
    assert found == wanted(Archive(layout))
    assert count == len(found) == sum(len(family.samples) for family in families)
    assert ("speedtest_packet_loss_ratio", "barn", "farm", FIRST + 29 * 86_400 + 1.0) in found  # 0 was measured
    assert {family.name for family in families} == {
        f"speedtest_{name}"
        for name in (
            "download_bytes_per_second", "upload_bytes_per_second", "latency_seconds", "jitter_seconds",
            "packet_loss_ratio",
        )
    }  # fmt: skip
    assert text.endswith("\n# EOF\n")
    assert text.count("# EOF") == 1


def test_promtool_makes_a_history_of_it_with_as_many_samples(layout, tmp_path):
    assert run(layout, "export", "--format", "openmetrics", str(tmp_path / "history.om")) == 0
    made = promtool.blocks(tmp_path / "history.om", tmp_path / "data")
    assert made == len(wanted(Archive(layout))) > 300


def test_it_is_narrowed_as_every_export(layout, tmp_path, capsys):
    words = ["export", "--format", "openmetrics", "--node", "attic", "--from", "2026-02-01", str(tmp_path / "rows")]
    assert run(layout, *words) == 0
    part = Archive(layout).only(node="attic", start=FIRST + 31 * 86_400)
    assert (tmp_path / "rows").read_text() == written(part)[1]
    count = len(wanted(part))
    assert f"{count} " in capsys.readouterr().err
    assert count == sum(not line.startswith("#") for line in (tmp_path / "rows").read_text().splitlines())
    wait(layout, slot("new", FIRST, "farm"))
    assert 'node="new"' in written(Archive(layout, fresh=True))[1]


def test_an_archive_without_rows_is_a_whole_file_too(tmp_path_factory):
    assert written(Archive(fresh(tmp_path_factory))) == (0, "# EOF\n")


def test_no_more_than_one_series_is_held_at_once(layout):
    """However many nodes there are, what is written at once is of one metric of one of them."""
    pieces = []

    class Stream(io.BytesIO):
        def write(self, piece):
            pieces.append({line.partition("} ")[0] for line in bytes(piece).decode().splitlines() if line[0] != "#"})
            return super().write(piece)

    openmetrics.write(Archive(layout), Stream())
    assert max(map(len, pieces)) == 1
    assert len(set().union(*pieces)) == sum(map(len, pieces)) > 5
