"""Whose rights a verb of root's has, and whose are the files that it writes."""

from __future__ import annotations

import csv
import encodings.utf_8_sig  # noqa: F401  # before accounts change: this Python may lie in root's home
import os
import sqlite3  # noqa: F401  # for the same reason
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from builders import SERVICE, in_a_process

from speedtest_logger.archive import cli
from speedtest_logger.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE

VERBS = {
    "init": [],
    "ingest": [],
    "query": ["FROM records"],
    "nodes": [],
    "latest": [],
    "coverage": [],
    "outages": [],
    "verify": [],
    "prune": ["--older-than", "1d"],
    "gather": [],
    "fleet": [],
}


@pytest.fixture
def mine(archive):
    """A folder that only root may enter."""
    folder = archive.root.parent / "root's"
    folder.mkdir(mode=0o700)
    return folder


def run(archive, *words):
    return cli.main(["--root", str(archive.root), *map(str, words)])


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_of_roots_runs_as_the_archives_owner(archive, verb, monkeypatch):
    seen = []

    def looks(_):
        seen.append((os.getresuid()[:2], os.getgid()))
        return EXIT_OK

    monkeypatch.setattr(cli, "ALL", [replace(each, run=looks) if each.name == verb else each for each in cli.ALL])

    def act():
        assert run(archive, verb, *VERBS[verb]) == EXIT_OK
        assert seen == [((SERVICE.uid, SERVICE.uid), SERVICE.gid)]
        with pytest.raises(PermissionError):
            os.seteuid(0)

    in_a_process(act)


@pytest.mark.parametrize("verb", ["query", "nodes", "latest", "coverage", "outages", "prune", "verify"])
def test_what_root_names_is_roots(archive, mine, verb):
    out = mine / "out.csv"

    def act():
        assert run(archive, verb, *VERBS[verb], "--format", "csv", "--out", out) == EXIT_OK
        assert os.getresuid() == (0, 0, 0)

    in_a_process(act)
    assert list(csv.reader(out.read_text().splitlines()))
    assert (out.stat().st_uid, stat.S_IMODE(out.stat().st_mode)) == (0, 0o640)
    assert os.listdir(mine) == ["out.csv"]


@pytest.mark.parametrize(("folder_of", "owner"), [(4242, 4242), (0, 0)])
def test_a_report_made_with_sudo_is_the_callers_where_they_may_write(archive, tmp_path, folder_of, owner):
    folder = tmp_path / "home"
    folder.mkdir()
    for above in (tmp_path, *tmp_path.parents[:3]):  # a worker has a folder more
        above.chmod(above.stat().st_mode | 0o055)
    os.chown(folder, folder_of, folder_of)
    kept = tmp_path / "kept"
    kept.write_text("")

    def act():
        os.environ.update(SUDO_UID="4242", SUDO_GID="4243")
        assert run(archive, "report", "--location", "home", folder / "home.html") == EXIT_OK
        with kept.open("wb") as stream:
            assert run(archive, "query", "--out", f"/dev/fd/{stream.fileno()}", "SELECT 1") == EXIT_OK

    in_a_process(act)
    for name in ("home.html", "home.csv"):
        found = (folder / name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (owner, owner and 4243, 0o640)
    assert kept.stat().st_uid == 0  # a stream is whose it was


def test_a_report_and_its_rows_are_roots(archive, mine):
    in_a_process(lambda: run(archive, "report", "--location", "home", mine / "home.html") and sys.exit("it failed"))
    assert sorted(os.listdir(mine)) == ["home.csv", "home.html"]
    assert "home.csv" in (mine / "home.html").read_text()
    assert {file.stat().st_uid for file in mine.iterdir()} == {0}


def test_a_report_to_standard_output_has_no_rows_beside_it(archive, capfdbinary):
    in_a_process(lambda: run(archive, "report", "--location", "home", "-") and sys.exit("it failed"))
    page = capfdbinary.readouterr().out
    assert page.startswith(b"<!doctype html>")
    assert b"beside this page" not in page


def test_a_report_cannot_be_its_own_rows(archive, mine, capsys):
    assert run(archive, "report", "--location", "home", mine / "home.csv") == EXIT_USAGE
    assert "name the page, such as" in capsys.readouterr().err
    assert not os.listdir(mine)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "openmetrics", "sqlite"])
def test_an_export_is_roots(archive, mine, form):
    in_a_process(lambda: run(archive, "export", "--format", form, mine / "rows") and sys.exit("it failed"))
    assert (mine / "rows").stat().st_uid == 0
    assert os.listdir(mine) == ["rows"]


def test_a_folder_is_exported_as_roots(archive, mine, capsys):
    out = mine / "tree"
    in_a_process(lambda: run(archive, "export", "--format", "speedsnake", out) and sys.exit("it failed"))
    assert len(pd.read_parquet(out)) == 1
    assert {place.stat().st_uid for place in out.rglob("*")} == {0}
    assert run(archive, "export", "--format", "speedsnake", out) == EXIT_USAGE
    assert "is not an empty folder" in capsys.readouterr().err


def test_root_imports_what_only_root_may_read(archive, mine):
    file = mine / "old.csv"
    file.write_text(
        "sponsor,server name,distance,timestamp,ping,download,upload\na,b,1,2024-01-01T00:00:00Z,10,1e8,5e7\n"
    )
    file.chmod(0o600)
    words = ("import", "--node", "attic", "--location", "home")
    in_a_process(lambda: run(archive, *words, "--dry-run", mine) and sys.exit("it failed"))
    assert len(archive.month_files()) == 1
    in_a_process(lambda: run(archive, *words, mine) and sys.exit("it failed"))
    assert len(archive.month_files()) == 2
    assert {place.stat().st_uid for place in archive.archive.rglob("*")} == {SERVICE.uid}


@pytest.mark.parametrize("words", [["query", "SELEC"], ["query", "DROP VIEW records"]])
def test_what_fails_leaves_what_was_there(archive, mine, words, capfd):
    (mine / "out").write_text("as it was")

    def act():
        assert run(archive, *words, "--out", mine / "out") == EXIT_USAGE

    in_a_process(act)
    assert capfd.readouterr().err.startswith("speedtest-archive: ")
    assert [(file.name, file.read_text()) for file in mine.iterdir()] == [("out", "as it was")]


@pytest.mark.parametrize("kind", ["link", "directory"])
@pytest.mark.parametrize("words", [["query", "FROM records", "--out"], ["export"], ["report", "--location", "home"]])
def test_nothing_but_a_file_is_replaced(archive, mine, kind, words, capsys):
    place = mine / "out.html"
    (mine / "elsewhere").write_text("somebody else's")
    place.mkdir() if kind == "directory" else place.symlink_to(mine / "elsewhere")
    assert run(archive, *words, place) == EXIT_STORAGE
    assert f"there is a {kind}, which is not replaced" in capsys.readouterr().err
    assert (mine / "elsewhere").read_text() == "somebody else's"
    assert sorted(os.listdir(mine)) == ["elsewhere", "out.html"]


def test_rows_go_through_a_pipe_of_roots(archive, mine):
    os.mkfifo(mine / "pipe", 0o600)
    seen = []
    reader = threading.Thread(target=lambda: seen.append((mine / "pipe").read_text()))
    reader.start()
    in_a_process(
        lambda: (
            run(archive, "query", "SELECT node FROM records", "--format", "csv", "--out", mine / "pipe") and sys.exit(1)
        )
    )
    reader.join(10)
    assert seen == ["node\nattic\n"]


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_rows_go_to_standard_output(archive, out, capfd):
    in_a_process(
        lambda: run(archive, "query", "SELECT node FROM records", "--format", "csv", "--out", out) and sys.exit(1)
    )
    assert capfd.readouterr().out == "node\nattic\n".replace("\n", "\r\n")


def test_a_link_in_the_place_of_the_archive_is_refused(archive, capsys):
    os.rename(archive.archive, archive.root / "elsewhere")
    archive.archive.symlink_to(Path("elsewhere"))
    assert run(archive, "nodes") == EXIT_USAGE
    assert "is not an archive" in capsys.readouterr().err
