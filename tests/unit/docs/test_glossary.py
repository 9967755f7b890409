"""One word for each thing: what the glossary forbids is said nowhere that people read."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "docs"))

import glossary  # noqa: E402  (found only after the line above)

FORBIDDEN = {word: term.name for term in glossary.TERMS for word in term.instead_of}
PATTERN = re.compile(rf"\b({'|'.join(map(re.escape, FORBIDDEN))})\b", re.IGNORECASE)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
TASKS = [ROOT / "site.yml", *(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]


def found(text: str) -> list[str]:
    """What is forbidden in a text, with the word to say instead."""
    return [f"{word}: say {FORBIDDEN[word.lower()]}" for word in PATTERN.findall(" ".join(text.split()))]


def names(tasks: object) -> list[str]:
    """The names of plays and tasks, those in blocks included."""
    if isinstance(tasks, list):
        return [name for task in tasks for name in names(task)]
    if not isinstance(tasks, dict):
        return []
    parts = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
    return [str(tasks.get("name", "")), *(name for part in parts for name in names(tasks.get(part)))]


def texts(file: Path) -> list[str]:
    """All text in a program: help, messages, events, docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_what_is_forbidden_is_found_over_ends_of_lines_and_in_capitals():
    assert found("The engine's own\nwords, Mended.") == ["own words: say raw output", "Mended: say repair"]
    assert found("recommended words of its own; asides") == []
    tasks = [{"name": "a", "block": [{"name": "b"}], "rescue": [{"name": "c", "block": [{"name": "d"}]}]}]
    assert names(tasks) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_pages(file):
    if file.name != "glossary.md":
        assert found(file.read_text(encoding="utf-8")) == []


def test_names_of_plays_and_tasks():
    said = {f"{file.relative_to(ROOT)}: {name}": found(name)
            for file in TASKS for name in names(yaml.safe_load(file.read_text(encoding="utf-8")))}  # fmt: skip
    assert len(said) > 150
    assert {where: words for where, words in said.items() if words} == {}


def test_help_messages_events_and_docstrings():
    files = [file for folder in ("src", "plugins") for file in (ROOT / folder).rglob("*.py")]
    said = {f"{file.relative_to(ROOT)}: {text[:80]}": found(text) for file in files for text in texts(file)}
    assert len(said) > 2000
    assert {where: words for where, words in said.items() if words} == {}


def test_no_word_is_both_used_and_forbidden():
    used = [term.name for term in glossary.TERMS]
    assert len(used) == len(set(used))
    for term in glossary.TERMS:
        assert found(f"{term.name}: {term.meaning}") == []
