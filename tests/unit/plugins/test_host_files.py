"""The module host_files: what it makes, what it leaves alone, and what it refuses; as root, in a folder of its own."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plugins.modules import host_files
from plugins.remote import answer_of, with_arguments

MODULE = Path(host_files.__file__)
ME = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


def item(path, mode="0644", **more):
    return {"path": str(path), "owner": ME, "group": GROUP, "mode": mode, **more}


def made(check=False, diff=False, **lists):
    """The answer of the program as Ansible runs it."""
    program = with_arguments(MODULE.read_text(encoding="utf-8"), {**lists, "check": check, "diff": diff})
    done = subprocess.run([sys.executable, "-IS", "-"], input=program, capture_output=True, timeout=120, check=False)
    return answer_of(sys.executable, done.returncode, done.stdout.decode(), done.stderr.decode())


def everything(folder):
    """One of each kind, and what says that it is there."""
    return {
        "directories": [item(folder / "a", "0750"), item(folder / "b/c", "0700")],
        "files": [item(folder / "a/text", "0640", content="grüß\n"), item(folder / "b/c/empty", content="")],
        "links": [{"path": str(folder / "link"), "target": "a/text"}],
    }


def mode_of(path):
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


def test_all_is_made_in_one_call_and_then_left_alone(tmp_path):
    wanted = everything(tmp_path)
    paths = [each["path"] for each in (*wanted["directories"], *wanted["files"], *wanted["links"])]
    assert made(check=True, **wanted)["done"] == paths
    assert list(tmp_path.iterdir()) == []
    assert made(**wanted)["done"] == paths
    assert (tmp_path / "link").read_text(encoding="utf-8") == "grüß\n"
    assert [mode_of(tmp_path / name) for name in ("a", "b", "b/c", "a/text")] == ["0750", "0755", "0700", "0640"]
    before = {path: path.lstat().st_ino for path in tmp_path.rglob("*")}
    assert made(**wanted)["done"] == []
    assert {path: path.lstat().st_ino for path in tmp_path.rglob("*")} == before  # and no temporary file is left


def test_only_what_differs_is_touched(tmp_path):
    wanted = everything(tmp_path)
    made(**wanted)
    (tmp_path / "a").chmod(0o777)
    (tmp_path / "a/text").chmod(0o4644)
    (tmp_path / "b/c/empty").write_text("by hand", encoding="utf-8")
    (tmp_path / "link").unlink()
    (tmp_path / "link").write_text("a file where a link was", encoding="utf-8")
    answer = made(diff=True, **wanted)
    assert answer["done"] == [str(tmp_path / name) for name in ("a", "a/text", "b/c/empty", "link")]
    assert [(each["before"], each["after"]) for each in answer["shown"]] == [("grüß\n", "grüß\n"), ("by hand", "")]
    assert made(**wanted)["done"] == []


def test_attributes_of_what_something_else_makes(tmp_path):
    file = tmp_path / "made"
    file.write_text("by a program", encoding="utf-8")
    assert made(attributes=[item(file, "0600")])["done"] == [str(file)]
    assert mode_of(file) == "0600"
    missing = [item(tmp_path / "none")]
    assert made(attributes=missing)["msg"].endswith("none: is missing")
    assert made(check=True, attributes=missing)["done"] == [str(tmp_path / "none")]


def test_a_checker_sees_the_new_file_and_the_old_one_stays(tmp_path):
    file = tmp_path / "config"
    file.write_text("good", encoding="utf-8")
    refused = made(files=[item(file, content="bad", validate="grep -q good '%s'")])
    assert "config: its new content is refused by `grep" in refused["msg"]
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["good"]
    assert made(files=[item(file, content="good too", validate="grep -q good %s")])["done"] == [str(file)]


@pytest.mark.parametrize("what", ["link", "hard link", "pipe", "directory"])
def test_what_somebody_put_there_is_not_followed(tmp_path, what):
    """A link is replaced where a file belongs; nothing behind it, and no other name of a file, is changed."""
    victim = tmp_path / "victim"
    victim.write_text("untouched", encoding="utf-8")
    victim.chmod(0o600)
    place = tmp_path / "place"
    put = {
        "link": lambda: place.symlink_to(victim),
        "hard link": lambda: os.link(victim, place),
        "pipe": lambda: os.mkfifo(place),
        "directory": place.mkdir,
    }
    put[what]()
    mine = item(place, "0666")
    assert made(attributes=[mine])["failed"]
    assert made(files=[{**mine, "content": "new"}]).get("failed", False) is (what != "link")
    assert made(directories=[mine]).get("failed", False) is (what != "directory")
    assert (victim.read_text(encoding="utf-8"), mode_of(victim)) == ("untouched", "0600")


def test_it_stops_at_the_first_that_cannot_be_made(tmp_path):
    first, second, third = (item(tmp_path / name, content="") for name in ("first", "no/second", "third"))
    answer = made(files=[first, second, third])
    assert answer["msg"] == f"{second['path']}: No such file or directory"
    assert answer["done"] == [first["path"]]
    assert not Path(third["path"]).exists()
    unknown = made(files=[{**first, "owner": "nobody-of-this-name"}])
    assert "nobody-of-this-name" in unknown["msg"]
    assert made(links=[{"path": str(tmp_path), "target": "x"}])["failed"]  # a directory


def test_a_long_file_is_not_shown(tmp_path):
    file = tmp_path / "long"
    file.write_bytes(b"x" * (host_files.LARGEST_SHOWN + 1))
    assert made(diff=True, files=[item(file, content="short")])["shown"][0]["before"] == "(too long to be shown)\n"


def test_its_documentation_names_all_that_it_makes():
    documented = yaml.safe_load(host_files.DOCUMENTATION)["options"]
    assert list(documented) == list(host_files.MAKERS)
    assert json.dumps(documented)


def test_what_must_not_be_there_is_removed_in_one_call_and_no_link_is_followed(tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for folder in (outside, tree / "below"):
        folder.mkdir(parents=True)
        (folder / "text").write_text("text", encoding="utf-8")
    (tree / "below/link").symlink_to(outside)
    link, file, never = tmp_path / "link", tmp_path / "file", tmp_path / "file/below"
    link.symlink_to(outside)
    file.write_text("text", encoding="utf-8")
    paths = [str(path) for path in (tree, link, never, file, tmp_path / "nothing")]
    gone = [str(path) for path in (tree, link, file)]
    assert made(check=True, absent=paths)["done"] == gone
    assert all(path.exists() for path in (tree / "below/text", link, file))
    assert made(absent=paths)["done"] == gone
    assert sorted(tmp_path.iterdir()) == [outside]
    assert (outside / "text").exists()
    assert made(absent=paths)["done"] == []


def test_a_directory_is_made_anew_in_the_place_of_what_was_there(tmp_path):
    place = tmp_path / "release"
    place.mkdir()
    (place / "damaged").write_text("", encoding="utf-8")
    answer = made(absent=[str(place)], directories=[item(place, "0755")])
    assert answer["done"] == [str(place)]
    assert list(place.iterdir()) == []


def test_a_directory_that_takes_another_s_place_is_never_missing(tmp_path):
    """Something is started from it again and again meanwhile."""
    program = tmp_path / "release/bin/logger"
    watch = "import os, sys\nprint(flush=True)\nwhile True: os.stat(sys.argv[1])"
    for number in range(20):
        (tmp_path / "release.new/bin").mkdir(parents=True)
        (tmp_path / "release.new/bin/logger").write_text(str(number))
        if number == 1:
            watcher = subprocess.Popen(
                [sys.executable, "-c", watch, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            watcher.stdout.readline()
        move = {"path": str(tmp_path / "release"), "source": str(tmp_path / "release.new")}
        assert made(check=True, moves=[move])["done"] == [move["path"]]
        assert (tmp_path / "release.new").exists()
        assert made(moves=[move]) == {"done": [move["path"]], "shown": []}
        assert program.read_text() == str(number)
        assert [path.name for path in tmp_path.iterdir()] == ["release"]
    assert watcher.poll() is None, watcher.stderr.read()
    watcher.kill()
    watcher.communicate()


def test_what_cannot_be_removed_is_named(tmp_path):
    answer = made(absent=[str(tmp_path / "gone"), "/proc/self/status"])
    assert answer["failed"]
    assert answer["msg"].startswith("/proc/self/status: ")


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/etc/systemd/system/x.service.d/own.conf", "/etc/systemd/system/x.service.d"),
        ("/etc/systemd/system/x.service", None),
        ("/etc/systemd/system/x.service.d/below/own.conf", None),
        ("/etc/ssh/sshd_config.d/own.conf", None),
    ],
)
def test_a_folder_that_comes_and_goes_with_its_files_is_one_of_drop_ins(path, folder):
    """That it does is shown by the scenario `monitoring`."""
    assert host_files.drop_ins(path) == folder
