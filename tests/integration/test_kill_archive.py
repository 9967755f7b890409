"""kill -9 and a full disk at every change of the disk, on the archive host: whoever reads finds each record once."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from quick_restic import PASSWORD
from stages import ARCHIVE, INGEST, LOGGER, everything_arrived, prepared, walk

from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format.layout import Layout

pytestmark = pytest.mark.sampled


def all_is_as_the_manifest_says(stage):
    assert verify.verify(Layout(stage.archive)) == []


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_ingest(stages, disk_full):
    def prepare(stage):
        sent = stage.fill(2)
        stage.here(LOGGER, "push", "--force")
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        _, points = stage.run(ARCHIVE, "--root", str(stage.archive), *INGEST, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()  # right at this instant, with what the crash left
        assert len(readable) == len(set(readable))
        assert set(readable) | set(stage.inbox()) == sent, f"lost at {number}"
        everything_arrived(stage, sent, f"killed at {number}")
        assert sorted(stage.words()) == sorted(sent), f"words lost or doubled at {number}"
        all_is_as_the_manifest_says(stage)
        return points

    assert walk(stages, act) > 20


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_import(stages, disk_full):
    def act(stage, number):
        file = stage.folder / "old.csv"
        file.write_text(
            "sponsor,server name,distance,timestamp,ping,download,upload\n"
            + "".join(f"a,b,1,2024-0{month}-01T00:00:00Z,10,1e8,5e7\n" for month in (1, 2))
        )
        words = ("--root", str(stage.archive), "import", "--node", "attic", "--location", "home", str(file))
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()
        assert len(readable) == len(set(readable))
        stage.here(ARCHIVE, *words)
        assert len(stage.archived()) == len(set(stage.archived())) == 2
        all_is_as_the_manifest_says(stage)
        return points

    walk(stages, act)


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_prune(stages, disk_full):
    def prepare(stage):
        stage.fill(4)
        stage.here(LOGGER, "push", "--force")
        stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)

    stages, _ = prepared(stages, prepare)

    def act(stage, number):
        words = ("--root", str(stage.archive), "prune", "--older-than", "1d", "--yes")
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        readable = stage.archived()
        assert len(readable) == len(set(readable))
        stage.here(ARCHIVE, *words)
        assert set(stage.archived()) <= set(readable)
        assert 0 < len(stage.archived()) < 4
        all_is_as_the_manifest_says(stage)
        return points

    walk(stages, act)


def with_restic(stage, restic):
    stage.environment["PATH"] = f"{restic}:{stage.environment['PATH']}"
    stage.environment["RESTIC_REPOSITORY"] = str(stage.folder / "repository")
    stage.environment["RESTIC_PASSWORD"] = PASSWORD


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
@pytest.mark.parametrize("killed", ["backup", "restore"])
def test_backup_and_restore(stages, restic, killed, disk_full):
    verbs = ("backup", "restore")

    def prepare(stage):
        with_restic(stage, restic)
        sent = stage.fill(2)
        stage.here(LOGGER, "push", "--force")
        stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
        sent |= stage.fill(1)
        stage.here(LOGGER, "push", "--force")  # one waits in the inbox
        for verb in verbs[: verbs.index(killed)]:
            assert stage.here(ARCHIVE, "--root", str(stage.archive), verb)[0] == 0
            all_is_as_the_manifest_says(stage)
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        with_restic(stage, restic)
        points = 0
        for verb in verbs[verbs.index(killed) :]:
            if verb == "restore":
                shutil.rmtree(stage.archive)
                (stage.archive / "archive").mkdir(parents=True)
            words = ("--root", str(stage.archive), verb)
            if verb == killed:
                _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
            if verb != killed or (number and (verb == "backup" or not stage.archived() or stage.unfinished())):
                assert stage.here(ARCHIVE, *words)[0] == 0
            all_is_as_the_manifest_says(stage)
        everything_arrived(stage, sent, f"killed at {number}")
        return points

    assert walk(stages, act, every=14) > 6


@pytest.mark.parametrize("disk_full", ["", "1"], ids=["killed", "disk full"])
def test_a_month_from_a_backup(stages, restic, disk_full):
    def prepare(stage):
        with_restic(stage, restic)
        sent = stage.fill(1)
        for verb in ("ingest", "backup"):
            stage.here(LOGGER, "push", "--force")
            assert stage.here(ARCHIVE, "--root", str(stage.archive), verb)[0] == 0
        return sent

    stages, sent = prepared(stages, prepare)

    def act(stage, number):
        with_restic(stage, restic)
        (month,) = (stage.archive / "archive").glob("*/*/*/*.parquet")
        month.write_bytes(month.read_bytes()[:-1])
        name = str(month.relative_to(stage.archive / "archive"))
        words = ("--root", str(stage.archive), "restore", "--file", name)
        _, points = stage.run(ARCHIVE, *words, kill=number, DISK_FULL=disk_full)
        code, said = stage.here(ARCHIVE, *words)
        assert code == 0 or "is as the manifest says" in said, said
        all_is_as_the_manifest_says(stage)
        everything_arrived(stage, sent, f"killed at {number}")
        assert not (stage.archive / "work/restore-month").exists()
        return points

    assert walk(stages, act, every=14) > 6


def test_a_crash_leaves_no_temporary_file_for_ever(stages):
    def prepare(stage):
        stage.fill(1)
        stage.here(LOGGER, "push", "--force")

    stages, _ = prepared(stages, prepare)
    left = []

    def act(stage, number):
        _, points = stage.run(ARCHIVE, "--root", str(stage.archive), *INGEST, kill=number)
        for file in stage.archive.rglob(".*.tmp"):
            left.append(file)
            os.utime(file, (time.time() - 7200, time.time() - 7200))
        prepare(stage)
        stage.here(ARCHIVE, "--root", str(stage.archive), *INGEST)
        assert not [*stage.archive.rglob(".*.tmp")], f"killed at {number}"
        return points

    walk(stages, act)
    assert left
