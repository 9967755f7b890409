"""The help of command lines: what argparse would show, and what a start does without."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from speedtest_logger.node import cli
from speedtest_logger.usage import Help


def shown(formatter: type[argparse.HelpFormatter]) -> str:
    parser = argparse.ArgumentParser(prog="program", formatter_class=formatter, description="first\n  second")
    parser.add_argument("--option", metavar="VALUE", help="words that do not fit on a line " * 5)
    return parser.format_help()


@pytest.mark.parametrize("columns", ["40", "132", "0", "wide", None])
def test_help_is_laid_out_as_argparse_does(monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert shown(Help) == shown(argparse.RawDescriptionHelpFormatter)


def test_help_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((50, 20)))
    lines = shown(Help).splitlines()
    assert 40 < max(map(len, lines)) <= 48


@pytest.mark.parametrize("module", ["speedtest_logger.node.cli", "speedtest_logger.archive.arrive.receive"])
def test_a_start_does_without_what_help_needs(module):
    code = f"import sys\nfrom {module} import main\ntry:\n    main(['--node'])\nexcept SystemExit:\n    pass\n"
    code = code.replace("['--node']", "['status']") if module == cli.__name__ else code
    seen = subprocess.run(
        [sys.executable, "-S", "-c", code + "print('shutil' in sys.modules)"],
        env={"PYTHONPATH": "src", "SPEEDTEST_ENV_FILE": "/nowhere"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert seen.stdout.strip() == "False"


def test_the_fleets_question_loads_nothing_that_its_answer_does_not_use(tmp_path):
    """It is asked of each node at once, and what is imported is nearly all that it costs."""
    code = (
        "import sys\nfrom speedtest_logger.node.cli import main\nmain(['status', '--json'])\n"
        "print(*sorted({'shutil', 'socket', 'uuid', 'platform', 'subprocess', 'hashlib', 'speedtest_logger.metrics',"
        " 'speedtest_logger.probes.contract', 'speedtest_logger.node.slots'} & set(sys.modules)), file=sys.stderr)"
    )
    seen = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": "src", "SPEEDTEST_NODE": "attic", "SPEEDTEST_STATE_DIR": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert '"node": "attic"' in seen.stdout
    assert seen.stderr == "\n"
