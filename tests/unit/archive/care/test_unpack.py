"""What comes back from a backup decides nothing but the content of files below known folders."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from speedtest_logger.archive.care.unpack import unpack
from speedtest_logger.errors import StorageError

TOPS = ("archive", "state", "location=")


def stream_of(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.mode = 0o4777
            member.uid = 12_345
            member.linkname = "/etc/passwd"
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def test_files_and_folders_come_with_modes_of_ours(tmp_path):
    found = stream_of(
        ("/archive/", tarfile.DIRTYPE, b""),
        ("./archive/location=home/speedtest.parquet", tarfile.REGTYPE, b"rows"),
        ("state/a.json", tarfile.AREGTYPE, b"{}"),
        ("location=home/x", tarfile.REGTYPE, b""),
    )
    assert unpack(found, tmp_path, TOPS) == []
    file = tmp_path / "archive/location=home/speedtest.parquet"
    assert file.read_bytes() == b"rows"
    assert {stat.S_IMODE(f.stat().st_mode) & ~0o640 for f in tmp_path.rglob("*") if f.is_file()} == {0}
    assert file.stat().st_uid != 12_345


def test_who_writes_finds_it_open_until_their_last_block(tmp_path):
    """An end are two blocks; the first one may be the last of a record, which is what is read at once."""
    content = stream_of(("archive/x", tarfile.REGTYPE, b"1" * (tarfile.RECORDSIZE - 2 * tarfile.BLOCKSIZE))).read()
    first, second = content[: tarfile.RECORDSIZE], content[tarfile.RECORDSIZE :][: tarfile.BLOCKSIZE]
    reading, writing = os.pipe()

    def read():
        with os.fdopen(reading, "rb") as stream:
            return unpack(stream, tmp_path, TOPS)

    with ThreadPoolExecutor() as pool, os.fdopen(writing, "wb", buffering=0) as writer:
        reader = pool.submit(read)
        writer.write(first)
        with pytest.raises(TimeoutError):  # it waits for what may come
            reader.result(1)
        writer.write(second)
        writer.close()
        assert reader.result() == []


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "archive/../../x",
        "etc/passwd",
        "/etc/passwd",
        "archive//x",
        "archive/a\nb",
        "archive/\x1b[2J",
        "archivex/x",
        "archive/" + "a/" * 20 + "x",
    ],
)
def test_names_that_lead_away_are_refused(tmp_path, name):
    with pytest.raises(StorageError, match="does not belong there"):
        unpack(stream_of((name, tarfile.REGTYPE, b"x")), tmp_path / "in", TOPS)
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE]
)
def test_what_is_no_file_is_left_out(tmp_path, kind):
    found = stream_of(("state/x", kind, b""), ("state/y", tarfile.REGTYPE, b"y"))
    assert unpack(found, tmp_path, TOPS) == ["state/x"]
    assert [f.name for f in (tmp_path / "state").iterdir()] == ["y"]


def test_a_name_comes_once(tmp_path):
    with pytest.raises(FileExistsError):
        unpack(stream_of(("state/x", tarfile.REGTYPE, b"1"), ("state/x", tarfile.REGTYPE, b"2")), tmp_path, TOPS)


def test_what_lies_there_is_not_followed(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="exists"):
        unpack(stream_of(("state/x", tarfile.REGTYPE, b"1")), tmp_path, TOPS)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("end", [100, 700, 1200])
def test_a_torn_stream_is_said(tmp_path, end):
    content = stream_of(("state/x", tarfile.REGTYPE, b"1" * 2000)).getvalue()[:end]
    with pytest.raises(StorageError, match="damaged"):
        unpack(io.BytesIO(content), tmp_path, TOPS)
