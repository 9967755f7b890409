"""A real cluster over a real object store: the answers of one DuckDB, whatever dies meanwhile, or a clear error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import forks
import pytest
from builders import ROOT, put
from clusters import Cluster, Gate, member
from hypothesis import HealthCheck, given, settings
from splits import QUESTIONS, ROWS, SPLIT, same
from stores import BUCKET, KEYS, PATIENCE, Server, server
from tries import some, tries

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import Archive, Scope, open_archive
from speedtest_logger.distributed import dask, published
from speedtest_logger.distributed.cache import FOLDER_VARIABLE
from speedtest_logger.distributed.dask import DaskEngine
from speedtest_logger.distributed.keys import FILES, read
from speedtest_logger.distributed.store import Store
from speedtest_logger.errors import DeliveryError, SpeedtestError, UsageError
from speedtest_logger.sinks import delta
from speedtest_logger.sinks.place import Place

NUMBER = os.getpid() % 250  # another run of these tests has another network
HERE, THERE = f"10.213.{NUMBER}.1", f"10.213.{NUMBER}.2"
NETWORK, LINK = f"speedtest-cut-{NUMBER}", f"spcut{NUMBER}"
IN_NETWORK = ("ip", "netns", "exec", NETWORK)
SOME = "SELECT location, count(*) AS n, median(download_bps) AS d FROM records GROUP BY location ORDER BY location"


class Forked(Cluster):
    """Who is in this network is forked from what has imported Dask."""

    def begun(self, before, what, environment, log):
        return super().begun(before, what, environment, log) if before else forks.Program(what, environment, log, log)


@dataclass
class Scene:
    """What there is."""

    cluster: Cluster
    gate: Gate
    place: Place
    archive: Archive
    store: Server

    def asked(self, sql: str) -> object:
        engine = DaskEngine(self.cluster.address, self.cluster.keys)
        return Store(self.place, engine, force=True, only_split=True).answer(sql, Scope())


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


@pytest.fixture(scope="module")
def network():
    """Another machine's network, whose cable can be pulled."""
    ip("netns", "del", NETWORK, check=False)
    ip("link", "del", LINK, check=False)
    ip("netns", "add", NETWORK)
    ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NETWORK)
    ip("address", "add", f"{HERE}/24", "dev", LINK)
    ip("link", "set", LINK, "up")
    for words in (
        ("address", "add", f"{THERE}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run([*IN_NETWORK, "ip", *words], check=True)
    yield
    ip("link", "del", LINK, check=False)
    ip("netns", "del", NETWORK, check=False)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, network):
    forks.start()
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "store").mkdir()
    layout = Layout(folder / "archive")
    layout.prepare()
    assert put(layout, *ROWS).added == len(ROWS)
    with server(folder / "store") as running, pytest.MonkeyPatch.context() as patch:
        address = running.address
        gate = Gate(address, HERE)
        patch.setattr(published, "FRAGMENT_BYTES", 1)
        patch.setattr(dask, "CONNECT_SECONDS", 4)
        options = {**KEYS, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}
        for name, value in options.items():
            patch.setenv(name, value)
        place = Place.of(f"s3://{BUCKET}/records")
        delta.Publisher(layout, place, 4).publish()
        behind = {**options, "AWS_ENDPOINT_URL": gate.address}  # workers only: while delta-rs waits no thread here runs
        with Forked(folder / "members", behind, host=HERE) as cluster:
            cluster.start("scheduler", host=HERE)
            start_workers(cluster)
            yield Scene(cluster, gate, place, open_archive(layout.root), running)
        gate.close()


def start_workers(cluster: Cluster) -> None:
    """One here, one in the other network; whoever is away, or ends now since it was silent, is started again."""
    ip("link", "set", LINK, "up")

    def start_those_away() -> None:
        for name, before, host in (("worker-1", (), HERE), ("worker-2", IN_NETWORK, THERE)):
            process = cluster.running.get(name)
            if process is None or process.poll() is not None:
                cluster.start(name, *before, host=host)

    cluster.wait_for(2, start_those_away)


@pytest.fixture
def whole(scene):
    """All members are there, before and after."""
    start_workers(scene.cluster)
    yield scene
    scene.gate.open.set()


class Asked:
    """A question in a thread of its own, whose parts are held back at the store."""

    def __init__(self, scene: Scene, sql: str = SOME) -> None:
        self.scene, self.sql = scene, sql
        self.answer: object = None
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.place = scene.place
        self.thread.start()

    def _ask(self) -> None:
        try:
            self.answer = self.scene.asked(self.sql)
        except SpeedtestError as error:
            self.answer = error

    def ended(self) -> object:
        """What came of it; prints how long after the fault, which is now."""
        fault = time.monotonic()
        self.thread.join(3 * PATIENCE)
        assert not self.thread.is_alive(), "it never came back"
        what = f"an error: {self.answer}" if isinstance(self.answer, SpeedtestError) else "answered"
        print(f"{time.monotonic() - fault:.1f} s after the fault: {what}")
        return self.answer


@pytest.fixture
def under_way(whole):
    """A question whose parts are with both workers, neither of which has an answer yet."""
    whole.gate.shut()
    asked = Asked(whole)
    whole.gate.holds(2)
    return asked


@pytest.fixture
def keeping(whole, tmp_path):
    """Both workers keep the files that they have read, here in one folder, which they share."""
    before, folder = whole.cluster.environment, tmp_path / "cache"
    folder.mkdir(mode=0o700)

    def begin_again(environment):
        whole.cluster.environment = environment
        for name in ("worker-1", "worker-2"):
            if name in whole.cluster.running:
                whole.cluster.kill(name)
        start_workers(whole.cluster)

    begin_again({**before, FOLDER_VARIABLE: str(folder)})
    yield whole
    whole.gate.open.set()
    begin_again(before)


@pytest.mark.sampled
def test_every_engine_gives_the_answer_of_the_archive(whole):
    for sql in some(SPLIT, 6):
        wanted = whole.archive.query(sql)
        same(Store(whole.place).answer(sql, Scope()), wanted)
        same(whole.asked(sql), wanted)


@settings(max_examples=tries(2), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=QUESTIONS)
def test_any_question_has_the_archives_answer(whole, sql):
    wanted = whole.archive.query(sql)
    same(Store(whole.place).answer(sql, Scope()), wanted)
    with suppress(UsageError):  # what cannot be split
        same(whole.asked(sql), wanted)


def test_a_worker_that_is_killed_costs_time_and_no_row(whole, under_way):
    whole.cluster.kill("worker-1")
    whole.gate.open.set()
    same(under_way.ended(), whole.archive.query(SOME))


def test_a_worker_that_is_killed_while_it_brings_files_costs_no_row_and_what_was_brought_needs_no_store(keeping):
    keeping.gate.shut()
    asked = Asked(keeping)
    keeping.gate.holds(2)
    keeping.cluster.kill("worker-1")
    keeping.gate.open.set()
    same(asked.ended(), keeping.archive.query(SOME))
    start_workers(keeping.cluster)
    keeping.gate.shut()  # for the workers: who asks reads the table's log elsewhere
    same(keeping.asked(SOME), keeping.archive.query(SOME))


def test_one_worker_answers_as_two_do(whole):
    whole.cluster.kill("worker-1")
    whole.cluster.wait_for(1)
    for sql in SPLIT[:4]:
        same(whole.asked(sql), whole.archive.query(sql))


def test_a_worker_that_falls_silent_costs_time_and_no_row(whole, under_way):
    ip("link", "set", LINK, "down")
    whole.gate.open.set()
    same(under_way.ended(), whole.archive.query(SOME))
    whole.cluster.kill("worker-2")


def test_a_scheduler_that_dies_is_an_error_and_its_next_one_answers(whole, under_way):
    whole.cluster.kill("scheduler")
    whole.gate.open.set()
    error = under_way.ended()
    assert isinstance(error, DeliveryError), error
    assert "asked again" in str(error)
    with pytest.raises(DeliveryError, match="does not answer"):
        whole.asked(SOME)
    whole.cluster.start("scheduler", host=HERE)
    for name in ("worker-1", "worker-2"):
        whole.cluster.kill(name)
    start_workers(whole.cluster)
    same(whole.asked(SOME), whole.archive.query(SOME))


def test_a_store_that_goes_away_is_an_error_and_no_short_answer(whole, under_way):
    before, whole.gate.store = whole.gate.store, ("127.0.0.1", 9)
    whole.gate.cut()
    whole.gate.open.set()
    error = under_way.ended()
    assert isinstance(error, SpeedtestError), error
    whole.gate.store = before
    same(whole.asked(SOME), whole.archive.query(SOME))


@pytest.mark.sampled
@pytest.mark.parametrize("kill", some([True, False], 2), ids=some(["killed", "stopped"], 2))
def test_a_store_that_is_restarted_meanwhile_costs_no_row(whole, under_way, kill):
    """What was asked of the one before is asked again, or the answer is an error: never a short one."""
    whole.store.stop(kill=kill)
    whole.gate.cut()
    whole.gate.open.set()
    whole.store.start()
    answer = under_way.ended()
    if not isinstance(answer, SpeedtestError):
        same(answer, whole.archive.query(SOME))
    same(asked_until_answered(whole), whole.archive.query(SOME))


def asked_until_answered(scene: Scene) -> object:
    """A store that has just been started answers in parts at first."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(SpeedtestError):
            return scene.asked(SOME)
        time.sleep(0.5)
    return scene.asked(SOME)


def test_a_client_that_is_no_member_is_refused(whole, tmp_path):
    stranger = member(tmp_path, "stranger")
    (stranger / FILES[2]).write_text((whole.cluster.folder / "client" / FILES[2]).read_text())
    with pytest.raises(DeliveryError, match="does not answer, or does not know"):
        DaskEngine(whole.cluster.address, read(stranger)).run([])


def test_a_member_cannot_let_others_in(whole, tmp_path):
    """A certificate signs itself only: one that a member has signed is nobody's."""
    mine, other = whole.cluster.folder / "client", tmp_path / "other"
    other.mkdir()
    ask = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=other"
    for words in (
        [*ask.split(), "-keyout", str(other / FILES[0]), "-out", str(other / "asked.pem")],
        [*("x509", "-req", "-in", str(other / "asked.pem"), "-CA", str(mine / FILES[1])),
         *("-CAkey", str(mine / FILES[0]), "-days", "9", "-out", str(other / FILES[1]))],
    ):  # fmt: skip
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    (other / FILES[2]).write_text((mine / FILES[2]).read_text())
    with pytest.raises(DeliveryError, match="does not answer, or does not know"):
        DaskEngine(whole.cluster.address, read(other)).run([])


def test_it_is_asked_as_the_how_to_types_it(whole):
    page = (ROOT / "docs/how-to/ask-from-many-machines.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    code = block.replace("s3://measurements/records", whole.place.address)
    given_path = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
    done = subprocess.run([sys.executable, "-c", code], env=given_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "garden" in done.stdout


def test_other_versions_are_refused_with_their_names(whole, monkeypatch):
    others = {**dask.versions(), "duckdb": "1.5.5", "python": "3.9"}
    monkeypatch.setattr(dask, "versions", lambda: others)
    with pytest.raises(UsageError, match=r"has python 3\.\d+ instead of 3\.9, duckdb .* instead of 1\.5\.5"):
        whole.asked(SOME)


def test_no_workers_are_said(whole):
    for name in ("worker-1", "worker-2"):
        whole.cluster.kill(name)
    whole.cluster.wait_for(0)
    with pytest.raises(DeliveryError, match="no worker"):
        whole.asked(SOME)


def test_the_command_asks_the_cluster(whole):
    start = "import sys; from speedtest_logger.archive.cli import main; sys.exit(main())"
    command = [
        *(sys.executable, "-c", start, "--root", str(whole.archive.layout.root), "query", SOME, "--format", "csv"),
        *("--store", whole.place.address, "--engine", whole.cluster.address, "--only-distributed"),
    ]
    given_keys = {
        **os.environ,
        "SPEEDTEST_CLUSTER_DIR": str(whole.cluster.folder / "client"),
        "PYTHONPATH": f"{ROOT}/src",
    }
    done = subprocess.run(command, env=given_keys, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "location,n,d"
    assert len(done.stdout.splitlines()) == whole.archive.query(SOME).num_rows + 1
