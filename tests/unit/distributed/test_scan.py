"""Parts of questions that share a database: each sees its own files, and nothing else of the machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from builders import FIRST, put, slot

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.distributed import scan
from speedtest_logger.distributed.engine import Task
from speedtest_logger.distributed.published import Published
from speedtest_logger.errors import UsageError
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

COUNT = "SELECT node, count(*) AS n FROM records GROUP BY node"
NODES = ("attic", "porch", "shed", "barn")


@pytest.fixture
def tasks(tmp_path):
    """A table for each node, and the same question to each of them."""
    found = []
    for number, node in enumerate(NODES, 1):
        layout, place = Layout(tmp_path / node), Place.of(str(tmp_path / f"{node}-table"))
        layout.prepare()
        put(layout, *(slot(node, FIRST + 300 * count) for count in range(number)))
        delta.Publisher(layout, place, 2).publish()
        found.append(Task(place.address, Published.of(place).files, "true", COUNT))
    return found


def test_parts_that_are_answered_at_the_same_time_see_their_own_files(tasks):
    def rows(task):
        return scan.answer(task, shared=True).to_pylist()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(rows, tasks * 8))
    assert found == [[{"node": node, "n": number}] for number, node in enumerate(NODES, 1)] * 8


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "sql", ["SELECT * FROM read_text('{file}')", "SELECT * FROM '{file}'", "SELECT * FROM read_csv('{file}')"]
)
def test_no_question_reads_a_file(tasks, tmp_path, shared, sql):
    (tmp_path / "secret.csv").write_text("key\nvery secret\n")
    task = Task(tasks[0].address, tasks[0].files, "true", sql.format(file=tmp_path / "secret.csv"))
    with pytest.raises(UsageError, match="disabled"):
        scan.answer(task, shared=shared)


@pytest.mark.parametrize("shared", [False, True])
def test_a_part_of_a_table_may_lie_elsewhere(tasks, tmp_path, shared):
    [folder] = {Path(tasks[3].address, file.path).parent for file in tasks[3].files}
    folder.symlink_to(folder.rename(tmp_path / "another-disk"))
    assert scan.answer(tasks[3], shared=shared).to_pylist() == [{"node": "barn", "n": 4}]


def test_what_is_kept_cannot_be_opened_again():
    with pytest.raises(duckdb.InvalidInputException, match="configuration has been locked"):
        scan.kept().cursor().execute("SET enable_external_access = true")


def test_what_does_not_fit_into_memory_lies_in_a_folder_that_goes_with_the_database():
    with scan.connected(1) as connection:
        (folder,) = connection.execute("SELECT current_setting('temp_directory')").fetchone()
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
