"""A month that a disk spoiled: it is named, nothing is lost, and the rest of the fleet goes on."""

from __future__ import annotations

import io
import json
import random
import shutil

import pyarrow.parquet as pq
import pytest

from speedtest_logger import raw_output
from speedtest_logger.archive import cli, ingest, open_archive, parquet, receive, verify
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.record import Record, run_id_of_slot, utc_text

START = 1_767_225_600  # 2026-01-01
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"  # RFC 8878
LIMITS = receive.Limits(free_bytes=0)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("time.time", lambda: START + 20 * 86_400.0)


def records(node, location, first, count):
    """A node's records, one per hour."""
    times = [utc_text(START + 3600 * (first + n)) for n in range(count)]
    return [
        Record(
            run_id=run_id_of_slot(node, at),
            node=node,
            location=location,
            started_at=at,
            finished_at=at,
            status="ok",
            download_bps=1e8 + n,
            upload_bps=5e7,
        ).to_row()
        for n, at in enumerate(times)
    ]


def deliver(archive, node, location, first, count=5):
    payload = "".join(json.dumps(row) + "\n" for row in records(node, location, first, count))
    receive.receive(archive, node, io.BytesIO(payload.encode()), LIMITS)


@pytest.fixture
def archive(tmp_path):
    """Two locations; new records of both wait in the inbox."""
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    deliver(layout, "attic", "home", 0, 50)
    deliver(layout, "shed", "garden", 0, 50)
    ingest.ingest(layout)
    deliver(layout, "attic", "home", 50)
    deliver(layout, "shed", "garden", 50)
    return layout


def home(archive):
    return next(file for file in archive.month_files() if "location=home" in str(file))


def spoil(file, place=-1):
    """Flip a bit of a file; returns what it was."""
    good = file.read_bytes()
    bad = bytearray(good)
    bad[place] ^= 1
    file.write_bytes(bad)
    return good


def counts(archive, location):
    return (
        open_archive(archive.root).only(location=location).query("SELECT count(*) n FROM records").to_pylist()[0]["n"]
    )


def test_its_records_wait_while_the_others_are_taken_in(archive, capsys):
    good = spoil(home(archive))
    assert cli.main(["--root", str(archive.root), "ingest"]) == 5
    said = capsys.readouterr()
    assert f"what belongs there waits in the inbox: {home(archive)} cannot be read any more" in said.err
    assert "speedtest-archive verify" in said.err
    outcome = json.loads(said.out)
    assert (outcome["files"], outcome["waiting"], outcome["added"], outcome["months"]) == (1, 1, 5, 1)
    assert counts(archive, "garden") == 55
    assert [file.parent.name for file in archive.inbox.glob("*/*")] == ["attic"]
    home(archive).write_bytes(good)
    assert cli.main(["--root", str(archive.root), "ingest"]) == 0
    assert (counts(archive, "home"), counts(archive, "garden")) == (55, 55)
    assert not list(archive.inbox.glob("*/*"))
    assert verify.verify(archive) == []


def test_a_node_that_moved_loses_neither_half(archive):
    deliver(archive, "attic", "cellar", 60)
    good = spoil(home(archive))
    for _ in range(2):  # the second time its rows elsewhere are there already
        outcome = ingest.ingest(archive)
        assert outcome.waiting == 2
        assert counts(archive, "cellar") == 5
    home(archive).write_bytes(good)
    outcome = ingest.ingest(archive)
    assert (outcome.waiting, outcome.added, outcome.duplicates) == (0, 5, 5)
    assert verify.verify(archive) == []


@pytest.mark.parametrize("checksums", [True, False])  # without: months of earlier versions
def test_whatever_bit_is_flipped_nothing_is_lost_and_nobody_else_waits(archive, checksums, monkeypatch):
    monkeypatch.setitem(parquet.WRITING, "write_page_checksum", checksums)
    deliver(archive, "attic", "home", 60)
    ingest.ingest(archive)
    before = archive.root.with_name("before")
    shutil.copytree(archive.root, before)
    good = home(archive).read_bytes()
    chosen = random.Random(1)  # noqa: S311  # the same places each time
    waited = 0
    for number in range(40):
        shutil.rmtree(archive.root)
        shutil.copytree(before, archive.root)
        spoil(home(archive), chosen.randrange(len(good)))
        deliver(archive, "attic", "home", 70)
        deliver(archive, "shed", "garden", 70)
        outcome = ingest.ingest(archive)
        assert counts(archive, "garden") == 60, number
        if outcome.damaged:
            waited += 1
            home(archive).write_bytes(good)
            ingest.ingest(archive)
            assert verify.verify(archive) == []
            assert counts(archive, "home") == 65, number
        else:
            assert verify.verify(archive) != [], number
    assert waited


def test_a_flipped_bit_of_a_page_is_noticed_by_who_reads(archive):
    file = home(archive)
    column = pq.read_metadata(file).row_group(0).column(pq.read_schema(file).names.index("download_bps"))
    spoil(file, column.data_page_offset + column.total_compressed_size - 3)
    with pytest.raises(DamagedFileError):
        next(parquet.groups(parquet.ParquetFile(file)))


@pytest.mark.parametrize("of", [b"PAR1", ZSTD_FRAME])
def test_a_question_about_it_names_it_and_others_are_answered(archive, of, capsys):
    spoil(home(archive), home(archive).read_bytes().rindex(of))
    assert cli.main(["--root", str(archive.root), "query", "SELECT * FROM records"]) == 5
    assert f"{home(archive)} cannot be read any more" in capsys.readouterr().err
    assert counts(archive, "garden") == 50
    assert cli.main(["--root", str(archive.root), "query", "--location", "garden", "SELECT error('x')"]) == 2
    assert cli.main(["--root", str(archive.root), "query", "--location", "garden", "SELECT nothing"]) == 2


def test_the_fleets_state_names_it(archive, capsys):
    spoil(home(archive))
    cli.main(["--root", str(archive.root), "ingest"])
    capsys.readouterr()
    assert cli.main(["--root", str(archive.root), "fleet"]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems
    assert all(str(home(archive)) in words for words in problems)


def test_a_day_of_raw_output_that_cannot_be_read_keeps_its_own_waiting_only(archive):
    def words(node, day):
        line = {"run_id": f"{node}-{day}", "started_at": f"2026-01-{day:02d}T00:00:00.000Z"}
        line["content"] = json.loads(raw_output.to_line("", b"{}"))["content"]
        receive.store(archive.raw_inbox / node, f"{day:026d}.jsonl", receive.as_lines([line]))

    words("attic", 1)
    words("shed", 1)
    ingest.ingest(archive)
    good = spoil(archive.raw_file("attic", "2026-01-01"))
    words("attic", 1)
    words("shed", 2)
    outcome = ingest.ingest(archive)
    assert outcome.raw == 1
    assert len(outcome.damaged) == 1
    archive.raw_file("attic", "2026-01-01").write_bytes(good)
    assert ingest.ingest(archive).damaged == []
    assert not list(archive.raw_inbox.glob("*/*"))
