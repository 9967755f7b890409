"""`speedtest-archive import`: what is taken, what is named, what its options do."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import FIXTURES
from cases import path

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import exporters
from speedtest_logger.errors import UsageError

PLACE = "0b6f5a2e-4a3b-4c55-9d0e-2f1b8c7d6e5f"
SIVEL = json.loads(path("speedtest-cli.json").read_text())
OOKLA = json.loads((FIXTURES / "ookla-1.2.0-ok.json").read_text())
BPS = {"sivel": (94300000.5, 41200000.25), "ookla": (92274688.0, 41943040.0)}


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    return layout


@pytest.fixture
def call(archive, capsys):
    """Run the command; returns its exit code, what it counted, and what it said."""

    def run_it(*words, node="attic"):
        code = cli.main(["--root", str(archive.root), "import", *(["--node", node] if node else []), *map(str, words)])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else {}, said.err

    return run_it


def stored(archive):
    return open_archive(archive.root).query("SELECT * FROM records ORDER BY started_at").to_pylist()


def flattened(content, prefix=""):
    """As SpeedSnake writes an engine's JSON (data/results.py: flatten_dict)."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", value


def snake_tree(folder, content, form):
    """SpeedSnake's `results` of CSV, or `uploads` of Parquet, of one test."""
    row = dict(sorted(flattened(content)))
    if form == "csv":
        place = folder / "results/year=2026/month=11/day=21"
        place.mkdir(parents=True)
        text = pd.DataFrame([row]).to_csv(index=False)
        (place / "speedtest_03-10-25.csv").write_text(text)
        return folder / "results"
    place = folder / f"uploads/location={PLACE}/year=2026/month=11/day=21"
    place.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{**row, "speedtest_address": PLACE}]), place / "speedtest_001.parquet")
    return folder / "uploads"


@pytest.mark.parametrize(("program", "content"), [("sivel", SIVEL), ("ookla", OOKLA)])
def test_speedsnakes_trees_of_both_programs_give_the_same_from_csv_and_parquet(
    call, archive, tmp_path, program, content
):
    trees = [snake_tree(tmp_path, content, form) for form in ("csv", "parquet")]
    code, counted, said = call("--location", PLACE, "--external-ip", "full", *trees)
    assert (code, counted["added"], counted["duplicates"], counted["different"]) == (0, 1, 1, 0), said
    row = stored(archive)[0]
    assert (row["download_bps"], row["upload_bps"]) == BPS[program]
    assert row["external_ip"] == "203.0.113.77" if program == "sivel" else "203.0.113.7"
    if program == "ookla":
        assert row["packet_loss_pct"] == 0.0
        assert row["engine"] == "ookla"
    assert verify.verify(archive) == []


def test_the_trees_place_is_taken_and_its_own_export_reads_as_a_frame(call, archive, tmp_path):
    call(snake_tree(tmp_path, SIVEL, "parquet"))
    assert stored(archive)[0]["location"] == PLACE
    out = tmp_path / "tree"
    assert exporters.export(open_archive(archive.root), "speedsnake", out) == 1
    frame = pd.read_parquet(out)
    assert list(frame["download"]) == [94300000.5]
    assert list(frame["speedtest_address"]) == [PLACE]
    with pytest.raises(UsageError, match="not an empty folder"):
        exporters.export(open_archive(archive.root), "speedsnake", out)


def test_a_rehearsal_changes_nothing_and_shows_what_the_values_are(call, archive):
    code, counted, said = call("--dry-run", path("tracker-bits.csv"), path("librespeed-cli.json"))
    assert (code, counted["added"], archive.month_files()) == (0, 3, [])
    assert counted["passed_over"] == {"test not finished": 1}
    lines = {line.split()[0]: line.split() for line in said.splitlines()[2:] if line and not line.startswith(" ")}
    assert lines["librespeed-cli"][1:] == ["1", "0", "median", "903.39", "34.33", "7.25"]
    assert lines["speedtest-tracker-bits"][1:] == ["2", "1", "median", "546.09", "41.94", "9.8"]
    assert "download Mbit/s" in said
    assert "2024-06-01T10:00:00.000Z" in said
    assert call("--dry-run", path("tracker-bits.csv"))[1]["added"] == 2
    assert call(path("tracker-bits.csv"))[1]["added"] == 2
    assert call("--dry-run", path("tracker-bits.csv"))[1]["duplicates"] == 2


def test_one_bad_line_costs_one_row_and_is_named(call, tmp_path):
    good = path("speedtest-cli.csv").read_text()
    file = tmp_path / "bad.csv"
    bad = '2,x,"y,2026-10-10T05:10:25Z,1,2,3e7,4e7,,\n'
    later = good.splitlines()[1].replace("T03:", "T04:") + "\n"
    file.write_text(good + "1,x,y,yesterday,1,2,3e7,4e7,,\n" + bad + later + "cut,off\n")
    code, counted, said = call(file)
    assert (code, counted["added"], counted["refused"]) == (1, 2, 3)
    for words in (
        "row 3: 'yesterday' is not a time",
        "row 4: a quote is not closed",
        "row 6: 2 fields under 10 columns",
    ):
        assert words in said


def test_a_node_is_asked_for_where_rows_do_not_name_it(call, tmp_path):
    file = path("speedtest-cli.csv")
    code, _, said = call(file, node=None)
    assert code == 2
    assert "--node NAME" in said
    assert call(file, node="../etc")[0] == 2
    assert call(tmp_path / "nowhere")[0] == 2


def test_a_time_that_is_named_is_of_one_test(call, archive, tmp_path):
    lines = (
        path("ookla-1.2.csv").read_text().replace('"timestamp",', "").replace('"2026-10-08 10:00:00",', "").splitlines()
    )
    file = tmp_path / "timeless.csv"
    file.write_text("\n".join(lines) + "\n")
    code, counted, said = call(file)
    assert (code, counted["refused"]) == (1, 1)
    assert "--at TIME" in said
    code, _, said = call("--at", "2026-01-01T12:00:00", "--zone", "Europe/Berlin", file)
    assert code == 0
    assert stored(archive)[0]["started_at"].hour == 11
    file.write_text("\n".join([*lines, lines[1]]) + "\n")
    code, _, said = call("--at", "2026-02-01T00:00:00", file)
    assert (code, len(stored(archive))) == (2, 1)
    assert "--at is the time of one test, and there are 2: nothing was taken" in said
    assert call("--at", "noon", file)[0] == 2


def test_two_tests_in_one_millisecond_are_named(call, archive, tmp_path):
    file = tmp_path / "two.jsonl"
    file.write_text("".join(json.dumps({**SIVEL, "download": speed}) + "\n" for speed in (1e8, 2e8)))
    for words in (["--dry-run"], []):
        code, counted, said = call(*words, file)
        assert (code, counted["added"], counted["different"]) == (1, 1, 1)
        assert "counts once: download_bps is 200000000.0, in the stored record 100000000.0" in said


@pytest.mark.parametrize(
    ("zone", "time", "utc"),
    [
        (None, "2026-07-01 12:00:00", "2026-07-01T12:00:00"),
        ("Europe/Berlin", "2026-07-01 12:00:00", "2026-07-01T10:00:00"),
        ("Europe/Berlin", "2026-01-01 12:00:00", "2026-01-01T11:00:00"),
        ("Europe/Berlin", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00"),
        ("Europe/Berlin", "2026/07/01 12:00:00.25", "2026-07-01T10:00:00.250000"),
        ("Asia/Kolkata", "2026-07-01 12:00", "2026-07-01T06:30:00"),
        (None, "1782907200", "2026-07-01T12:00:00"),
        (None, "1782907200000", "2026-07-01T12:00:00"),
        ("Europe/Berlin", "2026-10-25 02:30:00", "twice or not at all"),
        ("Europe/Berlin", "2026-03-29 02:30:00", "twice or not at all"),
        (None, "01/07/2026 12:00:00", "is not a time"),
        (None, "2026-07-01", "is not a time"),
        (None, "2026-02-30 12:00:00", "is not a time"),
    ],
)
def test_times(call, archive, tmp_path, zone, time, utc):
    file = tmp_path / "t.csv"
    file.write_text(path("ookla-1.2.csv").read_text().replace("2026-10-08 10:00:00", time))
    _, _, said = call(*(["--zone", zone] if zone else []), file)
    seen = (
        [row["started_at"].isoformat().removesuffix("+00:00") for row in stored(archive)]
        if archive.month_files()
        else said
    )
    assert seen == [utc] if utc[0].isdigit() else utc in seen


def test_a_day_and_a_time_of_day_in_two_columns(call, archive, tmp_path):
    file = tmp_path / "t.csv"
    text = path("ookla-1.2.csv").read_text().replace('"timestamp"', '"date","time"')
    file.write_text(text.replace('"2026-10-08 10:00:00"', '"2026-10-08","10:15:30"'))
    call(file)
    assert [row["started_at"].isoformat() for row in stored(archive)] == ["2026-10-08T10:15:30+00:00"]


@pytest.mark.parametrize(("kept", "address"), [(None, "203.0.113.0"), ("full", "203.0.113.77"), ("none", None)])
@pytest.mark.parametrize("name", ["speedtest-cli.json", "tracker-flattened.csv"])
def test_public_addresses_are_shortened_unless_asked(call, archive, name, kept, address):
    call(*(["--external-ip", kept] if kept else []), path(name))
    assert stored(archive)[0]["external_ip"] == address


def test_places_that_are_no_id_are_mapped_by_name_and_never_merged(call, archive, tmp_path):
    rows = [{**SIVEL, "speedtest_address": name, "timestamp": f"2026-10-09T0{hour}:00:00Z"}
            for hour, name in enumerate(["Home_Office", "Attic Flat", "garden"])]  # fmt: skip
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, counted, said = call("--dry-run", file)
    assert (code, counted["locations"], counted["refused"]) == (1, {"garden": 1}, 2)
    assert "location 'Home_Office' is not an id: add --location-map 'Home_Office=ID'" in said
    names = tmp_path / "names"
    names.write_text("Attic Flat=attic-flat\n")
    code, counted, _ = call("--location-map", "Home_Office=office", "--location-map", names, file)
    assert (code, counted["locations"]) == (0, {"office": 1, "attic-flat": 1, "garden": 1})
    assert [row["location"] for row in stored(archive)] == ["office", "attic-flat", "garden"]
    assert call("--location-map", "Attic=Not An Id", file)[0] == 2
    assert call("--location-map", str(tmp_path / "nothing"), file)[0] == 2


def test_options_that_are_wrong_are_refused_with_what_is_right(call):
    code, _, said = call("--zone", "Berlin", path("speedtest-cli.csv"))
    assert code == 2
    assert "Europe/Berlin" in said
    code, _, said = call("--format", "ookla-xml", path("speedtest-cli.csv"))
    assert code == 2
    assert "ookla-csv" in said


def test_a_folder_in_which_nothing_is_recognised_is_an_error(call, tmp_path):
    (tmp_path / "old").mkdir()
    assert call(tmp_path / "old")[0] == 2
    (tmp_path / "old/notes.txt").write_text("it was slow\n")
    code, counted, said = call(tmp_path / "old")
    assert (code, counted["files"], counted["formats"]) == (1, 1, {})
    assert "nothing was recognised" in said


def test_an_error_line_of_a_test_that_went_on_is_no_failed_test(call, archive, tmp_path):
    error = {"type": "log", "level": "error", "timestamp": "2026-11-20T09:59:40Z", "message": "Cannot open socket"}
    file = tmp_path / "log.txt"
    lines = [error, {**error, "message": "again"}, OOKLA, {**error, "timestamp": "2026-11-20T11:00:00Z"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, counted, said = call(file)
    assert (code, counted["formats"], counted["passed_over"]) == (0, {"ookla": 1, "ookla-log": 1}, {"error line": 2}), (
        said
    )
    assert [row["status"] for row in stored(archive)] == ["ok", "failed"]
