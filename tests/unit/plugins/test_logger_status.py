"""A node's status by its state files: the same as its program's, and only where that could tell nothing more."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from builders import ROOT, load
from desired_states import wanted
from hypothesis import given
from hypothesis import strategies as st

from plugins.desired import logger_status
from plugins.desired.logger_container import COMMAND
from speedtest_logger import __version__, env_file
from speedtest_logger.node import config, status
from speedtest_logger.node.spool import FOLDERS, Spool

host_state = load("plugins/modules/host_state.py")
NOW = 1_790_000_000.0
RECORD = {
    "run_id": "0e8b3e6e-0000-5000-8000-000000000000",
    "scheduled_at": "2026-09-21T13:00:07.000Z",
    "started_at": "2026-09-21T13:00:07.000Z",
    "finished_at": "2026-09-21T13:00:17.000Z",
    "status": "failed",
    "reason": "server_unreachable",
    "message": "no answer",
    "engine": "iperf3",
    "download_bps": None,
    "upload_bps": 1e6,
    "latency_ms": 3.25,
}
STATES = {
    "last_record": RECORD,
    "usage": {"month": "2026-09", "bytes": 12_000},
    "rests": {"iperf3": {"until": NOW + 5}, "ookla": {"until": NOW - 5}},
    "deferred": {"reasons": {"a": {"records": 3, "text": "later"}}},
    "push": {"at": "2026-09-21T13:01:00.000Z", "message": "refused", "failures": 2, "not_before": NOW + 60},
    "last_receipt": {"at": "2026-09-21T12:00:20.000Z"},
    "probes": {"results": [{"probe": "dns"}]},
}


@pytest.fixture
def node(here, tmp_path):
    """A node that is as it should be, with each of its state files; what is wanted of it, and what is read instead."""
    places = {f"{name}_dir": str(tmp_path / name) for name in ("install", "config", "state", "log")}
    its = wanted("speedtest_logger", here, **places, probes=["dns"], archive_address="192.0.2.9", state="present")
    release, current = tmp_path / "install/releases" / __version__, tmp_path / "install/current"
    (release / "speedtest_logger").mkdir(parents=True)
    shutil.copy(ROOT / "src/speedtest_logger/__init__.py", release / "speedtest_logger")
    current.symlink_to(release)
    (tmp_path / "config").mkdir()
    for item in its.desired["files"]:
        if item["path"] == f"{tmp_path}/config/logger.env":
            (tmp_path / "config/logger.env").write_text(item["content"])
    spool = Spool(tmp_path / "state")
    spool.prepare()
    for name, content in STATES.items():
        spool.write_state(name, content)
    asked = logger_status.instead(its)
    del asked[COMMAND]["links"][COMMAND]  # this machine has none
    asked[COMMAND]["trees"] = {str(release): host_state.tree_state(str(release))}
    return its, asked


def read(asked):
    """What the module has read instead of running the program; None where it would be run."""
    seen = host_state.look({"instead": asked, "programs": [[COMMAND, "status", "--json"]]})
    assert (COMMAND in seen["programs"]) == (COMMAND not in seen["instead"])
    return seen["instead"].get(COMMAND)


def test_the_files_tell_what_the_program_would(node, tmp_path):
    its, asked = node
    said = logger_status.printed(its, read(asked), NOW)
    settings = config.load(env_file.read(tmp_path / "config/logger.env"))
    by_program = status.status(settings, NOW)
    assert json.loads(said) == by_program
    assert [text for text in by_program["problems"] if "server_unreachable" in text]
    assert [text for text in by_program["problems"] if "tried 2 times" in text]
    assert by_program["engines_resting"] == ["iperf3"]


def test_no_state_is_read_that_was_not_asked_for(node):
    its, asked = node
    assert set(STATES) == set(status.STATES)
    assert sorted(FOLDERS) == sorted((*logger_status.EMPTY, *logger_status.PLAIN))
    fresh = logger_status.printed(its, dict.fromkeys(asked[COMMAND]["read"]), NOW)
    assert json.loads(fresh)["last_record"] is None


def grow_record(place):
    (place / "state/outbox/record.csv").touch()


def grow_refused(place):
    (place / "state/rejected/record.csv").touch()


def grow_link(place):
    (place / "state/raw/link").symlink_to("/etc/passwd")


def lose_folder(place):
    (place / "state/probes").rmdir()


def be_elsewhere(place):
    (place / "state/results").rmdir()
    (place / "state/results").symlink_to(place / "state/raw")
    os.lchown(place / "state", 65534, 65534)  # whose account could lead it anywhere


def get_other_settings(place):
    with (place / "config/logger.env").open("a") as file:
        file.write("#\n")


def get_other_release(place):
    (place / "install/current").unlink()
    (place / "install/current").symlink_to(place / "install")


def break_release(place):
    (place / f"install/releases/{__version__}/speedtest_logger/__init__.py").write_text("raise OSError")


CHANGES = [
    grow_record,
    grow_refused,
    grow_link,
    lose_folder,
    be_elsewhere,
    get_other_settings,
    get_other_release,
    break_release,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_node_that_is_not_as_it_should_be_is_asked_by_its_program(node, tmp_path, change):
    _, asked = node
    assert read(asked) is not None
    change(tmp_path)
    assert read(asked) is None


def test_what_takes_a_file_s_place_is_no_state(node, tmp_path):
    its, asked = node
    states = tmp_path / "state/state"
    for name, kind in zip(("usage", "rests", "push"), ("pipe", "directory", "large"), strict=True):
        file = states / f"{name}.json"
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)  # in `state` it would be a stranger, so that the program is asked
            assert read(asked) is None
            file.unlink()
        elif kind == "directory":
            file.mkdir()
        else:
            file.write_bytes(b'{"at": "' + b"x" * host_state.LARGEST_STATE + b'"}')
    texts = read(asked)
    assert [texts[f"{states}/{name}.json"] for name in ("usage", "rests", "push")] == [None, None, None]
    assert json.loads(logger_status.printed(its, texts, NOW))["month_bytes"] == 0


def test_only_a_node_of_this_release_is_told_by_files(here):
    present = {"state": "present"}
    assert logger_status.instead(wanted("speedtest_logger", here, **present))
    assert not logger_status.instead(wanted("speedtest_logger", here, **present, wanted="0.0.1", kept=True))
    assert not logger_status.instead(wanted("speedtest_logger", here, state="absent"))
    in_container = logger_status.instead(wanted("speedtest_logger", here, **present, runtime="compose"))
    assert COMMAND in in_container[COMMAND]["files"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECORD, "at", "reasons"]), inner),
    max_leaves=10,
)
TEXTS = st.none() | st.text() | ANYTHING.map(json.dumps) | st.sampled_from(["[" * 100_000, "9" * 5000, '{"status":'])
LIKE_RECORDS = st.dictionaries(st.sampled_from([*RECORD]), ANYTHING).map(lambda found: json.dumps({**RECORD, **found}))


@given(st.dictionaries(st.sampled_from(status.STATES), TEXTS | LIKE_RECORDS))
def test_whatever_a_node_writes_ends_no_run(its, found):
    texts = {logger_status.state_file("/var/lib/speedtest-telemetry", name): None for name in status.STATES}
    texts |= {logger_status.state_file("/var/lib/speedtest-telemetry", name): text for name, text in found.items()}
    said = logger_status.printed(its, texts, NOW)
    assert said is None or isinstance(json.loads(said)["problems"], list)


@pytest.fixture(scope="module")
def its(here):
    return wanted("speedtest_logger", here, state="present")


def test_texts_of_another_form_are_no_answer(its):
    assert logger_status.printed(its, {}, NOW) is None
    assert logger_status.printed(its, [], NOW) is None
    assert logger_status.printed(its, dict.fromkeys(logger_status.instead(its)[COMMAND]["read"], 5), NOW) is None
