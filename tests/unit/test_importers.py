"""What people already have comes in with its units put right, once however often it is read, and goes out again."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FIXTURES

from speedtest_logger.archive import cli, exporters, importers, open_archive, verify
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import UsageError
from speedtest_logger.record import Record, run_id_of_slot, utc_text
from speedtest_logger.spool import record_to_csv

PLACE = "0b6f5a2e-4a3b-4c55-9d0e-2f1b8c7d6e5f"
SIVEL = json.loads((FIXTURES / "speedtest-cli-2.1.3-ok.json").read_text())
OOKLA = json.loads((FIXTURES / "ookla-1.2.0-ok.json").read_text())


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    return layout


def take(layout, *paths, dry_run=False, node="attic", location=None, at=None):
    source = importers.Source(node, location, at)
    return importers.run(layout, importers.find(list(paths)), source, dry_run=dry_run)


def flattened(content, prefix=""):
    """As SpeedSnake writes an engine's JSON."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", value


def write_csv(file, *rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def own_csv(file):
    stamp = utc_text(1_767_225_600)
    record = Record(run_id=run_id_of_slot("porch", stamp), node="porch", location="garden", scheduled_at=stamp,
                    started_at=stamp, finished_at=stamp, status="ok", download_bps=9e7, upload_bps=4e7)  # fmt: skip
    file.write_bytes(record_to_csv(record))
    return file


def speedsnake_csv(file):
    row = dict(flattened({**SIVEL, "ping": 12.5}))
    return write_csv(file.parent / "results/year=2026/month=11/day=21/speedtest_03-10-25.csv", row)


def speedsnake_parquet(file):
    row = {name: [str(value)] for name, value in flattened({**SIVEL, "ping": 12.5})}
    folder = file.parent / f"uploads/location={PLACE}/year=2026/month=11/day=21"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({**row, "speedtest_address": [PLACE]}), folder / "speedtest_001.parquet")
    return folder.parents[3]


def written(name, text):
    def make(file):
        file.with_name(name).write_text(text)
        return file.with_name(name)

    return make


OOKLA_CSV = (
    '"server name","server id","idle latency","idle jitter","packet loss","download","upload","download bytes",'
    '"upload bytes","share url","download server count","download latency","idle latency low","timestamp"\n'
    '"Example","4711","9.8","0.5","N/A","11534336","5242880","115343360","52428800","https://x","1","34.2","9.2",'
    '"2026-11-20T10:00:00Z"\n'
)
TRACKER = (
    "ID,Service,Ping,Download,Upload,Server ID,Server Name,ISP,Status,Created At\n"
    "1,ookla,9.8,11534336,5242880,4711,Example,Example Net,completed,2026-11-20 10:00:00\n"
    "2,ookla,,,,,,,failed,2026-11-20 11:00:00\n"
)
SIVEL_CSV = (
    "Server ID,Sponsor,Server Name,Timestamp,Distance,Ping,Download,Upload,Share,IP Address\n"
    "4711,Example,Berlin,2026-11-21T03:10:25.213227Z,2.2,12.5,1125674168.8996406,5019137696.042526,,203.0.113.7\n"
)
BIG = (1125674168.8996406, 5019137696.042526)
OOKLA_BPS = (11534336 * 8.0, 5242880 * 8.0)


@pytest.mark.parametrize(
    ("make", "form", "rows", "speeds"),
    [
        (speedsnake_csv, "speedsnake", 1, BIG),
        (speedsnake_parquet, "speedsnake", 1, BIG),
        (written("a.json", json.dumps(OOKLA)), "ookla", 1, OOKLA_BPS),
        (written("a.jsonl", json.dumps(OOKLA) + "\n" + json.dumps({**OOKLA, "timestamp": "2026-11-20T11:00:00Z"})),
         "ookla", 2, OOKLA_BPS),
        (written("a.csv", OOKLA_CSV), "ookla", 1, OOKLA_BPS),
        (written("b.json", json.dumps(SIVEL)), "speedtest-cli", 1, BIG),
        (written("b.csv", SIVEL_CSV), "speedtest-cli", 1, BIG),
        (written("c.csv", TRACKER), "speedtest-tracker", 2, OOKLA_BPS),
        (own_csv, "speedtest-logger", 1, (9e7, 4e7)),
    ],
    ids=["speedsnake csv", "speedsnake parquet", "ookla json", "ookla jsonl", "ookla csv", "speedtest-cli json",
         "speedtest-cli csv", "speedtest-tracker", "own csv"],
)  # fmt: skip
def test_each_format(archive, tmp_path, make, form, rows, speeds):
    path = make(tmp_path / "old.csv")
    rehearsed = take(archive, path, dry_run=True)
    assert (rehearsed.added, rehearsed.refused, archive.month_files()) == (rows, 0, [])
    done = take(archive, path)
    assert (done.rows, done.added, done.refused, done.formats) == (rows, rows, 0, {form: rows}), done.problems
    again = take(archive, path)
    assert (again.added, again.duplicates) == (0, rows)
    assert take(archive, path, dry_run=True).duplicates == rows
    found = open_archive(archive.root).query("SELECT * FROM records WHERE status = 'ok'").to_pylist()[0]
    assert (found["download_bps"], found["upload_bps"]) == speeds
    assert found["runtime"] == ("systemd" if form == "speedtest-logger" else "imported")
    assert found["location"] == {"speedsnake parquet": PLACE}.get(make.__name__.replace("_", " "),
                                "garden" if make is own_csv else "unknown-location")  # fmt: skip
    assert verify.verify(archive) == []


def test_latencies_losses_and_failures_keep_their_meaning(archive, tmp_path):
    take(archive, written("c.csv", TRACKER)(tmp_path / "x"), written("b.json", json.dumps(SIVEL))(tmp_path / "x"))
    rows = open_archive(archive.root).to_arrow().to_pylist()
    tracked, failed, sivel = rows
    assert (tracked["latency_ms"], tracked["packet_loss_pct"], tracked["started_at"].hour) == (9.8, None, 10)
    assert (failed["status"], failed["reason"], failed["download_bps"]) == ("failed", "engine_error", None)
    assert sivel["latency_ms"] is None  # 1,800,000 ms is no latency


def test_the_same_test_as_csv_and_as_parquet_counts_once(archive, tmp_path):
    first = take(archive, speedsnake_csv(tmp_path / "x.csv"), location=PLACE)
    second = take(archive, speedsnake_parquet(tmp_path / "x.csv"))
    assert (first.added, second.added, second.duplicates) == (1, 0, 1)


def test_what_is_no_measurement_is_named_and_the_rest_goes_on(archive, tmp_path, capsys):
    bad = written("bad.csv", SIVEL_CSV + "1,x,y,yesterday,1,2,3,4,,\n")(tmp_path / "x")
    torn = written("torn.json", '{"download": 1,')(tmp_path / "x")
    other = written("other.csv", "a,b\n1,2\n")(tmp_path / "x")
    timeless = written("timeless.csv", OOKLA_CSV.replace(',"timestamp"', "").replace(',"2026-11-20T10:00:00Z"', ""))(
        tmp_path / "x"
    )
    argv = ["--root", str(archive.root), "import", "--node", "attic", *map(str, (bad, torn, other, timeless))]
    assert cli.main(argv) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["added"] == 1
    assert json.loads(printed.out)["refused"] == 4
    for words in ("row 2: 'yesterday' is no time", "cannot be read", "no known format: a, b", "--at TIME"):
        assert words in printed.err
    assert cli.main([*argv[:-4], "--at", "2026-01-01T00:00:00", str(timeless)]) == 0


def test_a_node_is_asked_for_where_rows_do_not_name_it(archive, tmp_path, capsys):
    file = written("b.csv", SIVEL_CSV)(tmp_path / "x")
    assert cli.main(["--root", str(archive.root), "import", str(file)]) == 2
    assert "--node NAME" in capsys.readouterr().err
    assert cli.main(["--root", str(archive.root), "import", "--node", "../etc", str(file)]) == 2
    assert cli.main(["--root", str(archive.root), "import", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_what_goes_out_comes_in_again_unchanged(archive, tmp_path, form):
    take(archive, own_csv(tmp_path / "own.csv"), written("c.csv", TRACKER)(tmp_path / "x"))
    before = open_archive(archive.root)
    out = tmp_path / f"out.{form}"
    assert exporters.export(before, form, out) == 3
    other = Layout(tmp_path / "other")
    other.prepare()
    assert take(other, out, node=None).added == 3
    assert open_archive(other.root).to_arrow().equals(before.to_arrow())


def test_speedsnakes_tree_is_written_and_read_back(archive, tmp_path):
    take(archive, speedsnake_parquet(tmp_path / "x.csv"), written("c.csv", TRACKER)(tmp_path / "x"))
    out = tmp_path / "tree"
    assert exporters.export(open_archive(archive.root), "speedsnake", out) == 2
    files = sorted(file.relative_to(out).as_posix() for file in out.rglob("*.parquet"))
    assert files == [
        f"location={PLACE}/year=2026/month=11/day=21/speedtest_001.parquet",
        "location=unknown-location/year=2026/month=11/day=20/speedtest_001.parquet",
    ]
    frame = pd.read_parquet(out)
    assert sorted(frame["download"]) == sorted([BIG[0], OOKLA_BPS[0]])
    other = Layout(tmp_path / "other")
    other.prepare()
    assert take(other, out).added == 2
    with pytest.raises(UsageError, match="not empty"):
        exporters.export(open_archive(archive.root), "speedsnake", out)
