"""Each event gives the image its tags in one universe, and no older release takes a newer one's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from builders import ROOT

SHA = "5f" * 20
MAIN, HAND, RELEASES = "refs/heads/main", "workflow_dispatch", ["v0.9.0", "v1.1.9", "v1.2.2", "v1.2.3"]


@pytest.fixture
def checkout(tmp_path):
    """A repository with releases, and the script in its place."""
    scripts = tmp_path / "checkout/.github/scripts"
    scripts.mkdir(parents=True)
    (scripts / "image-tags").write_bytes((ROOT / ".github/scripts/image-tags").read_bytes())

    def git(*command):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *command], cwd=scripts, check=True, capture_output=True)

    git("init", "--initial-branch", "main", str(tmp_path / "checkout"))
    git("commit", "--allow-empty", "--message", "first")
    for tag in (*RELEASES, "v9", "vaccine", "v10.0.0-rc.1"):
        git("tag", tag)
    return scripts


def tell(checkout, event, ref, universe="", sha=SHA):
    output = checkout / "output"
    environment = {
        "PATH": os.environ["PATH"],
        "GITHUB_EVENT_NAME": event,
        "GITHUB_REF": ref,
        "GITHUB_SHA": sha,
        "UNIVERSE": universe,
        "GITHUB_OUTPUT": str(output),
    }
    done = subprocess.run(
        [sys.executable, checkout / "image-tags"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        assert output.read_text() == done.stdout
    return done


@pytest.mark.parametrize(
    ("event", "ref", "chosen", "universe", "tags"),
    [
        ("push", MAIN, "", "staging", "main-5f5f5f5f5f5f latest-staging"),
        (HAND, MAIN, "staging", "staging", "main-5f5f5f5f5f5f latest-staging"),
        (HAND, MAIN, "production", "production", "main-5f5f5f5f5f5f latest-production"),
        ("push", "refs/tags/v1.2.3", "", "production", "1.2.3 1.2 1 latest-production"),
        ("push", "refs/tags/v1.2.10", "", "production", "1.2.10 1.2 1 latest-production"),
        ("push", "refs/tags/v1.1.10", "", "production", "1.1.10 1.1"),
        ("push", "refs/tags/v1.2.2", "", "production", "1.2.2"),
        ("push", "refs/tags/v0.9.1", "", "production", "0.9.1 0.9 0"),
        ("push", "refs/tags/v2.0.0", "", "production", "2.0.0 2.0 2 latest-production"),
        (HAND, "refs/tags/v1.2.3", "staging", "staging", "1.2.3 1.2 1 latest-staging"),
        (HAND, "refs/tags/v1.2.3", "production", "production", "1.2.3 1.2 1 latest-production"),
    ],
)
def test_an_event_reaches_a_universe_with_its_tags(checkout, event, ref, chosen, universe, tags):
    done = tell(checkout, event, ref, chosen)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.removeprefix("pushes=")) == [{"universe": universe, "tags": tags}]


@pytest.mark.parametrize(
    ("event", "ref", "chosen", "sha", "said"),
    [
        ("push", "refs/heads/other", "", SHA, "images come from main"),
        ("pull_request", "refs/pull/7/merge", "", SHA, "images come from main"),
        (HAND, "refs/heads/other", "staging", SHA, "images come from main"),
        (HAND, MAIN, "", SHA, "choose one of staging, production"),
        (HAND, MAIN, "mine", SHA, "UNIVERSE is 'mine'"),
        ("push", "refs/tags/v1.2", "", SHA, "vMAJOR.MINOR.PATCH"),
        ("push", "refs/tags/v1.2.3-rc.1", "", SHA, "vMAJOR.MINOR.PATCH"),
        ("push", "refs/tags/v1.2.3 latest", "", SHA, "vMAJOR.MINOR.PATCH"),
        ("push", "refs/tags/v01.2.3", "", SHA, "vMAJOR.MINOR.PATCH"),
        ("push", MAIN, "", "5f5f5f\nx=y", "GITHUB_SHA"),
        ("push", MAIN, "", "", "GITHUB_SHA"),
    ],
)
def test_what_is_no_release_and_not_main_gets_no_tag(checkout, event, ref, chosen, sha, said):
    done = tell(checkout, event, ref, chosen, sha)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert not (checkout / "output").exists()


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["success", "success"], 0),
        (["success", "failure"], 1),
        (["success", "cancelled"], 1),
        (["success", "skipped"], 1),
        ([], 1),
    ],
)
def test_the_closing_job_passes_where_all_the_others_did(results, code):
    needs = json.dumps({f"job{number}": {"result": result, "outputs": {}} for number, result in enumerate(results)})
    script = ROOT / ".github/scripts/all-passed"
    done = subprocess.run([sys.executable, script], env={"NEEDS": needs}, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == results
