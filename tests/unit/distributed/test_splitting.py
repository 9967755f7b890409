"""What is answered in parts is answered as one DuckDB answers it; what is not known to be, is not split."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, put
from hypothesis import HealthCheck, given, settings
from splits import QUESTIONS, ROWS, SPLIT, same
from tries import some, tries

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import Scope, open_archive
from speedtest_logger.distributed import published, scan, splitting
from speedtest_logger.distributed.store import Store
from speedtest_logger.distributed.tree import NotSplitError
from speedtest_logger.errors import UsageError
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

WHOLE = {
    "SELECT median(download_bps) FROM records": "median",
    "SELECT node, quantile_cont(download_bps, 0.5) FROM records GROUP BY node": "quantile_cont",
    "SELECT count(DISTINCT node) FROM records": "DISTINCT",
    "SELECT DISTINCT location FROM records": "distinct",
    "SELECT a.node FROM records a JOIN records b USING (run_id)": "something else",
    "SELECT node FROM records WHERE download_bps > (SELECT avg(download_bps) FROM records)": "subquery",
    "WITH r AS (SELECT * FROM records) SELECT count(*) FROM r": "WITH",
    "SELECT node FROM records UNION ALL SELECT node FROM records": "one SELECT",
    "SELECT node, row_number() OVER (ORDER BY started_at) FROM records": "PARTITION BY location",
    "SELECT node, row_number() OVER (PARTITION BY node) FROM records": "PARTITION BY location",
    "SELECT node FROM records LIMIT 3": "LIMIT",
    "SELECT node FROM records ORDER BY node LIMIT 50%": "limit",
    "SELECT node FROM records OFFSET 3": "LIMIT",
    "SELECT node FROM records USING SAMPLE 3": "sample",
    "SELECT node FROM records TABLESAMPLE reservoir(10%)": "something else",
    "SELECT random() FROM records": "random",
    "SELECT count(*) FROM records WHERE random() < 0.5": "random",
    "SELECT list(node) FROM records": "list",
    "SELECT location, list(node) FROM records GROUP BY location": "list",
    "SELECT string_agg(node, ',') FROM records": "string_agg",
    "SELECT first(node) FROM records": "first",
    "SELECT sum(download_bps ORDER BY node) FROM records": "ORDER BY in",
    "SELECT location, count(*) FROM records GROUP BY ROLLUP (location)": "ROLLUP",
    "SELECT day AS node, count(*) FROM records GROUP BY day ORDER BY node": "alias",
    "SELECT max(download_bps, 3) FROM records": "several",
    "SELECT sum(DISTINCT download_bps) FROM records": "DISTINCT",
    "SELECT node COLLATE NOCASE FROM records": "collate",
    "SELECT [node] FROM records": "list_value",
    "SELECT COLUMNS('n.*') FROM records": "star",
    "SELECT sum(CAST(year AS DECIMAL(10, 2))) FROM records": "sum of type",
    "SELECT uuid() FROM records": "uuid",
    "SELECT 'x' AS k, count(*) FROM records GROUP BY k": "constant",
    "SELECT node FROM records ORDER BY ALL": "order",
    "SELECT 1": "something else",
    "DESCRIBE records": "something else",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    layout = Layout(folder / "archive")
    layout.prepare()
    assert put(layout, *ROWS).added == len(ROWS)
    delta.Publisher(layout, Place.of(f"{folder}/table"), 4).publish()
    return Place.of(f"{folder}/table"), open_archive(layout.root)


class InParts:
    """Runs each task here, as another process would."""

    name = "parts"

    def __init__(self):
        self.ran = 0

    def run(self, tasks):
        self.ran += len(tasks)
        return [scan.answer(task) for task in tasks]


@pytest.fixture
def small(monkeypatch):
    """Every file, or bucket, is a part of its own."""
    monkeypatch.setattr(published, "FRAGMENT_BYTES", 1)


@pytest.mark.usefixtures("small")
@pytest.mark.sampled
@pytest.mark.parametrize("sql", some(SPLIT, 2))
def test_parts_give_the_answer_of_the_archive(place, sql):
    table, archive = place
    engine = InParts()
    found = Store(table, engine, force=True, only_split=True).answer(sql, Scope())
    same(found, archive.query(sql))
    assert engine.ran > 1


@pytest.mark.sampled
@pytest.mark.parametrize("sql", some(SPLIT, 2))
def test_one_duckdb_over_the_table_gives_the_answer_of_the_archive(place, sql):
    table, archive = place
    same(Store(table).answer(sql, Scope()), archive.query(sql))


@pytest.mark.parametrize("sql", WHOLE)
def test_what_parts_cannot_answer_is_refused_with_the_reason_or_answered_whole(place, sql):
    table, archive = place
    engine = InParts()
    with pytest.raises(UsageError) as error:
        Store(table, engine, force=True, only_split=True).answer(sql, Scope())
    assert WHOLE[sql] in str(error.value)
    assert engine.ran == 0
    found = Store(table, engine, force=True).answer(sql, Scope())
    assert found.schema.types == archive.query(sql).schema.types
    assert engine.ran == 0


@pytest.mark.parametrize("scope", [
    Scope(node="home-0"), Scope(location="garden"), Scope(start=FIRST + DAY, end=FIRST + 2 * DAY),
    Scope(location="nowhere"), Scope(start=FIRST + 400 * DAY), Scope(end=float(FIRST)),
])  # fmt: skip
@pytest.mark.usefixtures("small")
def test_a_narrowed_question_reads_the_files_that_can_hold_its_rows(place, scope):
    table, archive = place
    narrowed = archive.only(**vars(scope))
    for sql in SPLIT[:6]:
        same(Store(table, InParts(), force=True, only_split=True).answer(sql, scope), narrowed.query(sql))
    whole = published.Published.of(table)
    assert 0 <= len(whole.narrowed(scope).files) <= len(whole.files)
    if scope.location or scope.start or scope.end:
        assert len(whole.narrowed(scope).files) < len(whole.files)


def test_records_that_are_told_apart_by_others_are_not_split(place):
    besides = "QUALIFY row_number() OVER (PARTITION BY node, run_id ORDER BY started_at) = 1"
    store = Store(place[0], InParts(), force=True, only_split=True)
    with pytest.raises(UsageError, match="told apart"):
        store.answer("SELECT count(*) FROM records", Scope(), besides)
    assert Store(place[0]).answer("SELECT count(*) AS n FROM records", Scope(), besides)["n"].to_pylist() == [len(ROWS)]


def test_now_is_one_moment_for_all_parts():
    plan = splitting.planned("SELECT max(now()) AS m, min(current_date) AS d FROM records", "true", 1_767_225_600.25)
    assert "2026-01-01T00:00:00.250000+00:00" in plan.fragment
    assert "now" not in plan.fragment
    assert "current_date" not in plan.fragment


def test_small_questions_stay_here_unless_it_is_forced(place):
    engine = InParts()
    Store(place[0], engine).answer(SPLIT[0], Scope())
    assert engine.ran == 0
    Store(place[0], engine, force=True).answer(SPLIT[0], Scope())
    assert engine.ran > 0


def test_touched_bytes_are_those_of_the_columns_that_are_named(place):
    found = published.Published.of(place[0])
    total = sum(file.size for file in found.files)
    assert found.touched("SELECT * FROM records") == total
    assert 0 < found.touched("SELECT node, count(*) FROM records GROUP BY node") < total / 5


def test_wrong_sql_and_more_than_a_question_are_refused_as_by_an_archive(place):
    for sql in ("SELECT nothing FROM records", "SELEC", "SELECT 1; SELECT 2", "COPY records TO '/tmp/x'",
                "SELECT * FROM read_csv('/etc/passwd')", "SELECT text FROM raw"):  # fmt: skip
        for store in (Store(place[0]), Store(place[0], InParts(), force=True)):
            with pytest.raises(UsageError):
                store.answer(sql, Scope())


@settings(max_examples=tries(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=QUESTIONS)
@pytest.mark.usefixtures("small")
def test_any_question_has_the_archives_answer(place, sql):
    table, archive = place
    wanted = archive.query(sql)
    try:
        found = Store(table, InParts(), force=True, only_split=True).answer(sql, Scope())
    except UsageError as error:
        assert "median()" in str(error)
        assert "location" not in sql.partition("GROUP BY")[2].partition("ORDER BY")[0]
        return
    same(found, wanted)


def test_what_cannot_be_split_is_said_before_a_row_is_read():
    splitting.planned(SPLIT[1], "true", 0)
    with pytest.raises(NotSplitError):
        splitting.planned("SELECT median(download_bps) FROM records", "true", 0)
