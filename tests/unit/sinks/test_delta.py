"""A table follows its archive, whatever became of that: the same rows, each once, and a chain without a gap."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
from builders import DAY, FIRST, fresh, put, slot
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive import cli
from speedtest_logger.archive.care import prune
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import ConfigError, DeliveryError, StorageError, UsageError
from speedtest_logger.sinks import delta, table
from speedtest_logger.sinks.place import Place


def publish(layout, place, **changes):
    return delta.Publisher(layout, place, 3).publish(**changes)


def rows_of(place):
    return [key for rows in table.partitions(place.existing()) for key in zip(
        rows["location"].to_pylist(), rows["node"].to_pylist(), rows["run_id"].to_pylist(), strict=True)]  # fmt: skip


def is_right(layout, place):
    there = place.existing()
    assert table.broken_links(there) == []
    assert table.compared(there, layout) == []
    rows = rows_of(place)
    assert len(rows) == len(set(rows)) == table.rows_in(there)
    return len(rows)


def test_what_came_is_there_once_and_nothing_new_is_no_commit(layout, place):
    put(layout, slot("attic", FIRST), slot("porch", FIRST, "garden"))
    assert vars(publish(layout, place)) == {"records": 2, "commits": 1, "line": 1}
    assert is_right(layout, place) == 2
    version = place.existing().version()
    assert vars(publish(layout, place)) == {"records": 0, "commits": 0, "line": 1}
    assert place.existing().version() == version
    put(layout, slot("attic", FIRST + 300), slot("attic", FIRST + 40 * DAY))
    assert publish(layout, place).records == 3  # the day's two, and the new month's
    assert is_right(layout, place) == 4


def test_a_day_that_is_touched_leaves_the_files_of_others_as_they_are(layout, place):
    put(layout, *(slot("attic", FIRST + day * DAY) for day in range(5)))
    publish(layout, place)
    before = set(place.existing().file_uris())
    put(layout, slot("attic", FIRST + 6 * DAY))
    publish(layout, place)
    assert before < set(place.existing().file_uris())


def test_months_that_go_are_followed(layout, place, monkeypatch):
    put(layout, slot("attic", FIRST), slot("attic", FIRST + 40 * DAY))
    publish(layout, place)
    monkeypatch.setattr("time.time", lambda: FIRST + 400.0 * DAY)
    prune.prune(layout, FIRST + 400 * DAY, 350 * DAY, None)
    publish(layout, place)
    assert is_right(layout, place) == 1


@given(st.randoms(use_true_random=False))
@settings(max_examples=tries(4), suppress_health_check=list(HealthCheck))
def test_whatever_comes_in_whatever_order_the_table_is_the_archive(tmp_path_factory, chance):
    layout = fresh(tmp_path_factory)
    place = Place.of(str(tmp_path_factory.mktemp("store") / "records"))
    now = [FIRST + 90.0 * DAY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now[0])
        patch.setattr(delta, "BATCH_BYTES", chance.choice([1, 30_000, 10**9]))
        for _ in range(6):
            for _ in range(chance.randrange(3)):
                at = FIRST + chance.randrange(80) * DAY
                node, location = chance.choice(["attic", "porch"]), chance.choice(["home", "garden", "o-so-far"])
                put(layout, *(slot(node, at + 300 * number, location) for number in range(chance.randrange(1, 5))))
            now[0] += chance.choice([60, DAY])
            publish(layout, place)
            is_right(layout, place)


def test_a_publish_that_was_cut_off_goes_on_where_it_was(layout, place, monkeypatch):
    monkeypatch.setattr(delta, "BATCH_BYTES", 1)  # a month a commit
    put(layout, *(slot("attic", FIRST + month * 31 * DAY) for month in range(6)))
    commit, written = delta.Publisher._commit, []

    def cut_off(self, there, head, names, **how):
        if len(written) == 3:
            raise DeliveryError("cut off")
        written.append(list(names))
        return commit(self, there, head, names, **how)

    monkeypatch.setattr(delta.Publisher, "_commit", cut_off)
    with pytest.raises(DeliveryError):
        publish(layout, place)
    assert table.head_of(place.existing()).cursor is None
    put(layout, slot("attic", FIRST + 300))  # a month that was done
    monkeypatch.setattr(delta.Publisher, "_commit", commit)
    assert publish(layout, place).commits == 4
    assert is_right(layout, place) == 7


def test_the_second_of_two_that_publish_is_told(layout, place, monkeypatch):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    put(layout, slot("attic", FIRST + DAY))
    changed, other = delta.Publisher._changed, Place(place.address)

    def meanwhile(self, *args):
        monkeypatch.setattr(delta.Publisher, "_changed", changed)
        publish(layout, other)
        return changed(self, *args)

    monkeypatch.setattr(delta.Publisher, "_changed", meanwhile)
    with pytest.raises(DeliveryError, match="somebody else wrote"):
        publish(layout, place)
    assert is_right(layout, place) == 2
    assert publish(layout, place).commits == 0


def test_a_table_of_another_archive_or_hand_is_refused_and_can_be_taken(layout, place, tmp_path):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    another = Layout(tmp_path / "another")
    another.prepare()
    put(another, slot("shed", FIRST), slot("shed", FIRST + DAY))
    with pytest.raises(UsageError, match="rows of another archive"):
        publish(another, place)
    assert is_right(layout, place) == 1
    publish(another, place, rebuild=True)
    assert is_right(another, place) == 2
    there = place.existing()
    write_deltalake(there, there.to_pyarrow_table().slice(0, 1), mode="append")
    with pytest.raises(UsageError, match="somebody else has written"):
        publish(another, place)
    assert table.compared(place.existing(), another)
    publish(another, place, rebuild=True)
    assert table.compared(place.existing(), another) == []
    assert any("is not the archive's" in problem for problem in table.broken_links(place.existing()))


def test_a_table_of_other_columns_is_left_alone(layout, place):
    write_deltalake(place.address, pa.table({"node": ["attic"], "speed": [7.0]}))
    put(layout, slot("attic", FIRST))
    for rebuild in (False, True):
        with pytest.raises(UsageError, match="other columns than records"):
            publish(layout, place, rebuild=rebuild)
    assert place.existing().to_pyarrow_table().to_pydict() == {"node": ["attic"], "speed": [7.0]}


def test_an_empty_archive_takes_the_place_of_all_rows(layout, place, tmp_path):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    empty = Layout(tmp_path / "empty")
    empty.prepare()
    publish(empty, place, rebuild=True)
    assert is_right(empty, place) == 0


def test_a_commit_that_was_changed_is_found(layout, place):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    put(layout, slot("attic", FIRST + DAY))
    publish(layout, place)
    log = sorted(Path(place.address, "_delta_log").glob("*.json"))[1]
    log.write_text(log.read_text().replace("2026-01-01", "2026-01-02"))
    assert any("was changed" in problem for problem in table.broken_links(place.existing()))


def test_small_files_are_put_together_and_the_rows_stay(layout, place):
    for day in range(6):
        put(layout, slot("attic", FIRST + day * DAY), slot("porch", FIRST + day * DAY, "garden"))
        publish(layout, place)
    before = len(place.existing().file_uris())
    assert delta.Publisher(layout, place).maintain()["put_together"] == before
    assert len(place.existing().file_uris()) < before
    assert is_right(layout, place) == 12
    put(layout, slot("attic", FIRST + 2 * DAY + 300))
    publish(layout, place)
    assert is_right(layout, place) == 13


def test_an_archive_comes_back(layout, place, tmp_path, capsys):
    put(layout, *(slot("attic", FIRST + day * DAY) for day in range(40)), slot("porch", FIRST, "garden"))
    address = place.address
    assert cli.main(["--root", str(layout.root), "publish", address]) == 0
    back = Layout(tmp_path / "back")
    back.prepare()
    capsys.readouterr()
    assert cli.main(["--root", str(back.root), "fetch", address]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 41
    assert table.compared(place.existing(), back) == []
    assert cli.main(["--root", str(back.root), "verify"]) == 0
    assert cli.main(["--root", str(back.root), "fetch", address]) == 2  # it is not empty any more
    assert cli.main(["--root", str(layout.root), "publish", "--check", address]) == 0
    shutil.rmtree(back.root)
    back.prepare()
    put(back, slot("shed", FIRST))
    assert cli.main(["--root", str(back.root), "publish", "--check", address]) == 1


def test_a_fetch_that_was_killed_goes_on(layout, place, tmp_path, monkeypatch):
    put(layout, *(slot("attic", FIRST + month * 31 * DAY) for month in range(4)))
    publish(layout, place)
    back = Layout(tmp_path / "back")
    back.prepare()
    partitions = table.partitions

    def cut_off(there):
        yield next(partitions(there))
        raise StorageError("cut off")

    monkeypatch.setattr(table, "partitions", cut_off)
    assert cli.main(["--root", str(back.root), "fetch", place.address]) == 5
    monkeypatch.setattr(table, "partitions", partitions)
    assert cli.main(["--root", str(back.root), "fetch", place.address]) == 0
    assert table.compared(place.existing(), back) == []


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("records", {}, "neither s3://"),
        ("https://example.org/records", {}, "neither s3://"),
        ("s3://B/records", {}, "not of the form"),
        ("s3://bucket/../records", {}, "not of the form"),
        ("s3://bucket/records", {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not set"),
    ],
)
def test_an_address_that_is_none_is_refused(text, environment, words):
    with pytest.raises(ConfigError, match=words):
        Place.of(text, environment)


def test_secrets_come_as_a_credential_and_are_never_shown(tmp_path):
    (tmp_path / "store").write_text("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY = very secret\n")
    found = Place.of("s3://bucket/records/", {"CREDENTIALS_DIRECTORY": str(tmp_path), "AWS_REGION": "north"})
    assert found.options["AWS_SECRET_ACCESS_KEY"] == "very secret"
    assert "very secret" not in repr(found)


def test_a_store_that_heeds_no_condition_is_refused(layout, place, monkeypatch):
    put(layout, slot("attic", FIRST))
    put_object = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, path, content, **_: put_object(store, path, content))
    with pytest.raises(StorageError, match="ignores If-None-Match"):
        publish(layout, place)
    assert place.table() is None


def test_packages_that_are_missing_are_named(layout, place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "speedtest_logger.sinks.delta", None)
    assert cli.main(["--root", str(layout.root), "publish", place.address]) == 2
    assert "is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value"),
    [("location", "x/../../../outside"), ("node", "../mallory"), ("status", "fine"), ("run_id", "1")],
)
def test_what_somebody_else_wrote_into_a_table_comes_into_no_archive(layout, place, tmp_path, capsys, column, value):
    put(layout, slot("attic", FIRST))
    publish(layout, place)
    there = place.existing()
    rows = there.to_pyarrow_table()
    named = rows.schema.get_field_index(column)
    write_deltalake(there, rows.set_column(named, column, pa.array([value])), mode="append")
    back = Layout(tmp_path / "back")
    back.prepare()
    assert cli.main(["--root", str(back.root), "fetch", place.address]) == 2
    assert "is no record" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*outside*"))
    assert not back.month_files()


@pytest.mark.parametrize("said", ["nonsense", "[]", '{"cursor": null, "reached": null, "after": "", "buckets": 0}'])
def test_a_commit_that_says_nonsense_is_refused(said):
    chain = hashlib.sha256(said.encode()).hexdigest()
    with pytest.raises(StorageError, match="of the table says"):
        table.Head.of({"version": 1, "speedtest.head": said, "speedtest.chain": chain})
