"""A month that a disk or a hand spoiled: it is named, nothing is lost, the fleet goes on, and there is a way back."""

from __future__ import annotations

import io
import json
import os
import random
import shutil

import pyarrow.parquet as pq
import pytest
from quick_restic import PASSWORD
from tries import tries

from speedtest_logger import wire
from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.care import backup, repair, restore, verify
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import DamagedFileError, UsageError
from speedtest_logger.record import Record, run_id_of_slot, utc_text

START = 1_767_225_600  # 2026-01-01
MONTH = "location=home/year=2026/month=01/speedtest.parquet"
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"  # RFC 8878
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)


def run(archive, *words):
    """speedtest-archive; returns its exit code."""
    return cli.main(["--root", str(archive.root), *words])


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
    assert run(archive, "ingest") == 5
    said = capsys.readouterr()
    assert f"what belongs there waits in the inbox: {home(archive)} cannot be read any more" in said.err
    assert "speedtest-archive verify" in said.err
    outcome = json.loads(said.out)
    assert (outcome["files"], outcome["waiting"], outcome["added"], outcome["months"]) == (1, 1, 5, 1)
    assert counts(archive, "garden") == 55
    assert [file.parent.name for file in archive.inbox.glob("*/*")] == ["attic"]
    home(archive).write_bytes(good)
    assert run(archive, "ingest") == 0
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


@pytest.mark.sampled
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
    for number in range(tries(20)):
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
    assert run(archive, "query", "SELECT * FROM records") == 5
    assert f"{home(archive)} cannot be read any more" in capsys.readouterr().err
    assert counts(archive, "garden") == 50
    assert run(archive, "query", "--location", "garden", "SELECT error('x')") == 2
    assert run(archive, "query", "--location", "garden", "SELECT nothing") == 2


def test_the_fleets_state_names_it(archive, capsys):
    spoil(home(archive))
    run(archive, "ingest")
    capsys.readouterr()
    assert run(archive, "fleet") == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems
    assert all(str(home(archive)) in words for words in problems)


def test_what_verify_found_is_in_the_fleets_state_until_it_finds_nothing(archive, capsys):
    def problems():
        capsys.readouterr()
        assert run(archive, "fleet") == 0
        return json.loads(capsys.readouterr().out)["problems"]

    good = home(archive).read_bytes()
    halve(home(archive))
    assert problems() == []  # nobody has looked yet
    assert run(archive, "verify") == 1
    assert problems() == [f"{MONTH} 2026-01-{day:02d} changed: the rows' values differ" for day in (1, 2, 3)]
    home(archive).write_bytes(good)
    assert run(archive, "verify") == 0
    assert problems() == []


def test_a_day_of_raw_output_that_cannot_be_read_keeps_its_own_waiting_only(archive):
    def words(node, day):
        line = {"run_id": f"{node}-{day}", "started_at": f"2026-01-{day:02d}T00:00:00.000Z"}
        line["content"] = json.loads(wire.to_line("", b"{}"))["content"]
        (archive.raw_inbox / node).mkdir(exist_ok=True)
        (archive.raw_inbox / node / f"{day:026d}.jsonl").write_bytes(receive.as_line(line))

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


@pytest.fixture
def repository(tmp_path, monkeypatch, restic):
    monkeypatch.setenv("PATH", f"{restic}:{os.environ['PATH']}")
    monkeypatch.setenv("RESTIC_REPOSITORY", str(tmp_path / "repository"))
    monkeypatch.setenv("RESTIC_PASSWORD", PASSWORD)


def halve(file):
    """Somebody changes all values by hand."""
    source = pq.ParquetFile(file).read()
    place = source.schema.get_field_index("download_bps")
    halves = [value / 2 for value in source["download_bps"].to_pylist()]
    pq.write_table(source.set_column(place, "download_bps", [halves]), file)


@pytest.mark.usefixtures("repository")
def test_a_month_that_has_not_changed_since_the_backup_is_as_it_was(archive, capsys):
    backup.backup(archive, backup.Keep())
    good = spoil(home(archive))
    assert run(archive, "ingest") == 5
    capsys.readouterr()
    assert run(archive, "restore", "--file", MONTH) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["rows"], done["taken_over"], done["days"]) == (50, 0, {})
    assert home(archive).read_bytes() == good
    assert verify.verify(archive) == []
    assert run(archive, "ingest") == 0
    assert counts(archive, "home") == 55


@pytest.mark.usefixtures("repository")
def test_what_came_after_the_backup_is_named_and_comes_back_from_the_nodes_history(archive, tmp_path, capsys):
    backup.backup(archive, backup.Keep())
    run(archive, "ingest")
    everything = open_archive(archive.root).only(location="home").query("SELECT * EXCLUDE (year, month) FROM records")
    spoil(home(archive))
    deliver(archive, "attic", "home", 80)
    capsys.readouterr()
    assert run(archive, "restore", "--file", MONTH) == 0
    assert json.loads(capsys.readouterr().out)["days"] == {"2026-01-03": "changed: 2 rows instead of 7"}
    assert run(archive, "ingest") == 0
    assert counts(archive, "home") == 55
    pq.write_table(everything, tmp_path / "history.parquet")
    assert run(archive, "import", str(tmp_path / "history.parquet")) == 0
    assert counts(archive, "home") == 60
    (finding,) = verify.verify(archive)  # it was missing once: a person has to say so
    assert (finding.day, finding.problem[:8]) == ("2026-01-03", "changed:")
    assert run(archive, "accept", "--why", "the disk failed; the node still had these", MONTH) == 0
    assert verify.verify(archive) == []


@pytest.mark.usefixtures("repository")
def test_values_that_were_changed_go_and_rows_that_only_the_file_has_stay(archive, capsys):
    backup.backup(archive, backup.Keep())
    run(archive, "ingest")
    halve(home(archive))
    capsys.readouterr()
    assert run(archive, "restore", "--file", MONTH) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["rows"], done["taken_over"]) == (55, 5)
    assert list(done["days"]) == ["2026-01-03"]
    sql = "SELECT download_bps FROM records WHERE location = 'home' AND download_bps < 9e7"
    rows = open_archive(archive.root).query(sql)
    assert sorted(rows["download_bps"].to_pylist()) == [5e7 + n / 2 for n in range(5)]
    (spoiled,) = (archive.quarantine / "spoiled_months").iterdir()
    assert pq.read_metadata(spoiled).num_rows == 55


@pytest.mark.usefixtures("repository")
def test_a_month_that_is_gone_comes_back(archive):
    backup.backup(archive, backup.Keep())
    home(archive).unlink()
    assert restore.restore_month(archive, MONTH)["rows"] == 50
    assert verify.verify(archive) == []


@pytest.mark.usefixtures("repository")
def test_of_two_spoiled_months_each_comes_back_by_itself(archive):
    backup.backup(archive, backup.Keep())
    for file in archive.month_files():
        spoil(file)
    assert restore.restore_month(archive, MONTH)["rows"] == 50
    assert [finding.file for finding in verify.verify(archive)] == [MONTH.replace("home", "garden")]


@pytest.mark.usefixtures("repository")
def test_nothing_is_restored_where_nothing_is_wrong_or_nothing_is_there(archive):
    backup.backup(archive, backup.Keep())
    for name in (MONTH, "location=home/year=2025/month=01/speedtest.parquet", "../../etc/passwd"):
        before = manifest.head(archive)
        with pytest.raises(UsageError):
            restore.restore_month(archive, name)
        assert manifest.head(archive) == before
        assert not (archive.root / "restore-month").exists()


@pytest.mark.parametrize("condensed", [False, True])
@pytest.mark.parametrize("harm", [halve, lambda file: file.unlink()], ids=["changed", "gone"])
def test_what_cannot_be_mended_is_accepted_for_good_and_the_chain_says_why(
    archive, monkeypatch, capsys, harm, condensed
):
    run(archive, "ingest")
    harm(home(archive))
    assert run(archive, "verify") == 1
    assert run(archive, "accept", "--why", "a hand\x1b[31m", MONTH) == 0
    deliver(archive, "attic", "home", 80)
    run(archive, "ingest")
    if condensed:
        monkeypatch.setattr("time.time", lambda: START + 21.5 * 86_400)
        deliver(archive, "attic", "home", 90)
        run(archive, "ingest")
    capsys.readouterr()
    assert run(archive, "verify") == 0
    assert ("accepted as it was found" in capsys.readouterr().err) == (harm is halve)
    assert run(archive, "verify", "--explain", MONTH) == 0
    said = capsys.readouterr().out
    assert "accept" in said
    assert "a hand" in said
    assert "\x1b" not in said
    halve(home(archive))  # and what comes after is found as ever
    assert run(archive, "verify") == 1


def test_what_is_as_it_should_be_and_what_cannot_be_read_is_not_accepted(archive):
    with pytest.raises(UsageError, match="nothing to accept"):
        repair.accept(archive, MONTH, "why not")
    spoil(home(archive))
    with pytest.raises(DamagedFileError):
        repair.accept(archive, MONTH, "it is broken")
    assert run(archive, "accept", "--why", "x", "nonsense") == 2
