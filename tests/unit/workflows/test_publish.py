"""What is published, and where the secret is meanwhile. Programs that would reach GitHub and Galaxy are stand-ins."""

from __future__ import annotations

import os
import subprocess

import pytest
from builders import ROOT

CHANGES = """# Changes

## 1.2.3 (2026-12-01)

- **Whoever runs it**: one thing.

## 1.2.30

- Another version.

## 1.2.2

## 1.2.1
"""
TOKEN = "the-namespace's"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with artefacts, whose programs write down what they are told."""
    (tmp_path / "dist").mkdir()
    for name in ("speedtest_telemetry-1.2.3.tar.gz", "speedtest-telemetry-1.2.3.tar.gz", "speedtest-logger_1.2.3.deb"):
        (tmp_path / "dist" / name).write_bytes(b"x")
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    for name in ("gh", "ansible-galaxy"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            '#!/bin/sh\nprintf "%s\\n" "$@" >argv\n[ ! -e "$ANSIBLE_GALAXY_TOKEN_PATH" ] || '
            '{ cp "$ANSIBLE_GALAXY_TOKEN_PATH" given; stat -c %a "$(dirname "$ANSIBLE_GALAXY_TOKEN_PATH")" >mode; '
            "env >environment; exit 0; }\ncat >notes\n"
        )
        program.chmod(0o755)
    return tmp_path


def run(checkout, script, **variables):
    environment = {"PATH": f"{checkout}/bin:{os.environ['PATH']}", "TMPDIR": str(checkout), **variables}
    command = [ROOT / ".github/scripts" / script]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def told(checkout):
    return (checkout / "argv").read_text().splitlines()


def test_a_release_has_what_the_changelog_says_of_it_and_every_artefact(checkout):
    done = run(checkout, "publish-release", GITHUB_REF_NAME="v1.2.3")
    assert done.returncode == 0, done.stderr
    assert (checkout / "notes").read_text().strip() == "- **Whoever runs it**: one thing."
    artefacts = sorted(f"dist/{file.name}" for file in (checkout / "dist").iterdir())
    said = told(checkout)
    assert said[:4] == ["release", "create", "v1.2.3", "--verify-tag"]
    assert sorted(said[-3:]) == artefacts


@pytest.mark.parametrize(("tag", "code"), [("v1.2.3", 0), ("v1.2.4", 2), ("v1.2.30", 2), ("1.2.3", 2)])
def test_a_release_is_tagged_with_the_version_of_its_source(checkout, tag, code):
    package = checkout / "src/speedtest_logger/__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text('"""Text."""\n\n__version__ = "1.2.3"\n')
    done = run(checkout, "check-tag", GITHUB_REF_NAME=tag)
    assert done.returncode == code
    assert code == 0 or f"the tag is {tag}, and" in done.stderr


@pytest.mark.parametrize("tag", ["v1.2.2", "v9.9.9"])
def test_a_release_of_which_nothing_is_written_is_refused(checkout, tag):
    done = run(checkout, "publish-release", GITHUB_REF_NAME=tag)
    assert done.returncode == 2
    assert f"nothing below '## {tag[1:]}'" in done.stderr
    assert not (checkout / "argv").exists()


def test_the_collections_token_is_in_a_file_of_its_own_and_nowhere_else(checkout):
    done = run(checkout, "publish-collection", GALAXY_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert told(checkout) == ["collection", "publish", "dist/speedtest-telemetry-1.2.3.tar.gz"]
    assert (checkout / "given").read_text() == f"token: {TOKEN}\n"
    assert (checkout / "mode").read_text() == "700\n"
    assert TOKEN not in (checkout / "environment").read_text()
    assert not list(checkout.rglob("token"))


def test_without_a_token_or_a_collection_nothing_is_published(checkout):
    assert "GALAXY_TOKEN: is not set" in run(checkout, "publish-collection").stderr
    (checkout / "dist/speedtest-telemetry-1.2.3.tar.gz").unlink()
    assert "0 collections in dist/" in run(checkout, "publish-collection", GALAXY_TOKEN=TOKEN).stderr
    assert not (checkout / "argv").exists()
