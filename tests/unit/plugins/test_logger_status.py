"""A node's status by its state files: the same as its program's, and only where that could tell nothing more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from builders import ROOT, load
from desired_states import wanted
from hypothesis import given
from hypothesis import strategies as st

from plugins.desired import logger_status
from plugins.desired.logger_container import COMMAND
from plugins.desired.observation import request_of, together
from speedtest_logger import __version__, env_file
from speedtest_logger.node import config, status
from speedtest_logger.node.spool import FOLDERS, Spool

host_state = load("plugins/modules/host_state.py")
fleet_look = load("plugins/action/fleet_look.py")
fleet_status = load("plugins/filter/status.py")
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
        if item["path"] == logger_status.env_file(its.values["config_dir"]):
            (tmp_path / "config/logger.env").write_text(item["content"])
    spool = Spool(tmp_path / "state")
    spool.prepare()
    for name, content in STATES.items():
        spool.write_state(name, content)
    asked = logger_status.instead(its)
    command = str(tmp_path / "speedtest-logger")
    Path(command).symlink_to(asked[COMMAND]["links"].pop(COMMAND))
    asked[COMMAND]["links"][command] = f"{current}/bin/speedtest-logger"
    asked[COMMAND]["trees"] = {str(release): host_state.tree_state(str(release))}
    return its, asked


def read(asked):
    """What the module has read instead of running the program; None where it would be run."""
    seen = host_state.look({"instead": asked, "programs": [[COMMAND, "status", "--json"], ["echo", "besides"]]})
    assert seen["programs"]["echo"] == "besides"
    assert (COMMAND in seen["programs"]) == (COMMAND not in seen["instead"])
    return seen["instead"].get(COMMAND)


def test_the_files_tell_what_the_program_would(node):
    its, asked = node
    said = logger_status.printed(its, read(asked), NOW)
    settings = config.load(env_file.read(Path(logger_status.program(its.values["config_dir"])[2])))
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
    with pytest.raises(NotImplementedError, match="deferred"):  # it is of records that wait
        logger_status.reader({})("deferred")


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


def lead_elsewhere(place):
    (place / "speedtest-logger").unlink()
    (place / "speedtest-logger").symlink_to("/bin/true")


def close_release(place):
    (place / f"install/releases/{__version__}/speedtest_logger").chmod(0o700)


def close_module(place):
    (place / f"install/releases/{__version__}/speedtest_logger/__init__.py").chmod(0o640)


def have_measured_nothing(place):
    (place / "state/state/last_record.json").unlink()


def have_root_s_record(place):
    os.chown(place / "state/state", 65534, 65534)


def have_another_name(place):
    os.link(place / "state/state/push.json", place / "elsewhere")


def be_a_directory(place):
    (place / "state/state/rests.json").unlink()
    (place / "state/state/rests.json").mkdir()


def be_a_pipe(place):
    (place / "state/state/rests.json").unlink()
    os.mkfifo(place / "state/state/rests.json")


def be_large(place):
    (place / "state/state/rests.json").write_text(json.dumps({"a": "x" * host_state.LARGEST_STATES}))


def be_no_text(place):
    (place / "state/state/usage.json").write_bytes(b'{"month": "2026-09", "bytes": 5, "x": "\xff"}')


def have_a_mark_of_byte_order(place):
    (place / "state/state/usage.json").write_bytes(b'\xef\xbb\xbf{"month": "2026-09", "bytes": 5}')


def be_of_wide_characters(place):
    (place / "state/state/usage.json").write_bytes('{"month": "2026-09"}'.encode("utf-16-le"))


CHANGES = [
    grow_record,
    grow_refused,
    grow_link,
    lose_folder,
    be_elsewhere,
    get_other_settings,
    get_other_release,
    break_release,
    close_release,
    close_module,
    lead_elsewhere,
    have_measured_nothing,
    have_root_s_record,
    have_another_name,
    be_a_directory,
    be_a_pipe,
    be_large,
    be_no_text,
    have_a_mark_of_byte_order,
    be_of_wide_characters,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_node_that_is_not_as_it_should_be_is_asked_by_its_program(node, tmp_path, change):
    _, asked = node
    assert read(asked) is not None
    change(tmp_path)
    assert read(asked) is None


def test_a_folder_of_very_many_files_is_not_looked_through(node, tmp_path, monkeypatch):
    _, asked = node
    monkeypatch.setattr(host_state, "MOST_ENTRIES", 2 * len(STATES))
    for number in range(2 * len(STATES)):
        (tmp_path / f"state/raw/{number}").touch()
    assert read(asked) is not None
    (tmp_path / "state/raw/another").touch()
    assert read(asked) is None


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


@pytest.fixture(scope="module")
def its(here):
    return wanted("speedtest_logger", here, state="present")


def of(its, found):
    """Texts of all state files, none but those found."""
    folder = its.values["state_dir"]
    return {logger_status.state_file(folder, name): found.get(name) for name in status.STATES}


def table_of(said):
    """The fleet's table of a node whose program said so."""
    seen = {"plan": {"drift": []}, "programs": {COMMAND: said}}
    return fleet_status.fleet_status(
        {"attic": {"speedtest_logger_observed": seen}}, {"speedtest_nodes": ["attic"]}, ["attic"], NOW
    )["table"]


@given(st.dictionaries(st.sampled_from(status.STATES), TEXTS | LIKE_RECORDS))
def test_whatever_a_node_writes_the_table_comes(its, found):
    assert len(table_of(logger_status.printed(its, of(its, found), NOW))) == 2


@given(ANYTHING | st.dictionaries(st.sampled_from(["node", "problems", "next_slot", "last_record"]), ANYTHING))
def test_whatever_a_node_says_the_table_comes(said):
    assert len(table_of(json.dumps(said))) == 2


@pytest.mark.parametrize("change", [{"status": ["x"]}, {"reason": {"a": 1}}, {"download_bps": 10**400}])
def test_a_record_without_sense_is_said_of_its_node(its, change):
    said = logger_status.printed(its, of(its, {"last_record": json.dumps({**RECORD, **change})}), NOW)
    assert "UNREAD" in table_of(said)[1]


@pytest.mark.parametrize("now", [1e17, 10**400, float("nan"), float("inf"), None, "now", []])
def test_a_time_without_sense_is_no_answer(its, now):
    assert logger_status.printed(its, of(its, {}), now) is None


def test_texts_of_another_form_are_no_answer(its):
    assert logger_status.printed(its, of(its, {}), NOW) is not None
    assert logger_status.printed(its, {}, NOW) is None
    assert logger_status.printed(its, [], NOW) is None
    assert logger_status.printed(its, dict.fromkeys(of(its, {}), 5), NOW) is None
    large = json.dumps({"a": "x" * host_state.LARGEST_STATES})
    assert logger_status.printed(its, of(its, {"usage": large}), NOW) is None


class Asking:
    """The parts of the action that say what is asked, as status.yml calls it."""

    class Task:
        """Its arguments."""

        args: ClassVar = {"programs": {"speedtest_logger": [[COMMAND, "status", "--json"]]}}

    _task = Task
    hostvars: ClassVar = {"attic": {}, "shed": {"speedtest_logger_config_dir": "/etc/elsewhere"}}
    besides = fleet_look.ActionModule.besides


def test_files_are_judged_where_they_were_asked_for_and_only_there(its):
    besides = Asking().besides("speedtest_logger", its, "attic")
    request = together(request_of(its, besides), request_of(None, {"programs": [["other"]]}))
    assert request["instead"] == logger_status.instead(its)
    assert [argv for argv in request["programs"] if argv[0] == COMMAND] == [
        [COMMAND, "--env-file", "/etc/speedtest-telemetry/logger.env", "status", "--json"]
    ]
    system = {"id": "debian", "version_id": "13", "dpkg": "amd64", "python": "3.13.5", "systemd": 257}
    answer = {**host_state.look(request_of(its, {})), "os": system, "instead": {COMMAND: of(its, {})}, "now": NOW}
    assert json.loads(fleet_look.brief(its, besides, answer)["programs"][COMMAND])["problems"] == []
    assert COMMAND not in fleet_look.brief(its, {"programs": []}, answer)["programs"]
    for wrong in ([], None, {COMMAND: 5}, {COMMAND: {"a": 1}}):
        try:
            said = fleet_look.brief(its, besides, {**answer, "instead": wrong})["programs"].get(COMMAND)
        except fleet_look.NO_ANSWER:
            said = None
        assert said is None


def test_each_node_is_asked_by_its_own_settings_whatever_is_known_of_the_fleet():
    asked = {host: Asking().besides("speedtest_logger", None, host)["programs"][0][2] for host in Asking.hostvars}
    assert asked == {"attic": "/etc/speedtest-telemetry/logger.env", "shed": "/etc/elsewhere/logger.env"}


def test_an_answer_of_very_many_values_is_none(its):
    system = {"id": "debian", "version_id": "13", "dpkg": "amd64", "python": "3.13.5", "systemd": 257}
    answer = {**host_state.look(request_of(its, {})), "os": system}
    assert fleet_look.brief(its, {}, answer)["system"]["id"] == "debian"
    with pytest.raises(ValueError, match="more than 5000 values"):
        fleet_look.brief(its, {}, {**answer, "notes": [[]] * 10_000})


def test_a_node_under_another_name_is_no_other_node():
    seen = {"plan": {"drift": []}, "programs": {COMMAND: json.dumps({"node": "-", "problems": []})}}
    made = fleet_status.fleet_status(
        {"attic": {"speedtest_logger_observed": seen}}, {"speedtest_nodes": ["attic"]}, ["attic"], NOW
    )
    assert made["table"][1].startswith("attic ")
    assert made["problems"] == ["attic: it calls itself -, and the inventory attic"]


def test_problems_before_an_answer_without_sense_are_told_too():
    state = {"problems": ["one", "two"], "backup": None, "nodes": {}}
    seen = {"plan": {"drift": []}, "programs": {"/usr/local/bin/speedtest-archive": json.dumps(state)}}
    hostvars = {"arc": {"speedtest_archive_observed": seen, "speedtest_archive_backup_repository": "/mnt/x"}}
    made = fleet_status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"], NOW)
    assert [words.partition(": ")[2] for words in made["problems"][:2]] == ["one", "two"]
    assert "makes no sense" in made["problems"][2]


@pytest.mark.parametrize("problems", ["words", {"a": 1}, 5])
def test_problems_that_are_no_list_are_no_problems(problems):
    assert "UNREAD" in table_of(json.dumps({"problems": problems}))[1]


@pytest.mark.parametrize("lock", ["x", {"before": "x"}, {"before": {"since": 1}}, None])
def test_a_lock_without_sense_is_none(lock):
    assert fleet_status.under_way("arc", {"lock": lock}) == []
