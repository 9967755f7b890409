"""Each test that the page about security names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from builders import ROOT

PAGE = ROOT / "docs/explanation/security.md"


@cache
def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def named() -> list[tuple[str, str]]:
    """(file, test) of each row; a test alone is of the file before it, and * stands for all of a file's."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        file = ""
        for word in re.findall(r"`([\w/.]+\.py::[\w*]+|test_\w+)`", line):
            place, _, test = word.rpartition("::")
            file = place or file
            found.append((file, test))
    return found


def test_each_test_that_the_page_names_exists():
    assert len(named()) > 25
    missing = [
        f"{file}::{test}"
        for file, test in named()
        if not (ROOT / file).is_file() or not (names_in(ROOT / file) if test == "*" else test in names_in(ROOT / file))
    ]
    assert missing == []


def test_each_claim_names_one():
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "shown by" not in line
    ]
    assert [row for row in rows if "::" not in row and "everything under" not in row] == []
