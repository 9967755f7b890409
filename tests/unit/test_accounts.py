"""What root starts goes on as the owner of what it works on. Real accounts in processes of their own: as root only."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from builders import SERVICE, in_a_process

from speedtest_logger import accounts
from speedtest_logger.accounts import NOBODY, Owner
from speedtest_logger.node import cli


@pytest.fixture
def service_folder():
    """A folder of the service's in root's, where everybody may pass."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    folder = parent / "archive"
    folder.mkdir(mode=0o750)
    os.chown(folder, SERVICE.uid, SERVICE.gid)
    yield folder
    shutil.rmtree(parent)


def test_the_owner_is_that_of_a_real_directory(service_folder):
    assert accounts.owner_of(service_folder) == SERVICE
    link = service_folder.parent / "link"
    link.symlink_to(service_folder)
    for wrong in (link, service_folder / "none"):
        with pytest.raises(OSError, match=r"where a directory should be|No such file"):
            accounts.owner_of(wrong)


def test_nothing_leads_back_from_an_account(service_folder):
    def act():
        accounts.become(SERVICE)
        assert (os.getresuid(), os.getresgid()) == ((SERVICE.uid,) * 3, (SERVICE.gid,) * 3)
        assert os.getgroups() == [SERVICE.gid]
        (service_folder / "new").touch()
        with pytest.raises(PermissionError):
            os.seteuid(0)
        with pytest.raises(PermissionError):
            (service_folder.parent / "new").touch()

    in_a_process(act)


def test_an_account_has_all_its_groups():
    import pwd

    name = "daemon"
    found = pwd.getpwnam(name)

    def act():
        accounts.become(Owner(found.pw_uid, found.pw_gid))
        assert set(os.getgroups()) == set(os.getgrouplist(name, found.pw_gid))

    in_a_process(act)


def test_root_stays_root_where_everything_is_its_own(tmp_path):
    def act():
        accounts.become(accounts.owner_of(tmp_path))
        assert os.getresuid() == (0, 0, 0)

    in_a_process(act)


def test_acting_as_an_account_ends(service_folder):
    def act():
        before = os.getresuid(), os.getresgid(), os.getgroups()
        with pytest.raises(FileExistsError), accounts.acting_as(SERVICE):
            [(service_folder / "new").touch(exist_ok=False) for _ in range(2)]
        assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
        assert (service_folder / "new").stat().st_uid == SERVICE.uid

    in_a_process(act)


def may_read_only(folder):
    """Whether this process and a thread of it can read in a folder, and can write nothing."""
    assert os.geteuid() == NOBODY
    refused = []

    def write():
        for act in (
            (folder / "new").touch,
            lambda: (folder / "old").write_text("x"),
            (folder / "old").unlink,
            lambda: (folder / "old").rename(folder / "other"),
        ):
            with pytest.raises(PermissionError):
                act()
            refused.append(act)
        assert (folder / "old").read_text() == "rows"

    write()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert len(refused) == 8


@pytest.mark.parametrize("way", ["become", "acting_as", "root"])
def test_a_process_that_root_started_can_give_up_writing(service_folder, way):
    (service_folder / "old").write_text("rows")
    (service_folder / "old").chmod(0o640)
    os.chown(service_folder / "old", SERVICE.uid, SERVICE.gid)

    def act():
        if way == "become":
            accounts.become(SERVICE, to_read=True)
        if way == "acting_as":
            with accounts.acting_as(SERVICE):
                with accounts.unable_to_write(service_folder):
                    may_read_only(service_folder)
                assert os.geteuid() == SERVICE.uid
        else:
            before = os.geteuid()
            with accounts.unable_to_write(service_folder):
                may_read_only(service_folder)
            assert os.geteuid() == before
        if way == "become":
            with pytest.raises(PermissionError):
                os.seteuid(0)

    in_a_process(act)


def test_where_not_even_the_group_can_get_there_the_owner_stays(service_folder):
    def act():
        os.chown(service_folder.parent, SERVICE.uid, SERVICE.gid)
        service_folder.parent.chmod(0o700)
        accounts.become(SERVICE, to_read=True)
        with accounts.unable_to_write(service_folder):
            assert os.geteuid() == SERVICE.uid
        assert os.geteuid() == SERVICE.uid

    in_a_process(act)


@pytest.mark.parametrize("verb", [["status"], ["healthcheck"], ["config", "show"], ["measure"], ["push"], ["doctor"]])
def test_every_verb_of_the_logger_goes_on_as_the_owner(service_folder, verb, monkeypatch):
    """The state directory is root's, what lies in it is the service's."""
    (service_folder / "state").mkdir()
    os.chown(service_folder, 0, SERVICE.gid)
    os.chown(service_folder / "state", SERVICE.uid, SERVICE.gid)
    monkeypatch.setenv("SPEEDTEST_NODE", "attic")
    monkeypatch.setenv("SPEEDTEST_STATE_DIR", str(service_folder))
    seen = []
    for name in ("status", "healthcheck", "config", "measure", "push", "doctor"):
        monkeypatch.setattr(cli, f"run_{name}", lambda *_: seen.append(os.getresuid()) or 0)

    def act():
        assert cli.main(verb) == 0
        assert seen == [(SERVICE.uid,) * 3]

    in_a_process(act)


def test_a_link_in_the_place_of_the_state_is_refused(service_folder, monkeypatch, capsys):
    (service_folder / "state").symlink_to("/etc")
    monkeypatch.setenv("SPEEDTEST_NODE", "attic")
    monkeypatch.setenv("SPEEDTEST_STATE_DIR", str(service_folder))
    assert cli.main(["status"]) == 5
    assert "where a directory should be" in capsys.readouterr().err
