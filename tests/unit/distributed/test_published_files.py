"""Which files of a table are read: its own, all of them, of one version, or none."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from builders import FIRST, put, slot

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import Scope
from speedtest_logger.distributed import splitting
from speedtest_logger.distributed.keys import read
from speedtest_logger.distributed.published import Published
from speedtest_logger.distributed.store import Store, opened
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

COUNT = "SELECT count(*) AS n FROM records"


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "archive")
    made.prepare()
    put(made, slot("attic", FIRST), slot("porch", FIRST, "garden"))
    return made


@pytest.fixture
def place(layout, tmp_path):
    found = Place.of(str(tmp_path / "table"))
    delta.Publisher(layout, found, 2).publish()
    return found


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "bucket=0/month=2026-01/../../../x.parquet", "bucket=9/month=2026-01/a.parquet"]
)
def test_a_log_that_names_other_files_is_refused(place, tmp_path, path):
    version = Published.of(place).version + 1
    added = {"path": path, "partitionValues": {"bucket": "0", "month": "2026-01"}, "size": 9, "modificationTime": 0,
             "dataChange": True}  # fmt: skip
    log = tmp_path / f"table/_delta_log/{version:020d}.json"
    log.write_text(json.dumps({"add": added}) + "\n")
    with pytest.raises(StorageError, match="none of an archive's"):
        Store(place).answer(COUNT, Scope())


def test_a_file_that_is_gone_is_an_error_and_no_short_answer(place, tmp_path):
    next((tmp_path / "table").glob("bucket=*/month=*/*.parquet")).unlink()
    with pytest.raises(StorageError):
        Store(place).answer(COUNT, Scope())


def test_half_a_file_is_an_error_and_no_short_answer(place, tmp_path):
    file = next((tmp_path / "table").glob("bucket=*/month=*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StorageError):
        Store(place).answer("SELECT count(node) AS n FROM records", Scope())


def test_a_question_reads_the_version_of_its_beginning(layout, place):
    before = Published.of(place)
    put(layout, slot("attic", FIRST + 300))
    delta.Publisher(layout, place, 2).publish()
    after = Published.of(place)
    assert after.version > before.version
    assert {file.path for file in before.files} != {file.path for file in after.files}
    assert Store(place).answer(COUNT, Scope())["n"].to_pylist() == [3]


def test_buckets_are_believed_of_the_archives_own_commits_only(place, monkeypatch):
    monkeypatch.setattr("speedtest_logger.distributed.published.head_of", lambda _table: None)
    found = Published.of(place)
    assert found.buckets is None
    assert found.narrowed(Scope(location="garden")).files == found.files
    store = Store(place, force=True, only_split=True)
    whole = type("Engine", (), {"name": "parts", "run": lambda _self, _tasks: []})()
    with pytest.raises(UsageError, match="somebody else"):
        Store(place, whole, force=True, only_split=True).answer(
            "SELECT location, count(*) FROM records GROUP BY location", Scope()
        )
    assert store.answer(COUNT, Scope())["n"].to_pylist() == [2]


def test_parts_of_another_form_than_planned_are_refused():
    plan = splitting.planned(COUNT, "true", 0)
    with pytest.raises(pa.ArrowException, match="Schema"):
        plan.merged([plan.columns.rename_columns(["other"])])


@pytest.mark.parametrize("name", ["spark://x:1", "dask://", "dask://host", "dask://host:port"])
def test_an_engine_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match="is not an engine"):
        opened("/srv/table", name)


def test_a_host_that_is_no_member_is_told_so(tmp_path):
    with pytest.raises(UsageError, match="no key for the cluster"):
        read(tmp_path)
