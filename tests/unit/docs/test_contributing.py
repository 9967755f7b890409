"""The way in is open: what CONTRIBUTING, the floor plan, hooks and workflow name is there."""

from __future__ import annotations

import re

import pytest
import yaml
from builders import ROOT

import speedtest_logger.archive

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VERBS = {verb for line in re.findall(r"^([a-z][a-z -]*):", MAKEFILE, re.MULTILINE) for verb in line.split()}
LINT = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
PLACE = re.compile(r"[\w.-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|yml)")
MADE = (".venv/",)  # by make
PAGES = ["CONTRIBUTING.md", "docs/explanation/architecture.md", "docs/how-to/write-a-probe.md"]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def is_there(place):
    """A path from the root, or one below the package as the floor plan writes it; a name without a folder anywhere."""
    if "/" not in place and list(ROOT.glob(f"roles/*/tasks/{place}")) + list(ROOT.glob(f"src/**/{place}")):
        return True
    return (ROOT / place).exists() or (ROOT / "src/speedtest_logger" / place).exists()


def places(text):
    """Paths in what is set as code, those inside commands too: `pytest tests/unit/x.py -k links`."""
    code = re.findall(r"`([^`\n]+)`|^ {4}(.+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    words = [word for spans in code for span in spans for word in span.split()]
    return [word for word in words if PLACE.fullmatch(word) and not word.startswith(MADE)]


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_are_there(page):
    named = places(text_of(page))
    assert len(named) >= 4
    assert [place for place in named if not is_there(place)] == []
    assert not is_there("src/no-such-file.py")


def test_paths_inside_commands_are_found():
    assert places("`a/b.py`, `.venv/bin/pytest c/d.py -k e` and f/g.py\n\n    make x # h/i\n") == [
        "a/b.py",
        "c/d.py",
        "h/i",
    ]
    assert "tests/unit/docs/test_docs.py" in places(text_of("CONTRIBUTING.md"))


def test_links_of_contributing_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text_of("CONTRIBUTING.md")) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_verbs_of_make_are_there():
    used = re.findall(r"(?:^ {4}|`)make ((?:[a-z]+(?:-[a-z]+)?[ `])+)", text_of("CONTRIBUTING.md"), re.MULTILINE)
    verbs = {verb for words in used for verb in words.strip(" `").split()}
    assert {"help", "lint", "types", "unit", "docs", "pictures", "lock", "scenarios", "scenario-default"} <= verbs
    scenarios = {f"scenario-{path.parent.name}" for path in ROOT.glob("molecule/*/molecule.yml")}
    assert verbs - VERBS - scenarios == set()


def test_contributing_is_one_screen():
    assert len(text_of("CONTRIBUTING.md").splitlines()) <= 60


def test_the_hooks_run_what_make_lint_runs():
    [local] = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    names = [hook["name"].removesuffix(" .") for hook in local["hooks"] if hook["name"] != "mypy"]
    commands = [re.sub(r'^([A-Z_]+=("[^"]*"|\S+) )*', "", line.strip()) for line in LINT.splitlines()[1:]]
    assert len(names) == len(commands) == 8
    assert all(any(command.startswith(name) for command in commands) for name in names)


def test_what_people_import_is_named_and_typed():
    assert speedtest_logger.archive.__all__ == ["open_archive"]
    assert callable(speedtest_logger.archive.open_archive)
    assert (ROOT / "src/speedtest_logger/py.typed").exists()
