"""Backups by two accounts: who owns the archive never has the password, who has it never writes to the archive."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from builders import bytes_of, in_a_process
from quick_restic import PASSWORD

from speedtest_logger.accounts import Owner
from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.care import backup, repository, restore
from speedtest_logger.errors import StorageError

COUNT = "SELECT count(*) AS n FROM records"


@pytest.fixture
def saver(archive):
    """An account that is a member of the archive's group, with a repository of its own, as a role makes it."""
    account = Owner(61_003, archive.archive.stat().st_gid)
    for folder, mode in ((archive.backups, 0o2750), (archive.root.parent / "repository", 0o700)):
        folder.mkdir(mode=mode)
        os.chown(folder, account.uid, account.gid)
        folder.chmod(mode)
    archive.fleet.mkdir(mode=0o750, exist_ok=True)
    os.chown(archive.fleet, 0, account.gid)
    (archive.fleet / "schedule.json").write_text('{"nodes": {}}')
    os.chown(archive.fleet / "schedule.json", 0, account.gid)
    (archive.fleet / "schedule.json").chmod(0o640)
    return account


@pytest.fixture
def environment(archive, saver, restic, monkeypatch):
    """What the role writes for the unit and for root, readable by root only."""
    file = archive.root.parent / "backup.env"
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    file.write_text(
        f'RESTIC_REPOSITORY="{archive.root.parent}/repository"\nRESTIC_PASSWORD="{escaped}"\n'
        f'RESTIC_CACHE_DIR="{archive.root.parent}/repository/cache"\n'
    )
    file.chmod(0o600)
    monkeypatch.setenv("PATH", f"{restic}:{os.environ['PATH']}")
    monkeypatch.setattr(repository, "ENV_FILE", file)
    monkeypatch.delenv("RESTIC_REPOSITORY", raising=False)
    monkeypatch.delenv("RESTIC_PASSWORD", raising=False)
    return file


def run(archive, *words):
    def act():
        code = cli.main(["--root", str(archive.root), *words])
        assert code == 0, code
        assert "RESTIC_PASSWORD" not in os.environ
        assert os.getresuid() == (0, 0, 0)

    in_a_process(act)


def emptied(archive):
    """The archive as a role makes it on a new host."""
    for folder in (archive.archive, archive.manifest, archive.inbox, archive.state, archive.raw, archive.quarantine):
        for place in folder.iterdir():
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def test_root_backs_up_and_restores_as_others(archive, saver, environment, capfd):
    before = bytes_of(archive.archive)
    run(archive, "backup")
    last = json.loads((archive.backups / "last.json").read_text())
    assert (archive.backups / "last.json").stat().st_uid == saver.uid
    assert last["manifest_line"] == 1
    assert not list(archive.work.iterdir())
    assert {place.stat().st_uid for place in (archive.root.parent / "repository").rglob("*")} == {saver.uid}
    emptied(archive)
    run(archive, "restore")
    restored = bytes_of(archive.archive)
    assert {name: (uid, digest) for name, (uid, _, digest) in restored.items()} == {
        name: (uid, digest) for name, (uid, _, digest) in before.items()
    }
    assert (archive.state / "restored-schedule.json").read_text() == '{"nodes": {}}'
    assert not list(archive.work.iterdir())
    assert open_archive(archive.root).query(COUNT).to_pylist() == [{"n": 1}]
    assert '"rows": 1' in capfd.readouterr().out


def link_of_its_own(file):
    """To a tree that takes long to walk through, made by the account that has the repository."""
    file.symlink_to("/")
    os.chown(file, 61_003, -1, follow_symlinks=False)


PLANTED = (
    ("keys/*", os.mkfifo),
    ("data/*/*", os.mkfifo),
    ("cache/*/version", os.mkfifo),
    ("cache/*/index/*/*", lambda file: file.symlink_to("/dev/zero")),
    ("snapshots/*", link_of_its_own),
)


def test_restic_is_not_started_where_it_would_never_end(archive, saver, environment, capfd):
    """Each by itself in one repository: what is put back leaves nothing of it."""
    run(archive, "backup")
    where = archive.root.parent / "repository"
    for place, kind in PLANTED:
        file = sorted(where.glob(place))[0]
        file.rename(archive.root.parent / "kept")
        kind(file)
        for words in (["backup"], ["restore", "--file", "location=home/year=2026/month=01/speedtest.parquet"]):
            with pytest.raises(AssertionError, match="5"):
                run(archive, *words)
            said = capfd.readouterr().err
            assert str(file) in said
            assert "where restic has a file" in said
        file.unlink()
        (archive.root.parent / "kept").rename(file)
    run(archive, "backup")


def test_what_comes_and_is_refused_is_said(archive, saver, environment, monkeypatch, capfd):
    """Restic is told by a signal that nobody reads any more, and has no words for it."""
    waiting = archive.inbox / "attic.jsonl"
    waiting.write_bytes(os.urandom(1_000_000))  # more than a pipe holds
    os.chown(waiting, archive.archive.stat().st_uid, saver.gid)
    waiting.chmod(0o640)
    run(archive, "backup")
    emptied(archive)

    def refuse(*_):
        raise StorageError("a name that does not belong there")

    monkeypatch.setattr(restore, "_unpack", refuse)
    in_a_process(lambda: cli.main(["--root", str(archive.root), "restore"]) == 5 or sys.exit("it was taken"))
    assert "a name that does not belong there" in capfd.readouterr().err


def test_root_brings_one_month_back(archive, saver, environment, capfd):
    run(archive, "backup")
    (file,) = archive.month_files()
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    run(archive, "restore", "--file", archive.name(file))
    assert file.read_bytes() == content
    assert file.stat().st_uid != 0
    in_a_process(
        lambda: (
            cli.main(["--root", str(archive.root), "restore", "--file", archive.name(file).replace("home", "none")])
            == 2
            or sys.exit("it was found")
        )
    )
    assert "has no location=none" in capfd.readouterr().err
    assert not list(archive.work.iterdir())


def test_units_do_a_step_each(archive, saver, environment, monkeypatch):
    owner = Owner(archive.archive.stat().st_uid, archive.archive.stat().st_gid)

    def as_account(account, *words, **variables):
        def act():
            os.environ.update(variables)
            os.setgroups([owner.gid])  # speedtest-backup is a member, and has a group of its own
            os.setresgid(*[account.uid if account == saver else account.gid] * 3)
            os.setresuid(account.uid, account.uid, account.uid)
            assert cli.main(["--root", str(archive.root), "backup", *words]) == 0

        in_a_process(act)

    given = {"RESTIC_REPOSITORY": str(archive.root.parent / "repository"), "RESTIC_PASSWORD": PASSWORD}
    given["RESTIC_CACHE_DIR"] = str(archive.root.parent / "repository/cache")
    as_account(owner, "--stage")
    assert (archive.work / "backup/fleet/schedule.json").exists()
    as_account(saver, "--save", **given)
    assert json.loads((archive.backups / "last.json").read_text())["files"] > 2
    assert (archive.backups / "last.json").stat().st_gid == owner.gid  # or `fleet` would know of no backup
    as_account(owner, "--unstage")
    assert not list(archive.work.iterdir())


def test_each_may_only_do_its_own(archive, saver, environment):
    """The accounts' own rights: what is staged can be read by the one and changed by nobody but the other."""
    owner = Owner(archive.archive.stat().st_uid, archive.archive.stat().st_gid)
    run(archive, "backup", "--stage")
    (staged,) = (archive.work / "backup/archive").rglob("*.parquet")

    def act_as(account, act):
        def process():
            os.setgroups([])
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
            act()

        in_a_process(process)

    def who_saves():
        assert staged.read_bytes()
        for change in (staged.unlink, lambda: staged.write_bytes(b"x"), (archive.state / "x").touch):
            with pytest.raises(PermissionError):
                change()

    def who_owns():
        for secret in (environment, archive.root.parent / "repository/config"):
            with pytest.raises(PermissionError):
                secret.read_bytes()
        for change in ((archive.backups / "last.json").touch, lambda: os.rename(archive.backups, archive.root / "x")):
            with pytest.raises(PermissionError):
                change()

    act_as(saver, who_saves)
    act_as(owner, who_owns)


def test_what_is_no_file_is_not_saved(archive, saver, environment, capfd):
    owner = archive.archive.stat().st_uid
    os.mkfifo(archive.inbox / "pipe")
    (archive.quarantine / "link").symlink_to("/etc/shadow")
    (archive.state / "link.json").symlink_to(environment)
    os.mknod(archive.raw / "device", stat.S_IFCHR, os.makedev(1, 5))
    (archive.manifest / "open.lock").touch()
    for place in (archive.inbox / "pipe", archive.quarantine / "link", archive.state / "link.json"):
        os.lchown(place, owner, -1)
    run(archive, "backup", "--stage")
    names = {place.name for place in (archive.work / "backup").rglob("*")}
    assert not names & {"pipe", "link", "link.json", "device", "open.lock"}
    in_a_process(lambda: cli.main(["--root", str(archive.root), "fleet"]) and sys.exit("it failed"))
    said = json.loads(capfd.readouterr().out.partition("\n")[2])
    assert len([words for words in said["problems"] if "not one of our files" in words]) == 3


@pytest.mark.parametrize("top", ["work", "work/backup"])
def test_a_link_in_the_place_of_what_is_saved_is_refused(archive, saver, environment, top, capfd):
    run(archive, "backup", "--stage")
    place = archive.root / top
    os.rename(place, archive.root / "elsewhere")
    place.symlink_to(archive.root / "elsewhere")
    in_a_process(
        lambda: cli.main(["--root", str(archive.root), "backup", "--save"]) == 5 or sys.exit("it was followed")
    )
    assert "where a directory should be" in capfd.readouterr().err
    assert "where a directory should be" in backup.last(archive)["failure"]["message"]


def test_failures_are_kept_until_there_is_none(archive, saver, environment, capfd):
    wrong = environment.read_text().replace("RESTIC_PASSWORD", "OTHER")
    right = environment.read_text()
    environment.write_text(wrong)
    in_a_process(lambda: cli.main(["--root", str(archive.root), "backup"]) == 5 or sys.exit("it worked"))
    assert "password" in backup.last(archive)["failure"]["message"]
    assert not list(archive.work.iterdir())
    environment.write_text(right)
    run(archive, "backup")
    assert backup.last(archive)["failure"] == {}
    archive.work.rmdir()
    archive.work.touch()
    in_a_process(lambda: cli.main(["--root", str(archive.root), "backup", "--stage"]) == 5 or sys.exit("it worked"))
    assert backup.last(archive)["failure"]["message"]
    assert backup.last(archive)["at"]


def test_a_snapshot_of_the_version_before_comes_back(archive, saver, environment):
    """It had no fleet/, and its schedule was in state/."""
    (archive.state / "schedule.json").write_text('{"nodes": {"attic": []}}')
    os.chown(archive.state / "schedule.json", 0, saver.gid)
    (archive.state / "schedule.json").chmod(0o640)
    shutil.rmtree(archive.fleet)
    run(archive, "backup")
    emptied(archive)
    run(archive, "restore")
    assert (archive.state / "schedule.json").read_text() == '{"nodes": {"attic": []}}'
    assert not Path(archive.state / "restored-schedule.json").exists()


def test_dumps_of_the_database_are_carried_along_and_come_back(archive, saver, environment, tmp_path, capfd):
    folder = archive.database / "dumps"
    folder.mkdir(parents=True)
    (folder / "speedtest-20260131T031000Z.dump").write_bytes(b"a dump")
    for place in (archive.database, folder, *folder.iterdir()):
        os.chown(place, 61_004, saver.gid)
        place.chmod(0o2750 if place.is_dir() else 0o640)
    run(archive, "backup")
    run(archive, "backup")
    emptied(archive)
    run(archive, "restore")  # the newest snapshot of the archive, not that of the dumps
    assert archive.month_files()

    def bring_back():
        repository.take_credentials()
        repository.restic("restore", "latest", "--tag", repository.DUMPS_TAG, "--target", str(tmp_path / "back"))

    in_a_process(bring_back)
    (found,) = (tmp_path / "back").rglob("*.dump")
    assert found.read_bytes() == b"a dump"
