"""A commit of a published table: one condition, what other programs find in it, and what becomes of a lost answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import FIRST, put, slot
from deltalake import DeltaTable, TableFeatures
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from speedtest_logger.errors import DeliveryError, UsageError
from speedtest_logger.sinks import commit, delta, table
from speedtest_logger.sinks.objects import Objects

FILE = "bucket=1/month=2026-01/part-a.parquet"
OTHER = "bucket=1/month=2026-01/part-b.parquet"
PARTITION = {"bucket": "1", "month": "2026-01"}
STATISTICS = {"numRecords": 1, "minValues": {}, "maxValues": {}, "nullCount": {}}


@pytest.fixture
def there(layout, place):
    put(layout, slot("attic", FIRST))
    delta.Publisher(layout, place).publish()
    return place.existing()


def entry(place, number):
    return Path(place.address, f"_delta_log/{number:020d}.json")


def lines_of(file):
    found = {}
    for line in file.read_text().splitlines():
        found.update(json.loads(line))
    return found


def test_what_it_says_is_what_deltalake_would_have_said(there, place):
    number, metadata = there.version() + 1, {"speedtest.head": "7"}
    actions = [
        commit.transaction("archive", 7),
        commit.added(FILE, 9, PARTITION, STATISTICS),
        commit.removed(OTHER, 9, PARTITION),
    ]
    commit.write(Objects(place), there, actions, metadata)
    ours = lines_of(entry(place, number))
    entry(place, number).unlink()
    there.create_write_transaction(
        [AddAction(FILE, 9, PARTITION, 0, True, json.dumps(STATISTICS)), RemoveAction(OTHER, True, 0, 9, PARTITION)],
        "append",
        there.schema(),
        delta.PARTITIONS,
        commit_properties=CommitProperties(metadata, app_transactions=[Transaction("archive", 7)]),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=False),
    )
    theirs = lines_of(entry(place, number))
    assert ours["txn"].keys() <= {*theirs["txn"], "lastUpdated"}
    assert {name: ours["txn"][name] for name in ("appId", "version")} == {
        name: theirs["txn"][name] for name in ("appId", "version")
    }
    for kind in ("add", "remove"):
        known = {name: value for name, value in theirs[kind].items() if value is not None}
        assert ours[kind].keys() <= known.keys() | {"extendedFileMetadata"}
        for name in ("path", "partitionValues", "size", "dataChange"):
            assert ours[kind][name] == known[name]
    assert json.loads(ours["add"]["stats"]) == json.loads(theirs["add"]["stats"])
    assert theirs["commitInfo"]["speedtest.head"] == ours["commitInfo"]["speedtest.head"] == "7"


def test_the_second_of_two_with_one_number_is_told_and_nothing_changes(there, place):
    commit.write(Objects(place), there, [], {"who": "first"})
    before = entry(place, there.version() + 1).read_bytes()
    with pytest.raises(DeliveryError, match="somebody else wrote to the table meanwhile"):
        commit.write(Objects(place), there, [], {"who": "second"})
    assert entry(place, there.version() + 1).read_bytes() == before


def test_a_commit_that_the_store_took_without_an_answer_is_ours(there, place, monkeypatch):
    objects = Objects(place)
    put_new = objects.put_new
    monkeypatch.setattr(objects, "put_new", lambda *told: put_new(*told) and put_new(*told))  # as after a time-out
    commit.write(objects, there, [], {"who": "we"})
    assert place.existing().history(1)[0]["who"] == "we"


def test_a_table_that_asks_more_of_a_writer_is_left_alone(layout, place, there):
    there.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    there.alter.add_feature(TableFeatures.AppendOnly, allow_protocol_versions_increase=True)
    put(layout, slot("attic", FIRST + 300))
    version = place.existing().version()
    for rebuild in (False, True):
        with pytest.raises(UsageError, match=r"version 7 of Delta's protocol for writers.*nothing was changed"):
            delta.Publisher(layout, place).publish(rebuild=rebuild)
    assert place.existing().version() == version


def test_a_table_that_is_added_to_only_loses_nothing(layout, place, there):
    there.alter.set_table_properties({"delta.appendOnly": "true"})
    version = place.existing().version()
    with pytest.raises(UsageError, match="added to only"):
        delta.Publisher(layout, place).publish(rebuild=True)
    assert place.existing().version() == version


def test_every_hundredth_commit_has_a_checkpoint_of_which_the_table_is_read(layout, place, there, monkeypatch):
    monkeypatch.setattr(commit, "EACH_CHECKPOINT", 3)
    for number in range(1, 5):
        put(layout, slot("attic", FIRST + 300 * number))
        delta.Publisher(layout, place).publish()
    log = Path(place.address, "_delta_log")
    assert (log / f"{3:020d}.checkpoint.parquet").is_file()
    for number in range(3):
        entry(place, number).unlink()
    assert DeltaTable(place.address).version() >= 4
    assert table.compared(place.existing(), layout) == []
