"""Builders that several tests share: engines' recorded words, records, deliveries, archives, plugins."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import traceback
import uuid
from pathlib import Path

import pyarrow.parquet as pq

from plugins.modules.host_state import ANSWERS
from speedtest_logger.accounts import Owner
from speedtest_logger.archive import cli
from speedtest_logger.archive.format.layout import Layout, month_of, ulid
from speedtest_logger.archive.write import ingest
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import Output
from speedtest_logger.record import Record, run_id_of_slot, utc_text

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(__file__).parent / "fixtures"


def recordings(engine: str, end: str) -> list[Path]:
    """What was recorded of an engine, by how its files' names end."""
    return sorted(FIXTURES.glob(f"{engine.replace('_', '-')}-*-{end}"))


# What each engine's program says of itself with --version.
VERSIONS = {
    program.name: file.read_text(encoding="utf-8").strip()
    for engine, program in ENGINES.items()
    for file in recordings(engine, "version.txt")
}
REPLAY_IPERF3 = f"""
case "$*" in
  *-R*) cat {FIXTURES}/iperf3-3.12-download.json;;
  *) cat {FIXTURES}/iperf3-3.12-upload.json;;
esac
"""
SERVICE = Owner(61_001, 61_002)  # no such account is needed
FIRST = 1_767_225_600  # 2026-01-01
DAY = 86_400
NUMBERS = itertools.count()  # of deliveries: files of one moment have no order
ROOT_FILE = {"owner": "root", "group": "root", "mode": "0644"}


def unpack(file: Path, folder: Path) -> None:
    """By tar: what tarfile takes in 3.11.4 and later, Debian 12's Python does not know yet."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "--extract", "--file", file, "--directory", folder], check=True)


def recorded(name: str, returncode: int = 0) -> Output:
    """An engine's recorded words as its output."""
    return Output(returncode, (FIXTURES / name).read_bytes())


def in_a_process(act) -> None:
    """Run something in a process of its own, for accounts cannot be taken back; fails as it fails."""
    assert os.geteuid() == 0, "these tests change accounts: run them as root, as CI does"
    said, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            os.write(write, traceback.format_exc()[-4000:].encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(said, "rb") as stream:
        words = stream.read().decode()
    os.waitpid(pid, 0)
    assert not words, words


def row(moment, run=None, **changes):
    base = Record(
        run_id=str(uuid.UUID(int=run)) if run is not None else str(uuid.uuid4()),
        node="attic",
        location="home",
        started_at=utc_text(moment),
        finished_at=utc_text(moment),
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
    ).to_row()
    return {**base, **changes}


def fresh(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("archive"))
    layout.prepare()
    return layout


def put_in_inbox(layout, rows, node="attic"):
    folder = layout.inbox / node
    folder.mkdir(exist_ok=True)
    (folder / f"{ulid()}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def slot(node, at, location="home", late=1.0, **changes):
    """A slot's record, started `late` seconds after it."""
    text = utc_text(at)
    base = Record(
        run_id=run_id_of_slot(node, text), node=node, location=location, scheduled_at=text,
        started_at=utc_text(at + late), finished_at=utc_text(at + late + 9), status="ok", download_bps=1e8,
        upload_bps=5e7,
    ).to_row()  # fmt: skip
    return {**base, **changes}


def by_hand(node, number, at, location="home", **changes):
    """A record without a slot."""
    return slot(node, at, location, run_id=str(uuid.UUID(int=number)), scheduled_at=None, **changes)


def put(layout, *rows):
    """Deliver rows of whichever nodes, each node's in one delivery, and take them in."""
    by_node = {}
    for row in rows:
        by_node.setdefault(row["node"], []).append(row)
    for delivery in by_node.values():
        delivered(layout, delivery)
    return take_in(layout)


def put_apart(layout, *rows):
    """Deliver each row by itself, and take them in."""
    wait(layout, *rows)
    return take_in(layout)


def take_in(layout):
    outcome = ingest.ingest(layout)
    assert not list(layout.quarantine.glob("*/*.reason"))
    return outcome


def wait(layout, *rows):
    """Deliver each row by itself: they wait in the inbox."""
    for row in rows:
        delivered(layout, [row])


def delivered(layout, rows):
    folder = layout.inbox / rows[0]["node"]
    folder.mkdir(exist_ok=True)
    (folder / f"{next(NUMBERS):026d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def stored(layout):
    """What the files hold, as (node, run_id, location, start)."""
    found = []
    for file in layout.month_files():
        location, *_ = month_of(layout.name(file))
        rows = pq.ParquetFile(file).read(["node", "run_id", "started_at"]).to_pylist()
        found += [(r["node"], r["run_id"], location, utc_text(r["started_at"].timestamp())) for r in rows]
    return sorted(found)


def as_stored(*rows):
    return sorted((row["node"], row["run_id"], row["location"], row["started_at"]) for row in rows)


def run(layout, *words):
    return cli.main(["--root", str(layout.root), *words])


def fleet(layout, capsys):
    capsys.readouterr()
    assert run(layout, "fleet") == 0
    return json.loads(capsys.readouterr().out)


def bytes_of(folder):
    """Everything in a folder: its names, owners, modes and contents."""
    return {
        str(place): (
            place.lstat().st_uid,
            place.lstat().st_mode,
            hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else None,
        )
        for place in sorted(folder.rglob("*"))
        if not place.name.startswith("reading-")
    }


def load(path: str):
    """A program of the checkout that is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path.removesuffix(".py")), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def seen(**changes):
    """What host_state answers where nothing is there."""
    return {**{name: {} for name in ANSWERS}, "docker": None, "now": 0.0, **changes}


def observed_file(content: bytes, **changes):
    import hashlib

    return {"kind": "file", **ROOT_FILE, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}


def write_schedule(archive, **nodes):
    (archive.state / "schedule.json").write_text(json.dumps({"nodes": nodes}))
