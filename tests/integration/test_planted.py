"""A service account plants something else than a file at every name that the programs use; then root runs them.

The names are those that are there on a populated node and archive, and those that the programs asked for while they ran
(audit events): nobody has to think of them. Nothing hangs, nothing outside is read or changed, memory stays small.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import sys
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from builders import REPLAY_IPERF3
from tries import FACTOR

from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format import layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.node import cli as logger
from speedtest_logger.node import config, doctor, measure
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import Record, utc_text

LOADED = ("archive.care.backup", "archive.care.restore", "archive.care.verify", "archive.read.exporters")
LOADED += ("archive.report.page", "archive.report.report", "engines.iperf3", "node.status")
SECONDS = 60  # for all verbs on one name, on a machine that has other things to do
MOST_MEMORY_MB = 250  # that the verbs may add
SECRET = "the content of somebody else's file"
LINK = "a link"
OTHERS = ("a pipe", "a socket", "a device", "a directory", "a huge file")
# what Python's own libraries ask of a name, with nothing of it opened; a rename has two
BY_NAME = ("access", "chmod", "chown", "lstat", "link", "listdir", "mkdir", "open", "readlink", "rename", "replace")
BY_NAME += ("rmdir", "stat", "truncate", "unlink", "utime")
ROOTS_OWN = ("archive/fleet/limits.env",)  # in a folder that only root writes to: nobody plants there
asked: list[str] = []


def ask(name, folder=None):
    """Remember a name, in the folder that is open under a number where one is given."""
    if isinstance(name, (str, bytes, os.PathLike)):
        asked.append(os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder else "", os.fsdecode(name)))


class Entry(os.PathLike):
    """A name in a folder (os.DirEntry), which is asked for where more than the name is wanted."""

    def __init__(self, entry, folder):
        self.name, self.path, self.entry, self.folder = entry.name, entry.path, entry, folder

    def __fspath__(self):
        """As os.DirEntry has it."""
        return self.path

    def __getattr__(self, name):
        """is_dir, stat and their like."""
        ask(self.path, self.folder)
        return getattr(self.entry, name)


class Listing(AbstractContextManager):
    """What os.scandir returns, with such entries: both iterator and context manager."""

    def __init__(self, entries, folder):
        self.entries, self.folder = entries, folder

    def __iter__(self):
        """Itself."""
        return self

    def __next__(self):
        """The next entry."""
        return Entry(next(self.entries), self.folder)

    def __exit__(self, *_):
        """End of the listing."""
        self.close()

    def close(self):
        self.entries.close()


def watch():
    """Note each name that this process asks for from now on; who only lists a folder did not ask for what is in it."""
    sys.addaudithook(lambda event, args: ask(args[0]) if event == "open" else None)

    def watched(original):
        def call(*args, **kwargs):
            ask(args[0], kwargs.get("dir_fd") or kwargs.get("src_dir_fd"))
            for other in args[1:2]:
                ask(other, kwargs.get("dst_dir_fd"))
            return original(*args, **kwargs)

        return call

    scan = os.scandir

    def scandir(folder="."):
        ask(folder)
        return Listing(scan(folder), folder if isinstance(folder, int) else None)

    for name in BY_NAME:
        setattr(os, name, watched(getattr(os, name)))
    os.scandir = scandir


@pytest.fixture(scope="module", autouse=True)
def imported_once():
    """Hundreds of processes are forked here: none imports DuckDB and Jinja anew."""
    for name in LOADED:
        importlib.import_module(f"speedtest_logger.{name}")


@pytest.fixture(scope="module")
def populated(tmp_path_factory):
    """A node and an archive with something of everything in them."""
    folder = tmp_path_factory.mktemp("populated")
    node = folder / "node"
    spool = Spool(node)
    spool.prepare()
    settings = config.load(environment_of(folder))
    for number in range(3):
        record = measure.begin(settings, None, time.time() - 100 - number)
        spool.write(replace(record, engine="iperf3"))
        spool.write_raw(record.run_id, "iperf3", b"words")
    spool.write_state("last_record", record.to_row())
    for name in ("last_receipt", "usage", "rests", "last_slot", "push", "tidied", "versions", "loop"):
        spool.write_state(name, {})
    (node / "rejected/x.csv").write_text("x")
    (folder / "log").mkdir()
    (folder / "log/diag.log").touch()
    archive = layout.Layout(folder / "archive")
    archive.prepare()
    for at in (time.time() - 100, time.time() - 40 * 86_400):
        words = b"words"
        row = Record(
            run_id=str(uuid.uuid4()),
            node="attic",
            location="home",
            started_at=utc_text(at),
            finished_at=utc_text(at + 10),
            status="ok",
            engine="iperf3",
            download_bps=1e8,
            upload_bps=5e7,
            raw_sha256=hashlib.sha256(words).hexdigest(),
        ).to_row()
        deliver(archive, row)
        ingest.ingest(archive)
    deliver(archive, {**row, "run_id": str(uuid.uuid4())})
    for name in ("ingest", "verify", "backup", "backup-failure", "schedule"):
        (archive.state / f"{name}.json").write_text("{}")
    archive.fleet.mkdir(exist_ok=True)
    (archive.fleet / "schedule.json").write_text('{"nodes": {}}')
    archive.backups.mkdir(exist_ok=True)
    (archive.backups / "last.json").write_text("{}")
    (archive.backups / "failure.json").write_text("{}")
    return folder


def deliver(archive, row):
    receive.receive(archive, "attic", io.BytesIO(json.dumps(row).encode() + b"\n"), receive.Limits())


def environment_of(folder):
    return {
        "SPEEDTEST_NODE": "attic",
        "SPEEDTEST_LOCATION": "home",
        "SPEEDTEST_STATE_DIR": str(folder / "node"),
        "SPEEDTEST_LOG_FILE": str(folder / "log/diag.log"),
        "SPEEDTEST_ENGINES": "iperf3",
        "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1:9",
        "SPEEDTEST_OWN_SERVER_ALLOWED": "true",
        "SPEEDTEST_DISK_MIN_FREE_MB": "0",
        "SPEEDTEST_ARCHIVE_HOST": "127.0.0.1",
        "SPEEDTEST_ARCHIVE_RAW": "true",
    }


def commands(folder):
    """Everything that root runs by hand or through a playbook."""
    root = ["--root", str(folder / "archive")]
    node = [["status"], ["healthcheck"], ["measure"], ["push", "--force"], ["doctor"], ["config", "show"]]
    archive = [
        ["fleet"],
        ["query", "FROM records"],
        ["query", "SELECT count(*) FROM raw"],
        ["query", "--fresh", "SELECT count(*) FROM records"],
        ["nodes"],
        ["coverage"],
        ["verify"],
        ["verify", "--explain", "location=home/year=2026/month=01/speedtest.parquet"],
        ["report", "--location", "home", str(folder / "report.html")],
        ["export", "--format", "csv", str(folder / "rows.csv")],
        ["backup", "--stage"],
        ["backup", "--unstage"],
        ["restore"],
        ["gather"],
        ["prune", "--older-than", "3650d", "--raw-older-than", "3650d"],
        ["ingest"],
    ]
    return [(logger, words) for words in node] + [(cli, [*root, *words]) for words in archive]


def run_all(folder, path, chosen, heard=None):
    """Commands by number; what goes wrong is said and has an exit code. Nothing may be raised."""
    os.environ.update(environment_of(folder), PATH=path, RESTIC_REPOSITORY=str(folder / "repository"))
    known = commands(folder)
    for number in chosen:
        asked.clear()
        program, words = known[number]
        assert isinstance(program.main(words), int)
        if heard is not None:
            heard[number] = sorted(set(asked))


def in_a_process(act, said):
    """Run in a process of its own; returns its exit code or the signal that ended it, and its memory's growth in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pid = os.fork()
    if pid == 0:
        gc.freeze()  # whoever looks for garbage among what was imported copies all of its memory
        signal.alarm(SECONDS)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), (usage.ru_maxrss - before) / 1000


@pytest.fixture(scope="module")
def names(populated, tmp_path_factory):
    """Every name below a service's folders that is there or was asked for, and the commands that asked for it.

    What is read by libraries in C says nothing: a month of the archive has to do with all of them.
    """
    folder = tmp_path_factory.mktemp("watched") / "x"
    shutil.copytree(populated, folder)
    program = engine(tmp_path_factory.mktemp("bin"))

    def act():
        heard = {}
        watch()  # this process ends with it
        run_all(folder, program, range(len(commands(folder))), heard)
        Path(f"{folder}.asked").write_text(json.dumps(heard))

    code, _ = in_a_process(act, f"{folder}.said")
    assert code == 0, Path(f"{folder}.said").read_text()
    heard = {int(number): set(places) for number, places in json.loads(Path(f"{folder}.asked").read_text()).items()}
    there = {str(place) for place in folder.rglob("*")} | {p for places in heard.values() for p in places}
    found = {}
    for place in there:
        name = os.path.relpath(place, folder)
        if name.startswith(("node/", "log/", "archive/")) and not temporary(name) and name not in ROOTS_OWN:
            month = name.startswith("archive/archive/") and name.endswith(".parquet")
            found[name] = [number for number, places in heard.items() if month or place in places]
    return one_of_each_form(found)


def one_of_each_form(found):
    """Of names that differ in nothing but numbers, that which most commands asked for: a second run, month or slot."""
    kept = {}
    for name in sorted(found):
        form = re.sub(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27}|[0-9A-Z]{26}\.[0-9a-f]{64}|\d+", "N", name)
        if form not in kept or len(found[name]) > len(found[kept[form]]):
            kept[form] = name
    return {name: found[name] for name in kept.values()}


def temporary(name):
    """Names that are another one each time."""
    return any(part.endswith(".tmp") or part.startswith("reading-") for part in Path(name).parts)


def engine(folder):
    """A speed test that answers at once."""
    file = folder / "iperf3"
    file.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "iperf 3.12 (cJSON 1.7.15)"; exit 0; }}\n{REPLAY_IPERF3}\n'
    )
    file.chmod(0o755)
    ssh = folder / "ssh"
    ssh.write_text("#!/bin/sh\ncat >/dev/null; exit 255\n")
    ssh.chmod(0o755)
    sleep = folder / "restic"
    sleep.write_text("#!/bin/sh\nexit 1\n")
    sleep.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def plant(place, kind, secret):
    """Put something else under a name, as who owns the folder above it can."""
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(place.parent)  # a socket's path may be 107 bytes long
            made.bind(place.name)
    elif kind == "a device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == LINK:
        place.symlink_to(secret)
    elif kind == "a directory":
        place.mkdir()
        (place / "x").touch()
    else:
        with place.open("wb") as stream:
            stream.truncate(10_000_000_000)


def planted(names, kind):
    """Names at which a kind is planted: in the gate each has a link and one of the others in its turn, else all."""
    if kind == LINK or FACTOR > 1:
        return names
    return {name: names[name] for name in list(names)[OTHERS.index(kind) :: len(OTHERS)]}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", [LINK, *OTHERS])
def test_nothing_hangs_is_followed_or_read_whole(populated, names, kind, tmp_path, monkeypatch):
    assert len(names) > 40, names
    program, here = engine(tmp_path), os.getcwd()
    monkeypatch.setattr(measure, "tidy", lambda *_: None)
    monkeypatch.setattr(doctor, "gateway", lambda: doctor.Finding("GATEWAY", True, "not asked"))  # it takes 2 s
    monkeypatch.setattr("speedtest_logger.node.push.FIRST_WAIT_SECONDS", 0)
    secret = tmp_path / "secret"
    for name, chosen in planted(names, kind).items():
        folder = tmp_path / "x"
        shutil.copytree(populated, folder)
        secret.write_text(SECRET)
        plant(folder / name, kind, secret)
        os.chdir(here)
        said = tmp_path / "said"
        code, memory = in_a_process(lambda folder=folder, chosen=chosen: run_all(folder, program, chosen), said)
        words = said.read_text(errors="replace")
        assert code == 0, f"{kind} at {name}: {code}\n{words[-3000:]}"
        assert SECRET not in words, f"{kind} at {name}"
        assert (secret.read_text(), secret.stat().st_uid) == (SECRET, 0), f"{kind} at {name}"
        assert memory < MOST_MEMORY_MB, f"{kind} at {name}: {memory} MB\n{words[-3000:]}"
        shutil.rmtree(folder)
