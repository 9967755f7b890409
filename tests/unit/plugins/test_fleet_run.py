"""One run at a time: what becomes of a lock, where it is kept, and how files of a service account are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from builders import ROOT, load

module = load("plugins/modules/fleet_run.py")
action = load("plugins/action/fleet_run.py")
callback = load("plugins/callback/fleet_run.py")

HERE = {"machine": "desk 1", "boot": "b1", "pids": "pid:[1]"}
ME = {**HERE, "run": "mine", "who": "me@desk", "what": "site.yml", "pid": 1, "start": "100", "lease": 3600}


def lock(**changes):
    theirs = {**ME, "machine": "laptop 2", "boot": "b2", "run": "theirs", "who": "she@laptop"}
    return {**theirs, "since": "earlier", "renewed": 1000.0, "renewed_at": "then", **changes}


@pytest.mark.parametrize(
    ("held", "options", "done"),
    [
        (None, {}, "take"),
        (lock(run="mine"), {}, "renew"),
        (lock(run="mine", renewed=-9e9), {}, "renew"),
        (lock(), {}, "refuse"),
        (lock(), {"now": 1000 + 3600}, "refuse"),
        (lock(), {"now": 1000 + 3601}, "take over"),
        (lock(lease=9000), {"now": 1000 + 3601}, "refuse"),
        (lock(), {"now": 10}, "take over"),  # the archive host has booted since
        (lock(), {"force": True}, "take over"),
        (lock(**HERE), {}, "refuse"),
        (lock(**HERE), {"now": 1000 + 3601}, "refuse"),  # this machine knows that its process lives
        (lock(**HERE), {"gone": "theirs"}, "take over"),
        (lock(**HERE), {"gone": "another"}, "refuse"),
        (lock(**{**HERE, "pids": "pid:[2]"}), {"now": 1000 + 3601}, "take over"),  # nobody sees into another container
    ],
)
def test_what_becomes_of_a_lock(held, options, done):
    now = options.pop("now", 1100)
    assert module.decide(held, ME, now, **options)[0] == done


def test_a_lock_is_taken_refused_renewed_broken_and_given_back(tmp_path):
    folder = str(tmp_path / "fleet")
    she = {**ME, "run": "theirs", "machine": "laptop 2"}
    assert module.held(folder) is None
    assert module.take(folder, ME, "", False)["done"] == "take"
    first = module.held(folder)
    refused = module.take(folder, she, "", False)
    assert (refused["done"], refused["before"]) == ("refuse", first)
    assert module.held(folder) == first
    assert module.take(folder, ME, "", False)["done"] == "renew"
    again = module.held(folder)
    assert again["since"] == first["since"]
    assert again["renewed"] > first["renewed"]
    assert module.take(folder, she, "", True)["why"] == "speedtest_break_lock was set"
    assert module.held(folder)["run"] == "theirs"
    assert module.take(folder, ME, "", False)["done"] == "refuse"  # the run that lost it is told at its next step
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(folder + "/lock").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": "x"}', '{"run": 7}'])
def test_what_a_hand_has_put_there_holds_nobody_up(tmp_path, content):
    (tmp_path / "fleet").mkdir(mode=0o700)
    (tmp_path / "fleet/lock").write_text(content)
    assert module.take(str(tmp_path / "fleet"), ME, "", False)["done"] == "take"


def test_of_many_that_come_at_once_one_gets_it(tmp_path):
    answers = []
    barrier = threading.Barrier(8)

    def one(number):
        barrier.wait()
        answers.append(module.take(str(tmp_path / "fleet"), {**ME, "run": str(number)}, "", False)["done"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["refuse"] * 7 + ["take"]


@pytest.mark.parametrize("harm", ["link", "mode", "file"])
def test_a_directory_that_is_not_roots_alone_is_refused(tmp_path, harm):
    folder = tmp_path / "fleet"
    (tmp_path / "other").mkdir()
    if harm == "link":
        folder.symlink_to(tmp_path / "other")
    if harm == "mode":
        folder.mkdir()
        folder.chmod(0o777)
    if harm == "file":
        folder.write_text("")
    with pytest.raises(OSError, match=r"remove it|Not a directory|symbolic links"):
        module.take(str(folder), ME, "", False)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_planted_link_is_not_written_through(tmp_path):
    folder = tmp_path / "fleet"
    folder.mkdir(mode=0o700)
    (tmp_path / "victim").write_text("as it was")
    (folder / "lock").symlink_to(tmp_path / "victim")
    assert module.take(str(folder), ME, "", False)["done"] == "take"
    (folder / "lock.new").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        module.take(str(folder), ME, "", False)
    assert (tmp_path / "victim").read_text() == "as it was"


def test_reading_below_a_folder_follows_no_link_and_waits_for_nothing(tmp_path):
    root = tmp_path / "archive"
    (root / "state").mkdir(parents=True)
    (root / "state/file.json").write_text("{}")
    (tmp_path / "linked").symlink_to(root)  # a folder itself may be reached through a link: it is the administrator's
    read = module.read_file(str(tmp_path / "linked"), "state/file.json")
    assert (read["kind"], read["text"]) == ("file", "{}")
    assert module.read_file(str(root), "state")["kind"] == "directory"
    assert module.read_file(str(root), "state/none.json") is None
    assert module.read_file(str(root), "none/none.json") is None
    os.mkfifo(root / "state/pipe.json")
    (root / "state/link.json").symlink_to("file.json")
    (root / "elsewhere").symlink_to("state")
    (root / "state/first.json").write_text("")
    os.link(root / "state/first.json", root / "state/second.json")
    for name in ("state/pipe.json", "state/link.json", "elsewhere/file.json", "state/first.json", "state/file.json/x"):
        assert set(module.read_file(str(root), name)) == {"problem"}, name
    with open(root / "state/large.json", "wb") as stream:
        stream.truncate(module.LARGEST_READ + 1)
    assert "more than" in module.read_file(str(root), "state/large.json")["problem"]
    handles = len(os.listdir("/proc/self/fd"))
    module.read_file(str(root), "state/link.json")
    assert len(os.listdir("/proc/self/fd")) == handles


def test_the_module_runs_on_an_old_python_too():
    import ast

    ast.parse((ROOT / "plugins/modules/fleet_run.py").read_text(), feature_version=(3, 8))


def test_a_run_is_known_to_be_over_only_on_its_own_machine():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = action.start_of(process.pid)
    assert started
    theirs = lock(**HERE, pid=process.pid, start=started)
    assert not action.has_ended(theirs, ME)
    process.communicate(b"\n")
    assert action.start_of(process.pid) == ""
    assert action.has_ended(theirs, ME)
    assert action.has_ended({**theirs, "pid": os.getpid()}, ME)  # the number is another process's now
    assert action.has_ended({**theirs, "boot": "b0", "pid": os.getpid()}, ME)
    assert not action.has_ended({**theirs, "machine": "laptop 2"}, ME)
    assert not action.has_ended({**theirs, "pids": "pid:[2]"}, ME)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([sys.executable, "-c", ""], ""),
        ([sys.executable, "-c", "raise SystemExit('no route')"], "no route"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "exit code 3"),
        (["/nonexistent"], "No such file"),
        ([], "not known"),
    ],
)
def test_a_lock_that_cannot_be_given_back_is_told(argv, words):
    assert words in callback.given_back(argv)
    assert bool(callback.given_back(argv)) == bool(words)


def test_the_module_and_the_action_name_the_same_file():
    assert (module.FOLDER, module.LOCK) == (action.FOLDER, action.LOCK)
    assert json.loads(json.dumps(action.this_run(os.getpid())))["pid"] == os.getpid()
