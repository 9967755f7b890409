"""The manifest finds every changed, missing and added byte, and explains what changed by right."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import FIXTURES

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.care import prune, verify
from speedtest_logger.archive.format import digest, json_lines, schema
from speedtest_logger.archive.format.facts import Facts
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.ledger.entry import Accepted, Entry, Made, Pruned, Restored, Rewritten
from speedtest_logger.archive.write import store
from speedtest_logger.errors import StorageError
from speedtest_logger.record import Record, run_id_of_slot, utc_text

START = 1_767_225_600  # 2026-01-01
DAY = 86_400
FACTS = Facts("a" * 64, 9, 2, {"2026-01-31": (2, "c" * 64)})
JANUARY = "location=home/year=2026/month=01/speedtest.parquet"


def rows(count=6, start=START, step=DAY / 2, **changes):
    base = {"node": "attic", "location": "home", "status": "ok", "download_bps": 1e8, "upload_bps": 5e7}
    return [
        Record(
            **{
                **base,
                "run_id": run_id_of_slot(changes.get("node", "attic"), utc_text(start + n * step)),
                "started_at": utc_text(start + n * step),
                "finished_at": utc_text(start + n * step + 20),
                **changes,
            }
        ).to_row()
        for n in range(count)
    ]


def put(layout, batch, verb="ingest"):
    with store.single_writer(layout, verb):
        return store.commit(layout, verb, json_lines.to_table(batch))


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    put(layout, rows())
    put(layout, rows(location="garden", node="porch"))
    return layout


OLD = json.loads((FIXTURES / "manifest.json").read_text())  # as the versions up to 0.1.0 wrote them


@pytest.mark.parametrize("case", OLD, ids=range(len(OLD)))
def test_old_lines_are_read_as_ever_and_condensed_to_the_same_bytes(case, tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    layout.prepare()
    for name, content in case["before"].items():
        (layout.manifest / name).write_text(content)

    def state():
        return {name: json.loads(json.dumps(vars(found))) for name, found in manifest.state(layout).items()}

    assert state() == case["state"]
    monkeypatch.setattr("time.time", lambda: 1_990_000_000.0)
    manifest.append(layout, "ingest", {})
    assert (layout.manifest / "chain.jsonl").read_text() == case["sealed"]
    assert state() == case["state_after"]
    assert manifest.broken_links(layout) == []


@pytest.mark.parametrize(
    ("entry", "marks"),
    [
        (Entry(FACTS, (Made(),)), '"new":true'),
        (Entry(FACTS, (Rewritten("b" * 64),)), f'"was":"{"b" * 64}"'),
        (Entry(FACTS, (Accepted(),)), '"new":true,"accepted":true'),
        (Entry(FACTS, (Restored("b" * 64),)), f'"new":false,"was":"{"b" * 64}"'),
        (Entry(FACTS, (Restored(None),)), '"new":true'),
    ],
)
def test_a_change_has_its_marks(entry, marks):
    held = f'"sha256":"{"a" * 64}","bytes":9,"rows":2,"days":{{"2026-01-31":[2,"{"c" * 64}"]}}'
    text = json.dumps(entry.to_json(), separators=(",", ":"))
    assert text == f"{{{held},{marks}}}"
    assert Entry.of_json(json.loads(text)).to_json() == entry.to_json()


@pytest.mark.parametrize("change", [Pruned(), Accepted()])
def test_a_file_that_is_gone_is_null(change):
    assert Entry(None, (change,)).to_json() is None
    assert Entry.of_json(None) == Entry(None, (Pruned(),))


HALF = '{"seq":3,"at":"x","previous":"x","verb":"x","files":{"x":{"rows":1}}}'


@pytest.mark.parametrize("line", ["{}", "[]", "1", HALF])
def test_a_line_that_is_none_is_said_so(archive, line):
    with (archive.manifest / "open.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(StorageError, match=r"open\.jsonl, line 3 cannot be read"):
        manifest.state(archive)


def problems(layout):
    return [(finding.file, finding.day, finding.problem.partition(":")[0]) for finding in verify.verify(layout)]


def test_an_untouched_archive_is_as_the_manifest_says(archive, capsys):
    assert problems(archive) == []
    assert cli.main(["--root", str(archive.root), "verify"]) == 0
    assert manifest.head(archive)[1] in capsys.readouterr().err


def test_every_flipped_byte_is_found(archive):
    file = archive.archive / JANUARY
    content = file.read_bytes()
    for place in range(0, len(content), 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert {name for name, _, _ in problems(archive)} == {JANUARY}, place
    file.write_bytes(content)
    assert problems(archive) == []


def change_a_value_of_2_january(file):
    table = pq.ParquetFile(file).read()
    values = table["download_bps"].to_pylist()
    values[3] = 9e8
    place = table.column_names.index("download_bps")
    pq.write_table(table.set_column(place, "download_bps", pa.array(values)), file)


def test_a_changed_value_is_found_with_its_day(archive, capsys):
    change_a_value_of_2_january(archive.archive / JANUARY)
    assert problems(archive) == [(JANUARY, "2026-01-02", "changed")]
    assert cli.main(["--root", str(archive.root), "verify", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["day"] == "2026-01-02"


def test_a_row_taken_out_and_a_row_put_in_are_found(archive):
    file = archive.archive / JANUARY
    table = pq.ParquetFile(file).read()
    pq.write_table(table.slice(1), file)
    assert problems(archive) == [(JANUARY, "2026-01-01", "changed")]
    more = json_lines.to_table(rows(1, START + 20 * DAY)).select(schema.SCHEMA.names)
    pq.write_table(pa.concat_tables([table, more.replace_schema_metadata(table.schema.metadata)]), file)
    assert problems(archive) == [(JANUARY, "2026-01-21", "added")]


def test_bytes_that_differ_while_rows_do_not_are_said_so(archive):
    file = archive.archive / JANUARY
    pq.write_table(pq.ParquetFile(file).read(), file, compression="none")
    assert problems(archive) == [(JANUARY, None, "changed")]


def test_missing_and_added_files_are_found(archive):
    (archive.archive / JANUARY).rename(archive.root / "elsewhere")
    (archive.archive / "location=garden" / "notes.txt").write_text("x")
    other = archive.month_file("shed", 2026, 1)
    other.parent.mkdir(parents=True)
    other.write_bytes((archive.root / "elsewhere").read_bytes())
    assert problems(archive) == [
        (JANUARY, "2026-01-01 to 2026-01-03", "missing"),
        (archive.name(other), None, "added"),
        ("location=garden/notes.txt", None, "added"),
    ]


@pytest.mark.parametrize("spoil", [lambda t: t.replace(b'"rows":6', b'"rows":7', 1), lambda t: t[t.find(b"\n") + 1 :]])
def test_a_line_that_was_altered_or_taken_out_breaks_the_chain(archive, spoil):
    file = archive.manifest / "open.jsonl"
    file.write_bytes(spoil(file.read_bytes()))
    assert {name for name, _, _ in problems(archive)} == {"manifest"}


def test_a_day_that_is_over_is_condensed_and_still_explains(archive, monkeypatch, capsys):
    for day in range(1, 4):
        monkeypatch.setattr("time.time", lambda day=day: 1_800_000_000.0 + day * DAY)
        put(archive, rows(2, START + day * 3 * DAY))
        put(archive, rows(2, START + day * 3 * DAY + 3600))
    sealed = [json.loads(line) for line in (archive.manifest / "chain.jsonl").read_text().splitlines()]
    assert [line["lines"] for line in sealed] == [2, 2, 2]
    assert len((archive.manifest / "open.jsonl").read_text().splitlines()) == 2
    assert problems(archive) == []
    assert len(manifest.state(archive)[JANUARY].days) == 6  # 1, 2, 3, 4, 7 and 10 January
    assert cli.main(["--root", str(archive.root), "verify", "--explain", JANUARY, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [line["rows"] for line in told] == [6, 10, 14, 16, 18]
    assert told[-1]["sha256"] == digest.sha256_of(archive.archive / JANUARY)


def later_days(monkeypatch):
    """Each call is a day later, so that the manifest condenses what was before."""
    for day in range(1, 100):
        monkeypatch.setattr("time.time", lambda day=day: 1_800_000_000.0 + day * DAY)
        yield


@pytest.mark.parametrize("condensed", [False, True])
@pytest.mark.parametrize("start", [START + 20 * DAY, START + DAY], ids=["another day", "the same day"])
def test_a_changed_value_is_found_though_the_month_was_written_again_since(archive, monkeypatch, start, condensed):
    days = later_days(monkeypatch)
    change_a_value_of_2_january(archive.archive / JANUARY)
    for number in range(3):
        if condensed:
            next(days)
        put(archive, rows(1, start + 60 * (number + 1)))
        assert problems(archive) == [(JANUARY, "2026-01-02", "changed")]


@pytest.mark.parametrize("condensed", [False, True])
def test_a_file_that_went_is_missed_though_its_month_came_again(archive, monkeypatch, condensed):
    days = later_days(monkeypatch)
    (archive.archive / JANUARY).unlink()
    for number in range(3):
        if condensed and number != 1:
            next(days)
        put(archive, rows(1, START + (20 + number) * DAY))
        gone = [(JANUARY, f"2026-01-0{day}", "missing") for day in (1, 2, 3)]
        assert problems(archive) == gone


@pytest.mark.parametrize("condensed", [False, True])
def test_a_month_that_was_pruned_and_came_again_is_as_it_should_be(archive, monkeypatch, condensed):
    days = later_days(monkeypatch)
    if condensed:
        next(days)
    put(archive, rows(1, START + 400 * DAY))
    assert len(prune.prune(archive, 1.8e9, 0, None)) == 2
    for number in range(4):
        if condensed and number > 1:
            next(days)
        put(archive, rows(1, START + (20 + number) * DAY))
        assert problems(archive) == []


def test_other_bytes_with_the_same_rows_are_forgotten_with_the_next_change(archive):
    file = archive.archive / JANUARY
    pq.write_table(pq.ParquetFile(file).read(), file, compression="none")
    put(archive, rows(1, START + 20 * DAY))
    assert problems(archive) == []


def test_a_clock_that_goes_back_and_forth_breaks_nothing(archive, monkeypatch):
    for number, moment in enumerate([1.8e9, 1.7e9, 1.8e9 + 3 * DAY, 1.6e9, 1.9e9]):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        put(archive, rows(1, START + 40 * DAY + number * 3600))
        assert problems(archive) == []


def test_a_torn_last_line_never_took_effect(archive):
    file = archive.manifest / "open.jsonl"
    file.write_bytes(file.read_bytes() + b'{"seq": 3, "at"')
    assert problems(archive) == []
    put(archive, rows(1, START + 9 * DAY))
    assert problems(archive) == []
    assert manifest.head(archive)[0] == 3


def test_an_archive_from_before_the_manifest_is_adopted(archive):
    for file in archive.manifest.iterdir():
        file.unlink()
    put(archive, rows(1, START + 9 * DAY))
    assert problems(archive) == []
    assert next(manifest.history(archive)).verb == "adopt"


def test_prune_takes_old_months_and_the_manifest_says_so(archive, capsys, monkeypatch):
    monkeypatch.setattr("time.time", lambda: START + 400.0 * DAY)
    put(archive, rows(2, START + 390 * DAY))
    command = ["--root", str(archive.root), "prune", "--older-than", "300d", "--format", "json"]
    assert cli.main(command) == 0
    assert {row["file"] for row in json.loads(capsys.readouterr().out)} == set(manifest.state(archive)) - {
        archive.name(archive.month_file("home", 2027, 1))
    }
    assert (archive.archive / JANUARY).exists()  # it was a rehearsal
    assert cli.main([*command, "--yes"]) == 0
    assert [archive.name(file) for file in archive.month_files()] == [
        "location=home/year=2027/month=01/speedtest.parquet"
    ]
    assert not (archive.archive / "location=garden").exists()
    assert problems(archive) == []
    assert open_archive(archive.root).query("SELECT count(*) AS n FROM records").to_pylist() == [{"n": 2}]
    assert index.read(archive).nodes.keys() == {"attic"}
    put(archive, rows(1))  # the same month comes back
    assert problems(archive) == []


def test_prune_by_size_takes_the_oldest_and_never_the_last_months(archive):
    now = START + 100 * DAY
    put(archive, rows(2, now - 5 * DAY))
    going = prune.plan(archive, now, None, 1)
    assert {old.file for old in going} == {JANUARY, JANUARY.replace("home", "garden")}
    assert {old.reason for old in going} == {"size"}
    assert prune.plan(archive, now, None, 10**9) == []


def test_unknown_columns_survive_and_are_shown(archive):
    file = archive.archive / JANUARY
    table = pq.ParquetFile(file).read()
    wider = table.append_column("mos", pa.array([4.0] * table.num_rows))
    pq.write_table(wider.append_column("vlan", pa.array([7] * table.num_rows, pa.int16())), file)
    index.rebuild(archive)
    put(archive, rows(2, START + 9 * DAY))
    assert pq.read_schema(file).names[-2:] == ["mos", "vlan"]
    found = open_archive(archive.root).query(
        "SELECT count(mos) AS mos, count(vlan) AS vlan, count(*) AS n FROM records"
    )
    assert found.to_pylist() == [{"mos": 6, "vlan": 6, "n": 14}]


def test_a_file_that_lacks_a_column_of_today_reads_as_null(archive):
    file = archive.archive / JANUARY
    table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["jitter_ms", "raw_sha256"]), file)
    index.rebuild(archive)
    opened = open_archive(archive.root)
    assert opened.only(location="home").query("SELECT count(jitter_ms) AS n FROM records").to_pylist() == [{"n": 0}]
    assert opened.to_pandas(["node", "jitter_ms"]).shape == (12, 2)
    put(archive, rows(1, START + 9 * DAY))
    assert "jitter_ms" in pq.read_schema(file).names


def test_a_newer_archive_is_read_and_not_written(archive, capsys):
    put(archive, rows(1, START + 9 * DAY))
    line = json.loads(manifest.last_line(archive.manifest / "open.jsonl"))
    newer = {**line, "seq": line["seq"] + 1, "previous": manifest.head(archive)[1], "schema_version": 2}
    with (archive.manifest / "open.jsonl").open("a") as stream:
        stream.write(json.dumps(newer) + "\n")
    with pytest.raises(StorageError, match="schema version 2"):
        put(archive, rows(1, START + 10 * DAY))
    assert cli.main(["--root", str(archive.root), "nodes"]) == 0
    assert "a later version wrote this archive" in capsys.readouterr().err


def test_a_newer_file_is_not_written(archive):
    file = archive.archive / JANUARY
    table = pq.ParquetFile(file).read()
    pq.write_table(table.replace_schema_metadata({"schema_version": "2"}), file)
    before = file.read_bytes()
    with pytest.raises(StorageError, match="install the version"):
        put(archive, rows(1, START + 9 * DAY))
    assert file.read_bytes() == before


def test_the_digest_is_of_values_not_of_how_they_were_made():
    def of(*tables):
        return digest.digest_of_rows([(digest.Canonical(t), 0, t.num_rows) for t in tables])

    table = json_lines.to_table([*rows(4), *rows(1, START + 9 * DAY, message="late")])
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    without = table.drop_columns(["jitter_ms"])
    assert of(table) == of(chunked) == of(without) == of(table.slice(0, 2), table.slice(2))
    shorter = [{**row, "message": text} for row, text in zip(rows(2), ["ab", "c"], strict=True)]
    longer = [{**row, "message": text} for row, text in zip(rows(2), ["a", "bc"], strict=True)]
    assert of(json_lines.to_table(shorter)) != of(json_lines.to_table(longer))


def test_verify_while_the_archive_changes_finds_nothing(archive):
    import threading

    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set() and number < 200:
            number += 1
            try:
                put(archive, rows(1, START + 11 * DAY + number * 60))
            except StorageError:  # verify looks twice at this moment
                time.sleep(0.01)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(15):
            assert problems(archive) == []
    finally:
        stop.set()
        thread.join()
