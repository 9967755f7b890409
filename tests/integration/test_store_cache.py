"""Files of a published table that are kept where they are asked for, on a real object store."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from builders import DAY, FIRST, put, slot
from stores import BUCKET, KEYS, server

from speedtest_logger.archive.read.dataset import Scope
from speedtest_logger.distributed import cache, scan
from speedtest_logger.distributed.engine import Task
from speedtest_logger.distributed.published import Published
from speedtest_logger.distributed.store import Store
from speedtest_logger.errors import ConfigError, StorageError
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.place import Place

COUNT = "SELECT node, count(*) AS n FROM records GROUP BY node ORDER BY node"
COUNTED = [{"node": "attic", "n": 62}, {"node": "porch", "n": 2}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache, as the environment names it."""
    found = tmp_path / "cache"
    found.mkdir(mode=0o700)
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(found))
    return found


@pytest.fixture
def published(layout, address, place, monkeypatch):
    """A table of three files in the store that the environment leads to."""
    for name, value in (*KEYS.items(), ("AWS_ENDPOINT_URL", address), ("AWS_ALLOW_HTTP", "true")):
        monkeypatch.setenv(name, value)
    put(layout, *(slot("attic", FIRST + day * DAY) for day in range(62)))
    put(layout, *(slot("porch", FIRST + day * DAY, "garden") for day in range(2)))
    delta.Publisher(layout, place(), 2).publish()
    found = Published.of(Place.of(place().address))
    assert len(found.files) == 3
    return found


@pytest.fixture
def fetched(monkeypatch):
    """The objects that were fetched whole."""
    names = []
    parts = Objects.parts

    def noted(self, name):
        names.append(name)
        return parts(self, name)

    monkeypatch.setattr(Objects, "parts", noted)
    return names


def asked(published, **more):
    return scan.answer(Task(published.place.address, published.files, "true", COUNT, **more)).to_pylist()


def kept(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file_is_fetched_once(published, folder, fetched):
    assert [asked(published), asked(published)] == [COUNTED] * 2
    assert sorted(fetched) == sorted(file.path for file in published.files)
    assert Store(published.place).answer(COUNT, Scope(node="porch")).to_pylist() == COUNTED[1:]
    assert len(fetched) == 3


def test_what_is_here_is_answered_while_the_store_is_away(layout, tmp_path, folder, monkeypatch):
    with server(tmp_path) as running:
        for name, value in (*KEYS.items(), ("AWS_ENDPOINT_URL", running.address), ("AWS_ALLOW_HTTP", "true")):
            monkeypatch.setenv(name, value)
        put(layout, slot("attic", FIRST))
        place = Place.of(f"s3://{BUCKET}/records")
        delta.Publisher(layout, place, 2).publish()
        published = Published.of(place)
        asked(published)
        running.stop(kill=True)
        assert asked(published) == [{"node": "attic", "n": 1}]


def test_a_question_of_more_than_there_is_room_for_reads_the_store(published, folder, fetched, monkeypatch):
    monkeypatch.setenv(cache.MEGABYTES_VARIABLE, "1")
    assert asked(published, of_bytes=1_000_001) == COUNTED
    assert (fetched, kept(folder)) == ([], [])


def test_what_was_used_least_lately_goes_first(published, folder):
    """Of three files there is room for one and a half."""
    room = cache.Cache(folder, published.size() // 2)
    here = [room.brought(published.place, [file])[0] for file in published.files[:1]]
    os.utime(here[0], (1, 1))
    here += room.brought(published.place, published.files[1:2])
    os.utime(here[1], (2, 2))
    here += room.brought(published.place, published.files[2:])
    assert Path(here[2]) in kept(folder)
    assert Path(here[0]) not in kept(folder)
    assert sum(path.stat().st_size for path in kept(folder)) <= room.most_bytes
    assert all(
        map(os.path.exists, room.brought(published.place, published.files))
    )  # what is needed stays, whatever it is


def test_nothing_goes_that_somebody_else_put_there(published, folder):
    own = folder / "thesis.odt"
    own.write_bytes(b"years of work")
    os.utime(own, (1, 1))
    cache.Cache(folder, 1).brought(published.place, published.files)
    assert own.read_bytes() == b"years of work"


def test_what_others_removed_meanwhile_is_read_from_the_store(published, folder, monkeypatch):
    """Two who ask for more than there is room for make room for each other."""
    brought = cache.Cache.brought

    def at_once_gone(self, place, files):
        here = brought(self, place, files)
        Path(here[0]).unlink()
        return here

    monkeypatch.setattr(cache.Cache, "brought", at_once_gone)
    assert [asked(published), asked(published)] == [COUNTED] * 2


def test_what_was_cut_off_is_brought_again(published, folder, fetched):
    asked(published)
    first, *_ = kept(folder)
    first.write_bytes(first.read_bytes()[:-1])
    left, young = (first.with_name(f"{cache.UNFINISHED}{name}") for name in ("old", "young"))
    for each in (left, young):
        each.write_bytes(b"PAR1")
    os.utime(left, (time.time() - 2 * cache.UNFINISHED_SECONDS,) * 2)
    assert asked(published) == COUNTED
    assert len(fetched) == 4
    assert (left.exists(), young.exists()) == (False, True)


def test_an_object_of_another_size_is_refused(published, folder, monkeypatch):
    monkeypatch.setattr(Objects, "parts", lambda *_: iter([b"PAR1"]))
    with pytest.raises(StorageError, match="has 4 bytes, its table says"):
        asked(published)
    assert kept(folder) == []


def test_an_object_that_does_not_end_fills_no_disk(published, folder, monkeypatch):
    monkeypatch.setattr(Objects, "parts", lambda *_: itertools.repeat(bytes(1_000_000)))
    with pytest.raises(StorageError, match=r"has more than [0-9]+ bytes, its table says"):
        asked(published)
    assert kept(folder) == []


def test_a_full_disk_costs_no_answer(published, folder, monkeypatch, caplog):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert asked(published) == COUNTED
    assert (kept(folder), "the store is read instead" in caplog.text) == ([], True)


@pytest.mark.parametrize(
    ("mode", "words"), [(0o770, "mode 0770"), (0o702, "mode 0702"), (None, "No such file or directory: make it")]
)
def test_a_folder_in_which_others_could_put_files_is_refused(published, folder, mode, words):
    if mode is None:
        folder.rmdir()
    else:
        folder.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        asked(published)


def test_no_room_is_no_cache(published, folder, fetched, monkeypatch):
    monkeypatch.setenv(cache.MEGABYTES_VARIABLE, "0")
    assert asked(published) == COUNTED
    monkeypatch.setenv(cache.MEGABYTES_VARIABLE, "2 GB")
    with pytest.raises(ConfigError, match="'2 GB': a number of megabytes is expected"):
        asked(published)
    assert (fetched, kept(folder)) == ([], [])
