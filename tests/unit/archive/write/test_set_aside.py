"""One file at which ingest fails stops nobody: it is tried alone, put into quarantine with its reason, and said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import FIRST, ROOT, fleet, put, slot, stored, wait

from speedtest_logger import wire
from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import aside, chunks
from speedtest_logger.archive.arrive.delivery import as_line
from speedtest_logger.archive.write import ingest, raw
from speedtest_logger.errors import StorageError

POISON = "poison"
DEATHS = {  # what reading the poisoned file does
    "memory": "raise MemoryError",
    "error": "raise ValueError('no such thing')",
    "disk": "raise OSError(5, 'Input/output error')",
}


def poisoned(original, act):
    """A reader that does something at files that hold the word."""

    def read(files):
        if any(file.exists() and POISON in file.read_text() for file in files):
            act()
        return original(files)

    return read


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no such thing"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read_is_set_aside_in_the_same_run(layout, capsys, monkeypatch, error):
    monkeypatch.setattr(chunks, "read", poisoned(chunks.read, raising(error)))
    bad = slot("mallory", FIRST, message=POISON)
    wait(layout, slot("mallory", FIRST + 300), bad, slot("mallory", FIRST + 600), slot("attic", FIRST))
    outcome = ingest.ingest(layout)
    assert (outcome.added, outcome.waiting) == (3, 0)
    assert not list(layout.inbox.glob("*/*"))
    assert bad["run_id"] not in {run_id for _, run_id, *_ in stored(layout)}
    (reason,) = layout.quarantine.glob("mallory/*.reason")
    assert type(error).__name__ in reason.read_text()
    assert POISON in reason.with_name(reason.name.removesuffix(".reason")).read_text()
    assert not (layout.state / "taking").exists()
    assert not (layout.state / "suspects.json").exists()
    assert "node mallory: 1 delivery lies in quarantine" in fleet(layout, capsys)["problems"][0]


def test_a_batch_that_cannot_be_written_is_tried_file_by_file(layout, monkeypatch):
    original = ingest.store.commit

    def commit(of, verb, batch):
        if POISON in batch["message"].to_pylist():
            raise MemoryError
        return original(of, verb, batch)

    monkeypatch.setattr(ingest.store, "commit", commit)
    wait(
        layout,
        slot("attic", FIRST),
        slot("mallory", FIRST, message=POISON),
        *(slot("shed", FIRST + n) for n in range(9)),
    )
    assert ingest.ingest(layout).added == 10
    assert not list(layout.archive.rglob(".*.tmp"))
    assert [file.parent.name for file in layout.quarantine.glob("*/*.reason")] == ["mallory"]


def test_a_full_disk_is_no_files_fault(layout, monkeypatch):
    wait(layout, slot("attic", FIRST))
    with monkeypatch.context() as patch:
        patch.setattr(ingest.store, "commit", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for _ in range(4):
            with pytest.raises(OSError, match="No space"):
                ingest.ingest(layout)
    with monkeypatch.context() as patch:
        patch.setattr(ingest.store, "commit", lambda *_: (_ for _ in ()).throw(StorageError("a later version")))
        with pytest.raises(StorageError):
            ingest.ingest(layout)
    assert ingest.ingest(layout).added == 1
    assert aside.of(layout) == {}


KILLED = """
import os, sys
sys.path[:0] = [{folder!r}, {tests!r}, {source!r}]
from pathlib import Path
from test_set_aside import poisoned
from speedtest_logger.archive.arrive import chunks
from speedtest_logger.archive.write import ingest
from speedtest_logger.archive.format.layout import Layout
chunks.read = poisoned(chunks.read, lambda: os.kill(os.getpid(), 9))
outcome = ingest.ingest(Layout(Path(sys.argv[1])))
print(outcome.added)
"""


def test_a_file_that_kills_ingest_is_alone_at_last_and_then_set_aside(layout):
    code = KILLED.format(folder=str(Path(__file__).parent), tests=str(ROOT / "tests"), source=str(ROOT / "src"))
    for n in range(3):
        wait(layout, slot("mallory", FIRST + n))
    wait(layout, slot("mallory", FIRST + 9, message=POISON), slot("zoe", FIRST))
    ended, there = [], []
    for turn in range(4):
        wait(layout, slot("attic", FIRST + turn))
        done = subprocess.run([sys.executable, "-c", code, layout.root], capture_output=True, text=True, check=False)
        ended.append(done.returncode)
        there.append(len(stored(layout)))
    assert ended == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGKILL, 0], done.stderr
    assert there == [0, 2, 3 + 1 + 3, 4 + 1 + 3]  # then attic's, attic's, zoe's and mallory's others
    assert [file.parent.name for file in layout.quarantine.glob("*/*.reason")] == ["mallory"]
    assert not list(layout.inbox.glob("*/*"))


LITTLE_MEMORY = """
import resource, sys
sys.path[:0] = [{source!r}]
from speedtest_logger import light
light.start()
from pathlib import Path
from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.write import ingest
from speedtest_logger.archive.format.layout import Layout
now = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (now + 60_000_000, resource.RLIM_INFINITY))
print(ingest.ingest(Layout(Path(sys.argv[1]))).added)
"""


def test_with_little_memory_a_large_file_is_set_aside_and_the_others_come_in(layout):
    folder = layout.inbox / "mallory"
    folder.mkdir()
    line = json.dumps(slot("mallory", FIRST, message="x" * 900)).encode() + b"\n"
    (folder / "01.jsonl").write_bytes(line * 60_000)
    wait(layout, slot("attic", FIRST), slot("shed", FIRST))
    code = LITTLE_MEMORY.format(source=str(ROOT / "src"))
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code, layout.root], capture_output=True, text=True, check=False)
        assert {node for node, *_ in stored(layout)} >= {"attic", "shed"}, done.stderr
    assert not list(layout.inbox.glob("*/*"))
    assert [file.parent.name for file in layout.quarantine.glob("*/*.reason")] == ["mallory"]


def test_a_node_with_too_much_aside_keeps_its_place_in_the_inbox(layout, monkeypatch):
    monkeypatch.setattr(chunks, "read", poisoned(chunks.read, raising(MemoryError())))
    monkeypatch.setattr(ingest, "MB", 20)  # 256 times: room for one file
    for turn in range(2):
        wait(layout, slot("mallory", FIRST + turn, message=POISON), slot("attic", FIRST + turn))
        outcome = ingest.ingest(layout)
        assert outcome.added == 1
    assert "the quarantine of its node is full" in outcome.damaged[0]
    assert len(list(layout.inbox.glob("mallory/*"))) == 1


def raw_lines(layout, node, lines, name="01.jsonl"):
    folder = layout.raw_inbox / node
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(map(as_line, lines)))


def words(run, day, content=b"{}"):
    packed = json.loads(wire.to_line("", content))["content"]
    return {"run_id": run, "started_at": f"2026-01-{day:02d}T00:00:00.000Z", "content": packed}


def test_raw_output_that_fails_is_set_aside_too(layout, monkeypatch, capsys):
    original = raw.parsed

    def parsed(line):
        if POISON.encode() in line:
            raise MemoryError
        return original(line)

    monkeypatch.setattr(raw, "parsed", parsed)
    raw_lines(layout, "mallory", [words(POISON, 1), words("one", 1)])
    raw_lines(layout, "attic", [words("one", 1)])
    assert ingest.ingest(layout).raw == 1
    assert not list(layout.raw_inbox.glob("*/*"))
    assert "1 delivery lies in quarantine" in fleet(layout, capsys)["problems"][0]


def test_raw_output_has_bounds_by_day_and_at_rest_and_a_repetition_is_no_excess(layout, monkeypatch, capsys):
    monkeypatch.setattr(raw, "MB", 1000)  # a day has 64,000 bytes, a node 2,000,000
    monkeypatch.setattr(raw, "UNPACKED_BYTES", 20_000)
    many = [words(f"run-{n:03d}", 1, os.urandom(500) * 2) for n in range(100)]
    raw_lines(layout, "mallory", many)
    raw_lines(layout, "attic", [words("run-000", 1)])
    taken = ingest.ingest(layout).raw - 1
    assert 60 <= taken <= 66
    raw_lines(layout, "mallory", many[:taken])
    assert ingest.ingest(layout).raw == 0
    assert aside.of(layout)["mallory"].counted["raw_limit"]["count"] == 100 - taken
    assert "raw output was not kept" in fleet(layout, capsys)["problems"][0]
    monkeypatch.setattr(raw.Bounds, "of", classmethod(lambda cls, _: cls(64_000, 1)))
    raw_lines(layout, "attic", [words("later", 2)])
    assert ingest.ingest(layout).raw == 0


def test_the_words_of_a_record_that_lies_aside_are_not_the_stored_ones(layout):
    import hashlib

    one = slot("attic", FIRST, raw_sha256=hashlib.sha256(b"first").hexdigest())
    other = slot("attic", FIRST, raw_sha256=hashlib.sha256(b"second").hexdigest(), download_bps=2.0)
    put(layout, one)
    raw_lines(layout, "attic", [words(one["run_id"], 1, b"second")], "01.jsonl")
    assert (put(layout, other).different, len(layout.raw_files())) == (1, 0)
    assert cli.main(["--root", str(layout.root), "verify"]) == 0


def test_a_flood_of_months_comes_after_everybody_else_and_who_comes_meanwhile_is_let_in(layout, monkeypatch):
    monkeypatch.setattr(ingest, "SLICE_MONTHS", 30)
    wait(layout, *(slot("aaa", FIRST - n * 31 * 86_400) for n in range(100)), slot("zoe", FIRST))
    order = []
    original = ingest.store.commit

    def commit(of, verb, batch):
        order.append(sorted(set(batch["node"].to_pylist())))
        if len(order) == 2:
            wait(layout, slot("attic", FIRST))
        return original(of, verb, batch)

    monkeypatch.setattr(ingest.store, "commit", commit)
    outcome = ingest.ingest(layout)
    assert (outcome.added, outcome.waiting) == (102, 0)
    assert order == [["zoe"], ["aaa"], ["attic"], ["aaa"], ["aaa"], ["aaa"]]
    assert not list(layout.inbox.glob("*/*"))
