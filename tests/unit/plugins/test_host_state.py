"""host_state: what it sees; and among hostile accounts and after killed runs what it follows, refuses and owes."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import builders
import pytest
import yaml
from builders import ROOT, load

from plugins.desired import plan as planning

module = load("plugins/modules/host_state.py")
ATTRIBUTES = {"owner": "root", "group": "root", "mode": "0644"}
UNIT = "/etc/systemd/system/x.timer"


def seen(**changes):
    return builders.seen(**{"now": 1000.0, **changes})


def found(kind: str, **changes):
    return {"kind": kind, **ATTRIBUTES, "owner": "mallory", "safe": False, "hard_links": 1, **changes}


@pytest.fixture
def notes(monkeypatch):
    monkeypatch.setattr(module, "NOTES", [])
    module.walked.cache_clear()
    return module.NOTES


def plant(folder: Path) -> dict[str, str]:
    """One of everything that an account can put into a folder of its own: name -> kind."""
    (folder / "file").write_text("text")
    (folder / "directory").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    os.link(folder / "file", folder / "second")
    return {"file": "file", "directory": "directory", "link": "link", "pipe": "pipe", "socket": "socket"}


def test_what_can_be_asked_and_what_is_answered_is_said_once(capsys):
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    lists = {name for name, option in options.items() if option["type"] == "list"}
    assert lists == set(module.ASKED)
    assert set(options) - lists == {"docker", "patience", "instead"}
    module.main({})
    assert set(json.loads(capsys.readouterr().out)) == set(module.ANSWERS)


def test_what_the_module_reports_of_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"text")
    file.chmod(0o640)
    state = module.path_state(str(file))
    assert (state["kind"], state["mode"], state["size"]) == ("file", "0640", 4)
    assert (state["owner"], state["sha256"]) == (file.owner(), hashlib.sha256(b"text").hexdigest())


def test_what_the_module_reports_of_the_rest(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    assert module.path_state(str(tmp_path / "missing")) is None
    assert module.path_state(str(tmp_path))["kind"] == "directory"
    assert module.link_state(str(tmp_path / "link")) == "nowhere"
    assert module.text_of(str(tmp_path / "missing")) is None
    assert module.account_state("root")["home"] == "/root"
    assert module.account_state("nobody-of-this-name") is None
    assert module.output_of(["no-such-program"]) is None
    assert module.os_state()["id"]


def test_the_module_runs_on_an_old_python_too():
    """Targets may have Python 3.8: no newer syntax outside annotations."""
    ast.parse((ROOT / "plugins/modules/host_state.py").read_text(), feature_version=(3, 8))


def test_a_pattern_stands_for_units_that_are_loaded_or_enabled(monkeypatch):
    monkeypatch.setattr(module.glob, "glob", lambda _: ["/etc/systemd/system/multi-user.target.wants/server@2.service"])
    listed = "server@1.service loaded active running A server\n"
    monkeypatch.setattr(module, "output_of", lambda argv: listed if argv[1] == "list-units" else None)
    assert module.units_like("server@*.service") == ["server@1.service", "server@2.service"]


def test_every_kind_is_told_apart_and_nothing_is_opened_but_files(tmp_path, notes):
    kinds = plant(tmp_path)
    states = {name: module.path_state(str(tmp_path / name)) for name in kinds}
    assert {name: state["kind"] for name, state in states.items()} == kinds
    assert states["file"]["hard_links"] == 2
    assert states["link"]["target"] == "/etc/passwd"
    assert module.path_state("/dev/null")["kind"] == "device"
    before = time.monotonic()
    assert {name: module.text_of(str(tmp_path / name)) for name in kinds} == {**dict.fromkeys(kinds), "file": "text"}
    assert time.monotonic() - before < 60
    assert len(notes) == 4  # the link, the pipe, the socket and the directory were not read, and it is said


def test_a_link_is_followed_only_where_nobody_but_root_can_have_set_it(tmp_path, notes):
    assert module.text_of("/etc/os-release")  # a link of root's in a directory of root's
    (tmp_path / "way").symlink_to("/etc")
    assert module.text_of(str(tmp_path / "way/passwd")) is None
    assert module.path_state(str(tmp_path / "way/passwd"))["kind"] == "unreachable"
    assert module.link_state(str(tmp_path / "way/mtab")) is None
    assert "a link that is not root's" in notes[0]
    assert module.path_state("/etc/passwd")["safe"]
    assert not module.path_state(str(tmp_path / "way"))["safe"]


def test_a_file_that_is_too_large_is_not_read_and_that_is_said(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_READ", 3)
    (tmp_path / "file").write_text("text")
    assert module.text_of(str(tmp_path / "file")) is None
    assert "larger than" in notes[0]
    assert module.text_of(str(tmp_path / "missing")) is None
    assert len(notes) == 1  # what is not there needs no words


def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(notes, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 1)
    before = time.monotonic()
    assert module.output_of(["sh", "-c", "sleep 98765 & sleep 98765"]) is None
    assert time.monotonic() - before < 60  # it sleeps for a day
    assert notes == ["`sh -c sleep 98765 & sleep 98765` gave no answer in 1 s and was ended"]
    while [p for p in Path("/proc").glob("[0-9]*/cmdline") if read(p).startswith(b"sleep\x0098765")]:
        assert time.monotonic() - before < 120
        time.sleep(0.1)


def test_programs_run_while_the_module_looks(tmp_path, monkeypatch, capsys):
    sign = tmp_path / "sign"

    def looks(_: list[str]) -> dict[str, str]:
        deadline = time.monotonic() + 120
        while not sign.exists():
            assert time.monotonic() < deadline, "it has not begun"
            time.sleep(0.01)
        return {}

    monkeypatch.setattr(module, "package_versions", looks)
    module.main({"programs": [["sh", "-c", f"touch {sign}; echo said"], ["no-such-program"]]})
    assert json.loads(capsys.readouterr().out)["programs"] == {"sh": "said", "no-such-program": None}


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_program_that_prints_without_end_is_ended(notes, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_READ", 100_000)
    assert module.output_of(["yes"]) is None
    assert module.output_of(["echo", "short"]) == "short"


@pytest.mark.parametrize("name", ["link", "pipe", "socket", "device", "file"])
def test_what_stands_where_a_directory_belongs_is_refused_by_name_kind_and_owner(name):
    desired = {"directories": [{"path": "/srv/x/inbox", **ATTRIBUTES}]}
    made = planning.plan(desired, seen(paths={"/srv/x/inbox": found(name, target="/etc")}))
    assert made["directories"] == []
    assert made["drift"] == made["refused"]
    what = "link to /etc" if name == "link" else name
    assert made["refused"] == [f"/srv/x/inbox: is a {what} of mallory, not a directory: {planning.WHAT_NOW}"]


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (found("link", target="/etc/shadow\n"), "is a link to /etc/shadow? of mallory, not a file"),
        (found("pipe"), "is a pipe of mallory"),
        (found("directory"), "is a directory of mallory"),
        (found("file", hard_links=2), "is a file of mallory with 2 names (hard links)"),
        ({"kind": "unreachable", "by": "/srv/x", "safe": False}, "/srv/x on the way to it is a link"),
    ],
)
def test_what_stands_where_a_file_belongs_is_refused(state, refused):
    desired = {"files": [{"path": "/srv/x/file", "content": "text", **ATTRIBUTES}]}
    made = planning.plan(desired, seen(paths={"/srv/x/file": state}))
    assert made["files"] == []
    assert [refused in words for words in made["refused"]] == [True]


def test_a_link_that_root_put_in_a_files_place_is_replaced():
    desired = {"files": [{"path": "/etc/x/file", "content": "text", **ATTRIBUTES}]}
    made = planning.plan(desired, seen(paths={"/etc/x/file": found("link", target="/root/mine", safe=True)}))
    assert made["files"] == desired["files"]
    assert made["refused"] == []
    made_here = {"attributes": [{"path": "/etc/x/file", **ATTRIBUTES}]}
    assert planning.plan(made_here, seen(paths={"/etc/x/file": found("link", target="/root/mine", safe=True)}))[
        "refused"
    ]


def test_a_parent_that_was_its_services_has_its_children_looked_at_again():
    desired = {"directories": [{"path": "/srv/x", **ATTRIBUTES}, {"path": "/srv/x/inbox", **ATTRIBUTES}]}
    paths = {"/srv/x": found("directory"), "/srv/x/inbox": found("directory", owner="root")}
    made = planning.plan(desired, seen(paths=paths))
    assert [item["path"] for item in made["directories"]] == ["/srv/x"]
    assert made["again"] == desired["directories"]
    paths["/srv/x"].update(owner="root", mode="0775")
    assert planning.plan(desired, seen(paths=paths))["again"] == desired["directories"]
    paths["/srv/x"]["mode"] = "0755"
    assert planning.plan(desired, seen(paths=paths))["again"] == []


# what a run that was killed still owes
TIMER = {
    "files": [{"path": UNIT, "content": "text", **ATTRIBUTES, "restarts": ["x.timer"]}],
    "units": [{"name": "x.timer"}],
}


def after_a_kill(written: float, since: float | None, **unit):
    import hashlib

    file = {"kind": "file", **ATTRIBUTES, "sha256": hashlib.sha256(b"text").hexdigest(), "modified": written}
    state = {"present": True, "enabled": True, "active": True, "since": since, **unit}
    return seen(paths={UNIT: file}, units={"x.timer": state})


def test_a_unit_file_that_systemd_has_not_read_is_owed():
    made = planning.plan(TIMER, after_a_kill(100.0, 200.0, unread=True))
    assert made["unread"] == ["x.timer"]
    assert made["drift"] == ["unit x.timer: systemd has not read its new file"]


@pytest.mark.parametrize(
    ("written", "since", "owed"),
    [
        (200.0, 100.0, True),  # killed before the restart
        (100.0, 200.0, False),  # restarted since
        (2000.0, 100.0, False),  # the clock was ahead when it was written: a restart could never catch up with it
        (200.0, None, False),
    ],
)
def test_a_restart_is_owed_while_the_unit_is_older_than_its_file(written, since, owed):
    made = planning.plan(TIMER, after_a_kill(written, since))
    assert made["restart"] == (["x.timer"] if owed else [])
    assert made["drift"] == (["unit x.timer: still runs with its old configuration"] if owed else [])


def test_a_unit_that_does_not_run_is_started_and_owes_no_restart():
    made = planning.plan(TIMER, after_a_kill(200.0, 100.0, active=False))
    assert made["restart"] == []
    assert [item["name"] for item in made["units"]] == ["x.timer"]


def test_a_reader_that_is_not_ours_owes_a_reload_only_while_it_runs():
    desired = {"files": [{**TIMER["files"][0], "restarts": [], "reloads": ["ssh.service"]}]}
    for active, reload in ((True, ["ssh.service"]), (False, [])):
        observed = after_a_kill(200.0, None)
        observed["units"]["ssh.service"] = {"active": active, "since": 100.0}
        assert planning.plan(desired, observed)["reload"] == reload
    assert "ssh.service" in planning.request(desired, {})["units"]
    gone = {"absent_paths": [UNIT], "absent_readers": [{"path": UNIT, "reloads": ["ssh.service"]}]}
    observed["units"]["ssh.service"]["active"] = True
    assert planning.plan(gone, observed)["reload"] == ["ssh.service"]


def test_services_without_a_timer_of_their_own_are_asked_about_too():
    desired = {"files": [{"path": f"/etc/systemd/system/{name}"} for name in ("x.service", "y@.service", "z.d/a.conf")]}
    assert planning.request(desired, {})["units"] == ["x.service"]


def test_what_nothing_leads_to_is_owed_to_the_prune():
    folder = {"path": "/opt/x/releases", "keep": ["/opt/x/releases/3"], "keep_links": ["/opt/x/previous"]}
    observed = seen(
        folders={"/opt/x/releases": ["1", "2", "3"]},
        links={"/opt/x/previous": "/opt/x/releases/2"},
        docker={"repositories": {"x": {"aaa": ["1"], "bbb": ["2", "old"], "ccc": ["<none>"]}}},
    )
    made = planning.plan({"folders": [{**folder, "images": "x"}]}, observed)
    assert made["folders"] == ["/opt/x/releases/1"]
    assert made["unused_images"] == ["aaa", "ccc"]
    assert "/opt/x/releases/1: nothing uses it any more" in made["drift"]


def test_a_link_is_flipped_after_the_way_back_is_known():
    item = {"path": "/opt/x/current", "target": "/opt/x/2", "previous": "/opt/x/previous"}
    made = planning.plan({"links": [item]}, seen(links={"/opt/x/current": "/opt/x/1"}))
    assert [link["path"] for link in made["links"]] == ["/opt/x/previous", "/opt/x/current"]
    assert [link["path"] for link in planning.plan({"links": [item]}, seen())["links"]] == ["/opt/x/current"]


def test_a_release_that_is_not_compiled_is_not_done():
    desired = {"releases": [{"path": "/opt/x/1", "digest": "abc", "artifact": "/a"}]}
    made = planning.plan(desired, seen(trees={"/opt/x/1": "abc"}, compiled={"/opt/x/1": False}))
    assert made["drift"] == ["/opt/x/1: its code is not compiled"]


def test_whether_a_release_is_compiled(tmp_path):
    package = tmp_path / "speedtest_logger/archive"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("")
    assert not module.compiled(str(tmp_path))
    (package / "__pycache__/a.cpython-311.pyc").write_text("")
    assert module.compiled(str(tmp_path))


def test_marks_and_answers_tell_what_was_not_ended():
    desired = {
        "marks": [{"path": "/a", "words": "a is not done"}, {"path": "/b", "present": False, "words": "b is not done"}],
        "answers": [{"program": ["sshd", "-T"], "lines": ["permittty no"], "words": "sshd does not heed it"}],
    }
    observed = seen(paths={"/b": found("link")}, programs={"sshd": "permittty yes"})
    made = planning.plan(desired, observed)
    assert made["drift"] == ["a is not done", "b is not done", "sshd does not heed it (permittty no)"]
    well = seen(paths={"/a": found("file")}, programs={"sshd": "permittty no\nmore"})
    assert planning.plan(desired, well)["drift"] == []
    assert planning.request(desired, {})["programs"] == [["sshd", "-T"]]


SECRET = "correct horse battery staple"


def test_a_secret_is_in_neither_the_request_nor_the_plan():
    desired = {"files": [{"path": "/etc/x/env", "content": SECRET, **ATTRIBUTES, "secret": True}]}
    assert SECRET not in json.dumps(planning.request(desired, {}))
    assert planning.request(desired, {})["read"] == []
    for paths in ({}, {"/etc/x/env": {"kind": "file", **ATTRIBUTES, "mode": "0666", "sha256": "0"}}):
        made = planning.plan(desired, seen(paths=paths))
        assert made["secrets"] == [{"path": "/etc/x/env", **ATTRIBUTES, "secret": True}]
        assert made["files"] == []
        assert SECRET not in json.dumps(made)


@pytest.mark.parametrize(
    ("installed", "content"),
    [("1:8.9p1-3ubuntu0.10", "old"), ("1:9.2p1-2+deb12u7", "new"), ("1:10.0p1-7", "new"), (None, "new")],
)
def test_a_reader_that_is_too_old_gets_what_it_knows(installed, content):
    older = {"package": "openssh-server", "before": "9.2", "content": "old"}
    desired = {"files": [{"path": "/etc/x", "content": "new", **ATTRIBUTES, "older": older}]}
    packages = {"openssh-server": installed} if installed else {}
    assert planning.plan(desired, seen(packages=packages))["files"][0]["content"] == content


def test_when_a_unit_began_to_run(monkeypatch):
    now, up = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
    monkeypatch.setattr(module.time, "clock_gettime", lambda _: up)  # it never slept
    noted = time.strftime("%a %Y-%m-%d %H:%M:%S.000000 UTC", time.gmtime(now - 86400 * 365))
    values = {"XTimestamp": noted, "XTimestampMonotonic": str(int((up - 5) * 1e6))}
    assert module.moment(values, "XTimestamp") == pytest.approx(now - 5, abs=2)  # the clock was set since
    assert module.moment({"XTimestamp": ""}, "XTimestamp") is None
