"""The workflows run what people run: verbs of make, tested scripts; what is unsafe or cannot work is refused."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from builders import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
SCRIPTS = sorted(path.name for path in (GITHUB / "scripts").iterdir())
UNIVERSES = {"staging", "production"}
COMMAND = re.compile(r"make ([a-z_-]+)|\.github/scripts/([a-z-]+)( \"[\w$=]+\")*")
EXPRESSION = re.compile(r"\$\{\{ matrix\.([a-z]+) \}\}")


@cache
def loaded(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(name: str):
    return loaded(GITHUB / f"workflows/{name}.yml")["jobs"]


def steps():
    """Each step of each workflow and action, with its matrix."""
    for path in WORKFLOWS:
        for job in loaded(path)["jobs"].values():
            matrix = job.get("strategy", {}).get("matrix", {})
            for step in job.get("steps", []):
                yield path.name, step, matrix
    for path in ACTIONS:
        for step in loaded(path)["runs"]["steps"]:
            yield path.parent.name, step, {}


def meant(command: str, matrix) -> set[str]:
    """A command with each value that the matrix has in its place."""
    found = EXPRESSION.search(command)
    if not found:
        return {command}
    values = set(matrix[found[1]]) | {row[found[1]] for row in matrix.get("include", []) if found[1] in row}
    return {command.replace(found[0], value) for value in values}


def ran(name: str) -> set[str]:
    """The commands of a workflow."""
    return {
        command
        for file, step, matrix in steps()
        if file == f"{name}.yml" and "run" in step
        for command in meant(step["run"], matrix)
    }


def is_a_verb(name: str) -> bool:
    """Whether make knows how to make it."""
    if name.startswith("scenario-"):
        return (ROOT / "molecule" / name.removeprefix("scenario-") / "molecule.yml").exists()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return any(name in line.split() for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE))


def variable(name: str) -> list[str]:
    """A variable of the Makefile, as make itself has it."""
    asked = f"asked:\n\t@echo $({name})"
    done = subprocess.run(
        ["make", "--no-print-directory", f"--eval={asked}", "asked"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_every_command_is_one_verb_or_one_script():
    commands = {command for _, step, matrix in steps() if "run" in step for command in meant(step["run"], matrix)}
    assert len(commands) > 20
    for command in commands:
        found = COMMAND.fullmatch(command)
        assert found, command
        verb, script = found[1], found[2]
        assert script in SCRIPTS if script else is_a_verb(verb), command


def test_ci_runs_what_make_test_runs_and_the_scenarios_that_are_too_long_for_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [parts] = re.findall(r'^test:.*\n.*side-by-side PARTS="\$\(GATE\) ([a-z ]+)"', makefile, re.MULTILINE)
    assert set(variable("GATE")) | set(variable("CI_ALONE")) == set(variable("SCENARIOS"))
    each = {f"make {part}" for part in parts.split()} | {f"make scenario-{name}" for name in variable("SCENARIOS")}
    assert ran("ci") - {"make node-side", ".github/scripts/all-passed"} == each
    assert "make proofs" in ran("nightly")


def test_the_closing_job_waits_for_all_the_others():
    closing = jobs("ci")["ok"]
    assert set(closing["needs"]) == set(jobs("ci")) - {"ok"}
    assert closing["if"] == "always()"


def test_units_run_on_every_python_that_the_package_allows():
    matrix = jobs("ci")["unit"]["strategy"]["matrix"]
    pythons = {*matrix["python"], *(row["python"] for row in matrix["include"])}
    assert pythons == {"3.10", "3.11", "3.12", "3.13", "3.14"}
    assert matrix["include"] == [{"python": "3.10", "verb": "node-side"}]
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_what_others_wrote_is_pinned_by_a_commit_with_its_version():
    used = re.compile(r"^ *-? ?uses: (\S+)(?: # (\S+))?$", re.MULTILINE)
    found = [row for path in WORKFLOWS + ACTIONS for row in used.findall(path.read_text(encoding="utf-8"))]
    others = {row for row in found if not row[0].startswith("./")}
    assert len(others) >= 9
    for action, version in others:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), (action, version)
    named: dict[str, set[str]] = {}
    for action, _ in others:
        named.setdefault(action.partition("@")[0], set()).add(action)
    assert [versions for versions in named.values() if len(versions) > 1] == []


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.parent.name)
def test_inputs_of_an_action_are_described_named_alike_declared_and_used(path):
    inputs = loaded(path)["inputs"]
    assert [name for name in inputs if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []
    assert all(declared["description"] and "required" in declared for declared in inputs.values())
    assert set(re.findall(r"inputs\.([\w-]+)", path.read_text(encoding="utf-8"))) == set(inputs)


def test_actions_are_given_what_they_declare():
    calls = 0
    for file, step, _ in steps():
        if not step.get("uses", "").startswith("./"):
            continue
        calls += 1
        inputs = loaded(ROOT / step["uses"] / "action.yml")["inputs"]
        assert set(step["with"]) <= set(inputs), file
        assert {name for name, declared in inputs.items() if declared["required"]} <= set(step["with"]), file
    assert calls >= 5


def test_every_action_is_used():
    used = {step.get("uses") for _, step, _ in steps()}
    assert {f"./.github/actions/{path.parent.name}" for path in ACTIONS} <= used


def test_only_who_needs_it_may_write():
    """Everything reads; what a job may write beyond that is written out here."""
    found = {}
    for path in WORKFLOWS:
        assert loaded(path)["permissions"] == {"contents": "read"}, path.name
        for name, job in loaded(path)["jobs"].items():
            if writes := {right for right, value in job.get("permissions", {}).items() if value == "write"}:
                found[f"{path.stem}.{name}"] = writes
    assert found == {
        "image.push": {"packages"},
        "infrastructure.deploy": {"id-token"},
        "release.attest": {"attestations", "id-token"},
        "release.image": {"packages"},
        "release.pypi": {"id-token"},
        "release.page": {"contents"},
    }


def test_universes_are_the_same_everywhere():
    deploy = jobs("infrastructure")["deploy"]
    assert set(deploy["strategy"]["matrix"]["universe"]) == UNIVERSES
    assert deploy["environment"] == "${{ matrix.universe }}"
    for name in ("infrastructure", "image"):
        by_hand = loaded(GITHUB / f"workflows/{name}.yml")["on"]["workflow_dispatch"]["inputs"]["universe"]
        assert by_hand["type"] == "choice"
        assert set(by_hand["options"]) == UNIVERSES


def test_the_bucket_is_deployed_where_its_template_changes():
    paths = loaded(GITHUB / "workflows/infrastructure.yml")["on"]["push"]["paths"]
    for path in paths:
        assert list(ROOT.glob(path.removesuffix("/**"))), f"{path} is not there"
    assert "infrastructure/**" in paths


CLEAN = """---
name: planted
"on": pull_request
permissions:
  contents: read
concurrency:
  group: planted
  cancel-in-progress: true
jobs:
  one:
    name: one
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - run: make lint
"""
DEFECTS = {
    "what people write is run as a program": (
        "run: make lint",
        'run: echo "${{ github.event.pull_request.title }}"',
        "template-injection",
    ),
    "an action that can change": (
        "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
        "@v7",
        "unpinned-uses",
    ),
    "credentials left behind": ("        with:\n          persist-credentials: false\n", "", "artipacked"),
    "whatever rights the repository gives": ("permissions:\n  contents: read\n", "", "excessive-permissions"),
    "strangers' code with the repository's secrets": (
        '"on": pull_request',
        '"on": pull_request_target',
        "dangerous-triggers",
    ),
    "a value that is not there": ("run: make lint", "run: make ${{ matrix.nope }}", "nope"),
    "a job that is not there": ("    name: one\n", "    name: one\n    needs: two\n", "two"),
}


def judged(folder: Path, text: str) -> str:
    """What the two linters say of a workflow; empty where both are content."""
    file = folder / ".github/workflows/planted.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    said = ""
    for command in (["zizmor", "--offline", "--quiet", str(file)], ["actionlint", "-no-color", str(file)]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr if done.returncode else ""
    return said


def test_a_workflow_without_a_defect_passes(tmp_path):
    assert judged(tmp_path, CLEAN) == ""


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_refused(tmp_path, defect):
    before, after, said = DEFECTS[defect]
    assert before in CLEAN
    assert said in judged(tmp_path, CLEAN.replace(before, after))
