"""Many hosts asked at once: what a host does can neither stop nor fill the run that asks."""

from __future__ import annotations

import json
import time

import pytest
from builders import load

from plugins import connections
from plugins.hosts import due_hosts, observed, silent_hosts

ANSWER = b"import json\nprint(json.dumps({'now': 1.0}))\n"


def shell(command):
    return ["/bin/sh", "-c", command]


def test_each_host_has_its_own_answer():
    names = ("a", "b", "c")
    programs = {name: f"import json\nprint(json.dumps({{'msg': {name!r}}}))\n".encode() for name in names}
    questions = [connections.Question(name, shell("python3 -IS -"), programs[name]) for name in names]
    assert connections.ask_all(questions, 60) == {name: {"msg": name} for name in names}
    assert connections.ask_all([], 60) == {}


def test_a_host_answers_while_the_next_question_is_made(tmp_path):
    def questions():
        yield connections.Question("first", shell(f"python3 -IS -; touch {tmp_path}/answered"), ANSWER)
        deadline = time.monotonic() + 60
        while not (tmp_path / "answered").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield connections.Question("second", shell("python3 -IS -"), ANSWER)

    assert connections.ask_all(questions(), 60) == {"first": {"now": 1.0}, "second": {"now": 1.0}}


def test_a_host_that_does_not_end_is_left_alone_in_time():
    began = time.monotonic()
    slow = connections.Question("slow", shell("cat >/dev/null; exec sleep 98765"), ANSWER)
    answers = connections.ask_all([slow, connections.Question("well", shell("python3 -IS -"), ANSWER)], 5)
    assert time.monotonic() - began < 600  # it sleeps for a day
    assert answers["slow"]["timedout"] == {"period": 5}
    assert answers["slow"]["failed"]
    assert answers["well"] == {"now": 1.0}


def test_a_way_that_is_not_there_is_one_host_s_problem():
    lost = connections.Question("lost", ["/no/such/program"], ANSWER)
    answers = connections.ask_all([lost, connections.Question("well", shell("python3 -IS -"), ANSWER)], 60)
    assert answers["lost"]["failed"]
    assert answers["well"] == {"now": 1.0}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo Permission denied >&2; exit 255", {"unreachable": True}),
        ("exit 127", {"failed": True}),
        ("echo nonsense", {"failed": True}),
        ("head -c 100000 /dev/zero | tr '\\0' '['", {"failed": True}),  # deeper than Python goes
        ("""echo '{"ansible_facts": {"x": 1}}'""", {"failed": True}),  # not what was asked for
        ("""python3 -c 'print("{\\"notes\\": " + "[" * 300 + "]" * 300 + "}")'""", {"failed": True}),
        ("""python3 -c 'print("{\\"notes\\": [" + "0," * 300000 + "0]}")'""", {"failed": True}),
        ("timeout 3 yes >&2", {"failed": True}),  # words without end, and no answer
    ],
)
def test_what_is_no_answer_says_so(command, said):
    answer = connections.ask(shell(f"{command}"), ANSWER, 20)
    assert said.items() <= answer.items()
    assert len(json.dumps(answer)) < 40_000


def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(connections, "LARGEST_ANSWER", 1_000_000)
    assert connections.ask(shell("exec yes"), ANSWER, 60)["failed"]


OS = {"id": "debian", "version_id": "13", "dpkg": "amd64", "python": "3.13.5", "systemd": 257}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"os": []},
        {"os": {**OS, "python": "three"}},
        {"os": {**OS, "systemd": "x"}},
        {"os": OS, "paths": []},
        {"os": OS, "paths": {"/x": "text"}, "links": {}, "folders": {}, "units": [], "packages": {}},
    ],
)
def test_an_answer_of_another_form_is_refused_and_ends_no_run(answer):
    look = load("plugins/action/fleet_look.py")
    wanted = {"files": [{"path": "/x", "content": "", "owner": "root", "group": "root", "mode": "0644"}]}
    with pytest.raises(look.NO_ANSWER):
        look.brief(wanted, {}, answer)


def test_whose_roles_have_something_to_do():
    groups = {
        "speedtest_nodes": ["b", "a", "c"],
        "speedtest_archive": ["a"],
        "due_speedtest_nodes": ["a", "b"],
        "due_speedtest_archive": ["a"],
    }
    assert due_hosts(groups, "speedtest_nodes") == ["b", "a"]
    assert due_hosts(groups, "speedtest_archive", "speedtest_nodes") == ["a", "b"]
    assert due_hosts(groups, "speedtest_targets") == []
    assert due_hosts({"speedtest_nodes": ["a"]}, "speedtest_nodes") == []


def test_silent_are_those_of_the_groups_that_have_said_nothing_whoever_knows_of_it():
    groups = {"speedtest_nodes": ["b", "a", "c"], "speedtest_archive": ["a"]}
    hostvars = {"b": {}, "a": {"fleet_look": {"silent": ["a", "b", "elsewhere"]}}, "c": {}}
    assert silent_hosts(hostvars, groups, "speedtest_nodes") == ["b", "a"]
    assert silent_hosts(hostvars, groups, "speedtest_archive", "speedtest_nodes") == ["a", "b"]
    assert silent_hosts(hostvars, groups, "speedtest_targets") == []
    assert silent_hosts({"a": {}, "b": {}, "c": {}}, groups, "speedtest_nodes") == []
    assert silent_hosts({}, groups, "speedtest_nodes") == []  # of a syntax check


def test_what_a_role_has_seen_goes_before_what_the_look_has_seen():
    look = {"hosts": {"a": {"speedtest_logger": {"plan": {"drift": ["look"]}}}}}
    role = {"plan": {"drift": []}}
    assert observed({"a": {"fleet_look": look}}, "a", "speedtest_logger")["plan"]["drift"] == ["look"]
    both = {"a": {"fleet_look": look, "speedtest_logger_observed": role}}
    assert observed(both, "a", "speedtest_logger") == role
    failed = {"a": {"fleet_look": look, "speedtest_logger_observed": {"unreachable": True}}}
    assert observed(failed, "a", "speedtest_logger")["plan"]["drift"] == ["look"]
    assert observed({"a": {}}, "a", "speedtest_logger") == {}
