"""Programs that run on a host by Python's standard input: what goes there, and what comes back of any answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from builders import ROOT, load

from plugins import remote
from plugins.filter.status import node_state

release = load("plugins/lookup/release.py")

SOURCE = """
from __future__ import annotations
import json
def main(wanted):
    print("what a login prints")
    print(json.dumps({"lock": wanted}))
"""
ARGUMENTS = {"text": 'it\'s \\ "so"\n\u2028 \N{GRINNING FACE} \udcff', "number": 1, "nothing": None, "list": [True]}


def run(source: str, arguments: dict) -> dict:
    done = subprocess.run(
        [sys.executable, "-IS", "-"], input=remote.with_arguments(source, arguments), capture_output=True, check=False
    )
    return remote.answer_of("python3", done.returncode, done.stdout.decode(), done.stderr.decode())


def test_arguments_arrive_as_they_are():
    assert run(SOURCE, ARGUMENTS) == {"lock": ARGUMENTS}


@pytest.mark.parametrize("name", ["host_state", "host_files", "host_units", "fleet_run"])
def test_the_programs_need_nothing_but_the_standard_library(name):
    source = (
        remote.source_of(name).replace("def main(wanted", "def unused(wanted") + "\ndef main(wanted): print('{}')\n"
    )
    assert run(source, {}) == {}


def test_host_state_answers_an_empty_question():
    seen = run(remote.source_of("host_state"), {"paths": ["/nowhere"], "patience": 5})
    assert seen["paths"] == {"/nowhere": None}
    assert seen["os"]["python"] == sys.version.split()[0]
    assert seen["docker"] is None


SCRIPT = """#!{python} {options}
import os, sys
started = "hashlib" not in sys.modules and "subprocess" not in sys.modules
print(started, __name__, __file__ == sys.argv[0], sys.argv[1:], os.environ["LC_ALL"], os.getsid(0) == os.getpid())
print(os.read(0, 10), os.environ["PATH"].endswith("/usr/local/bin"), len(os.listdir("/proc/self/fd")), flush=True)
os.write(2, b"on the other stream\\n")
{end}
"""


@pytest.mark.parametrize(("options", "started"), [("-IS", False), ("-I", True), ("-s", True)])
@pytest.mark.parametrize("end", ["sys.exit(3)", "sys.exit('words')", "raise ValueError('words')", ""])
def test_a_script_for_this_python_runs_in_a_copy_of_it_and_says_the_same(tmp_path, options, started, end):
    file = tmp_path / "script"
    file.write_text(SCRIPT.format(python=sys.executable, options=options, end=end))
    file.chmod(0o755)
    seen = run(remote.source_of("host_state"), {"programs": [[str(file), "one", "two"], ["sh", "-c", "echo other"]]})
    lines = seen["programs"][str(file)].splitlines()
    assert lines[:3] == [
        f"{started} __main__ True ['one', 'two'] C True",
        "b'' True 4",
        "on the other stream",
    ]
    assert ("words" in lines[-1]) == ("words" in end)
    assert seen["programs"]["sh"] == "other"


def test_a_script_in_a_copy_that_does_not_end_is_ended(tmp_path):
    file = tmp_path / "script"
    file.write_text(f"#!{sys.executable} -IS\nimport time\ntime.sleep(98764)\n")
    file.chmod(0o755)
    seen = run(remote.source_of("host_state"), {"programs": [[str(file)]], "patience": 1})
    assert seen["programs"] == {str(file): None}
    assert seen["notes"] == [f"`{file}` gave no answer in 1 s and was ended"]


def test_a_script_in_a_copy_that_prints_without_end_is_ended(tmp_path):
    file = tmp_path / "script"
    file.write_text(f"#!{sys.executable} -IS\nwhile True:\n    print('x' * 10_000)\n")
    file.chmod(0o755)
    source = remote.source_of("host_state").replace("LARGEST_READ = 64_000_000", "LARGEST_READ = 64_000")
    seen = run(source, {"programs": [[str(file)]], "patience": 5})
    assert seen["programs"] == {str(file): None}
    assert [words.startswith(f"`{file}` gave no answer") for words in seen["notes"]] == [True]


BROKEN = {
    "": "",
    "a module that is not there": "import speedtest_logger.no_such_module",
    "a module that no Python can read": "def broken(:",
    "a module that fails": "raise OSError('the disk')",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=[*BROKEN])
def test_a_nodes_status_is_the_same_from_a_copy_and_by_itself(tmp_path, monkeypatch, line):
    """With a problem, which is exit code 1 and an answer; and where the release is broken."""
    shutil.copytree(ROOT / "src/speedtest_logger", tmp_path / "release/speedtest_logger")
    status = tmp_path / "release/speedtest_logger/node/status.py"
    status.write_text(f"{status.read_text()}\n{line}\n")
    program = tmp_path / "release/bin/speedtest-logger"
    program.parent.mkdir()
    (tmp_path / "state/outbox").mkdir(parents=True)
    (tmp_path / "state/outbox/strange").touch()
    monkeypatch.setenv("SPEEDTEST_NODE", "attic")
    monkeypatch.setenv("SPEEDTEST_STATE_DIR", str(tmp_path / "state"))
    answers = []
    for option in ("-IS", "-I"):  # in a copy, and by itself
        launcher = release.LAUNCHER.format(module="speedtest_logger.node.cli", options=option)
        program.write_text(launcher.replace("/usr/bin/python3", sys.executable))
        program.chmod(0o755)
        seen = run(remote.source_of("host_state"), {"programs": [[str(program), "status", "--json"]]})
        said = seen["programs"][str(program)]
        found = node_state({"programs": {"/usr/local/bin/speedtest-logger": said}})
        answers.append((said.splitlines()[-1], found.get("node"), found.get("problems")))
    assert answers[0] == answers[1]
    assert answers[0][1] == (None if line else "attic")
    assert ("'strange'" in str(answers[0][2])) == (not line)


def test_nothing_of_the_directory_that_it_runs_in_is_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    monkeypatch.chdir(tmp_path)
    assert run(SOURCE, {}) == {"lock": {}}


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "words"),
    [
        (127, "", "sh: 1: /usr/bin/python3: not found", "the interpreter 'python3' was not found"),
        (1, "", "Traceback\nOSError: disk\n", r"no answer from python3 (exit code 1): OSError: disk"),
        (0, "", "", "no answer from python3 (exit code 0): no word"),
        (0, '{"add_host": {"host_name": "x"}}', "", "as an answer"),
        (0, '{"now": 1, "ansible_facts": {}}', "", "as an answer"),
        (0, "[1]\n", "", "seen '[1]\\n' as an answer"),
    ],
)
def test_what_is_no_answer_is_named(code, stdout, stderr, words):
    found = remote.answer_of("python3", code, stdout, stderr)
    assert found["failed"] is True
    assert words in found["msg"]


def test_an_answer_is_the_last_line():
    assert remote.answer_of("python3", 0, "a banner\n" + json.dumps({"now": 1}) + "\n", "") == {"now": 1}
