"""A release is refused for what it lacks, and its checksums are those that sha256sum reads."""

from __future__ import annotations

import subprocess

import pytest
from builders import ROOT

from packages import cli, release

CHANGES = "# Changes\n\n## 0.2.0 (2026-12-01)\n\n- **Everybody**: act.\n\n## 0.1.0 (2026-11-01)\n\n- first\n"


def test_what_is_whole_is_released():
    assert release.problems("0.2.0", CHANGES, "", tag_is_here=True) == []
    assert release.problems("0.1.0", CHANGES, "", tag_is_here=True) == []


@pytest.mark.parametrize(
    ("changes", "status", "tag_is_here", "words"),
    [
        (CHANGES, " M src/x.py\n", True, "the tree has changes (src/x.py …): commit them"),
        (CHANGES.replace("## 0.2.0", "## 0.2.1"), "", True, "has no '## 0.2.0'"),
        (CHANGES.replace("2026-12-01", "unreleased"), "", True, "says '## 0.2.0 (unreleased)': put the date there"),
        (CHANGES.replace("- **Everybody**: act.\n", ""), "", True, "says nothing below '## 0.2.0 (2026-12-01)'"),
        (CHANGES.replace("# Changes\n", "# Changes\n\n## Unreleased\n\n- more\n"), "", True, "that are unreleased"),
        (CHANGES, "", False, "the tag v0.2.0 is another commit's: raise __version__"),
    ],
)
def test_what_is_not_is_refused_in_words(changes, status, tag_is_here, words):
    (said,) = release.problems("0.2.0", changes, status, tag_is_here)
    assert words in said


def test_everything_that_is_missing_is_told_at_once(capsys, monkeypatch):
    monkeypatch.setattr(release, "git", lambda *words: " M x\n" if words[0] == "status" else "")
    monkeypatch.setattr(release, "__version__", "9.9.9")
    assert cli.main(["check"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("check: not yet:\n- the tree has changes")
    assert "CHANGELOG.md has no '## 9.9.9'" in said


def test_a_tag_of_another_commit_is_seen(monkeypatch, tmp_path):
    asked = ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-qm", "one", "--allow-empty"], ["tag", "-m", "x", "v0.2.0"]):
        subprocess.run([*asked, *words], check=True)
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    subprocess.run([*asked, "add", "CHANGELOG.md"], check=True)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "__version__", "0.2.0")
    subprocess.run([*asked, "commit", "-qm", "two"], check=True)
    with pytest.raises(RuntimeError, match="another commit's"):
        release.check()
    subprocess.run([*asked, "tag", "-d", "v0.2.0"], check=True, capture_output=True)
    release.check()
    subprocess.run([*asked, "tag", "-m", "x", "v0.2.0"], check=True)
    release.check()


def test_checksums_are_read_by_sha256sum(tmp_path):
    files = [tmp_path / "b.deb", tmp_path / "a.whl"]
    for file in files:
        file.write_text(file.name)
    (tmp_path / release.SUMS).write_text(release.checksums(files))
    checked = ["sha256sum", "--check", "--strict", release.SUMS]
    done = subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "a.whl: OK\nb.deb: OK\n"


def test_the_command_line_says_what_it_takes(capsys):
    assert cli.main([]) == 2
    assert "usage: python3 -m packages build|proof|check|release" in capsys.readouterr().err


def test_what_makes_a_release_is_a_verb_that_there_is():
    makefile = (ROOT / "Makefile").read_text()
    for verb in ("packages", "packages-proof", "release", "image"):
        assert f"\n{verb}:" in makefile
