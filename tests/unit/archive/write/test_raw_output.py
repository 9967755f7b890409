"""Raw output on its way: from a node's disk into the archive's second dataset, proven by its records."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64encode
from dataclasses import replace
from zlib import compress

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speedtest_logger import wire
from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.care import verify
from speedtest_logger.archive.write import ingest, raw
from speedtest_logger.errors import ConfigError, RecordError
from speedtest_logger.log import Log
from speedtest_logger.node import measure, push
from speedtest_logger.node.spool import Spool

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)
MOMENT = 1_700_000_000
WORDS = b'{"server": {"name": "Example Town"}, "download": 96.5}'


@pytest.fixture
def node(settings, archive, monkeypatch):
    """A node that delivers raw output, straight into the archive."""
    here = settings(archive_host="archive.example.org", archive_raw="true")
    Spool(here.state_dir).prepare()

    def send(own, lines):
        return receive.receive(archive, own.node, io.BytesIO(lines), LIMITS)

    monkeypatch.setattr(push, "send", send)
    return here


def measured(node, moment=MOMENT, words=WORDS):
    """A record with raw output beside it, as a measurement leaves them."""
    spool = Spool(node.state_dir)
    record = replace(
        measure.begin(node, None, moment),
        status="ok",
        reason=None,
        message=None,
        engine="librespeed",
        download_bps=9.65e7,
        upload_bps=5e7,
        raw_sha256=hashlib.sha256(words).hexdigest(),
    )
    spool.write_raw(record.run_id, "librespeed", words)
    spool.write(record)
    return record


def deliver(node):
    return push.push(node, Log(node.log_file))


def asked(archive, sql="SELECT * FROM raw ORDER BY started_at", **scope):
    return open_archive(archive.root).only(**scope).query(sql).to_pylist()


def test_words_arrive_beside_their_records_and_are_asked_for_in_sql(node, archive, capsys):
    records = [measured(node, MOMENT + day * 86_400) for day in range(3)]
    assert deliver(node).accepted == 3
    outcome = ingest.ingest(archive)
    assert (outcome.added, outcome.raw) == (3, 3)
    assert not list(archive.raw_inbox.glob("*/*"))
    found = asked(archive)
    assert [row["run_id"] for row in found] == [record.run_id for record in records]
    assert found[0]["content"] == WORDS
    sql = "SELECT r.download_bps, w.text ->> '$.server.name' AS server FROM records r JOIN raw w USING (run_id)"
    assert asked(archive, sql) == [{"download_bps": 9.65e7, "server": "Example Town"}] * 3
    assert len(asked(archive, start=MOMENT + 86_400)) == 2
    assert asked(archive, node="porch") == []
    assert len(asked(archive, start=MOMENT + 86_401)) == 1  # its files are of whole days
    assert asked(archive, location="elsewhere") == []  # and of no location
    assert [each.num_rows for each in open_archive(archive.root).answers(["FROM records", "FROM raw"])] == [3, 3]
    assert set(pd.read_parquet(archive.raw)["content"]) == {WORDS}
    assert cli.main(["--root", str(archive.root), "verify"]) == 0
    assert "all is as the manifest says" in capsys.readouterr().err


def test_only_on_request_and_only_what_is_still_there(node, archive):
    gone = measured(node)
    (node.state_dir / "raw" / f"{gone.run_id}_librespeed.json").unlink()
    assert deliver(node).accepted == 1
    measured(node, MOMENT + 60)
    assert deliver(replace(node, archive_raw=False)).accepted == 1
    assert ingest.ingest(archive).raw == 0
    assert len(asked(archive, "SELECT * FROM records")) == 2
    assert asked(archive) == []


def test_twice_delivered_is_there_once(node, archive):
    record = measured(node)
    deliver(node)
    ingest.ingest(archive)
    Spool(node.state_dir).clear_state("last_record")
    Spool(node.state_dir).write(record)
    deliver(node)
    assert ingest.ingest(archive).raw == 0
    assert len(asked(archive)) == 1


def test_words_too_long_for_a_line_stay_on_the_node_and_the_record_goes(node, archive):
    noise = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(1000))
    measured(node, words=noise)
    assert deliver(node).accepted == 1
    assert ingest.ingest(archive).raw == 0
    assert "raw_output_too_long" in node.log_file.read_text()


def test_a_batch_stops_where_the_archive_would_refuse_it(node, archive, monkeypatch):
    monkeypatch.setattr(push, "BATCH_BYTES", 1000)
    for number in range(5):
        measured(node, MOMENT + number)
    assert deliver(node).accepted == 5
    assert len(list(archive.raw_inbox.glob("*/*"))) == 5


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "without content"),
        ("no base64!", "cannot be unpacked"),
        (b64encode(b"no zlib").decode(), "cannot be unpacked"),
        (b64encode(compress(b"x")[:-3]).decode(), "torn"),
        (b64encode(compress(bytes(wire.MOST_BYTES + 1))).decode(), "longer than"),
        (b64encode(compress(b"other words")).decode(), "SHA-256"),
    ],
)
def test_words_that_are_not_the_runs_own_go_to_quarantine_and_the_record_stands(node, archive, content, why):
    record = measured(node)
    lines = [json.dumps(record.to_row()), json.dumps({"raw_of": record.run_id, "content": content})]
    receipt = receive.receive(archive, node.node, io.BytesIO("\n".join(lines).encode()), LIMITS)
    assert receipt["accepted"] == [record.run_id]
    assert receipt["rejected"] == {}
    kept = json.loads(next(archive.quarantine.glob("*/*")).read_text())
    assert kept["reason"] == "bad_raw"
    assert why in kept["message"]
    assert ingest.ingest(archive).raw == 0


def test_words_of_a_run_that_is_not_in_the_delivery_are_refused(archive):
    line = wire.to_line("4d3f9a3e-0000-4000-8000-000000000000", WORDS)
    assert receive.receive(archive, "attic", io.BytesIO(line), LIMITS)["accepted"] == []
    assert "did not come before it" in next(archive.quarantine.glob("*/*")).read_text()


def test_a_damaged_line_in_the_inbox_blocks_nothing(node, archive):
    measured(node)
    deliver(node)
    file = next(archive.raw_inbox.glob("*/*"))
    file.write_bytes(b'{"run_id": 7}\n[1]\n{torn\n' + file.read_bytes())
    assert ingest.ingest(archive).raw == 1
    assert len(list(archive.quarantine.glob("*/*"))) == 3


def test_verify_finds_words_that_were_changed(node, archive):
    record = measured(node)
    deliver(node)
    ingest.ingest(archive)
    (file,) = archive.raw_files()
    table = pq.ParquetFile(file).read()
    pq.write_table(table.set_column(2, "content", pa.array([WORDS.replace(b"96.5", b"99.5")])), file)
    (finding,) = verify.verify(archive)
    assert finding.day == record.started_at[:10]
    assert record.run_id in finding.problem
    file.write_bytes(b"no Parquet")
    assert "cannot be read" in verify.verify(archive)[0].problem


def test_pruning_takes_whole_days_and_says_them_first(node, archive, capsys, monkeypatch):
    for day in range(3):
        measured(node, MOMENT + day * 86_400)
    deliver(node)
    ingest.ingest(archive)
    monkeypatch.setattr("time.time", lambda: MOMENT + 4 * 86_400.0)
    command = ["--root", str(archive.root), "prune", "--raw-older-than", "2d"]
    assert cli.main(command) == 0
    assert "2 files" in capsys.readouterr().err
    assert len(archive.raw_files()) == 3
    assert cli.main([*command, "--yes"]) == 0
    assert len(asked(archive)) == 1
    assert len(asked(archive, "SELECT * FROM records")) == 3
    assert len(list(archive.raw.glob("*/*/*/*"))) == 1


def test_who_keeps_the_address_to_himself_is_told_that_raw_output_has_it(settings):
    with pytest.raises(ConfigError, match="SPEEDTEST_ARCHIVE_RAW=true"):
        settings(archive_raw="true", external_ip="none")
    with pytest.raises(ConfigError, match="SPEEDTEST_ARCHIVE_RAW=true"):
        settings(archive_raw="true", isp_enabled="false")


def test_a_raw_file_of_a_later_version_is_left_as_it_is(node, archive):
    measured(node)
    deliver(node)
    ingest.ingest(archive)
    (file,) = archive.raw_files()
    later = pq.ParquetFile(file).read().replace_schema_metadata({"schema_version": "99"})
    pq.write_table(later, file)
    with pytest.raises(Exception, match="schema version 99"):
        raw.add(file, [])
    with pytest.raises(RecordError):
        raw.parsed(b"{}")
