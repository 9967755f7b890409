"""Files in somebody else's folder: what is no file is neither waited for, followed, read nor replaced."""

from __future__ import annotations

import os
import socket
import stat
import threading

import pytest

from speedtest_logger import files
from speedtest_logger.log import Log


def plant(place, kind, elsewhere):
    """Put something that is no file where a file is expected."""
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    elif kind == "a device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: it never ends
    elif kind == "a link":
        elsewhere.write_text("somebody else's")
        place.symlink_to(elsewhere)
    else:
        place.mkdir()


KINDS = ["a pipe", "a socket", "a device", "a link", "a directory"]


@pytest.fixture(params=KINDS)
def planted(request, tmp_path):
    """A name with something else than a file under it."""
    place = tmp_path / "state.json"
    plant(place, request.param, tmp_path / "elsewhere")
    yield place, request.param
    if request.param == "a link":
        assert (tmp_path / "elsewhere").read_text() == "somebody else's"


@pytest.mark.parametrize("act", [files.open_regular, files.read_bounded, files.open_lock, files.open_to_append])
def test_what_is_no_file_is_refused_at_once(planted, act):
    place, _ = planted
    with pytest.raises(OSError, match=r"a file should be|Too many levels|No such device|Is a directory"):
        act(place)


def test_it_is_named(planted):
    place, kind = planted
    assert files.kind_of(place) == kind
    assert not files.is_regular(place)
    with pytest.raises(OSError, match=f"there is {kind} where a file should be"):
        files.check_regular(place)
    named = files.strangers(place.parent)
    assert bool(named) == (kind != "a directory")
    assert all(f"is {kind}" in words for words in named)


def test_the_log_goes_on_without_its_file(planted, capsys):
    place, _ = planted
    log = Log(place)
    log.event("info", "first")
    log.event("info", "second")
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1
    assert "second" in said


def test_a_file_is_read_up_to_its_bound(tmp_path):
    file = tmp_path / "state.json"
    file.write_bytes(b"12345")
    assert files.read_bounded(file, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, 4 are the most"):
        files.read_bounded(file, 4)
    os.truncate(file, 10_000_000_000)
    with pytest.raises(OSError, match="it has 10000000000 bytes"):
        files.read_bounded(file)


def test_another_name_of_somebody_elses_file_is_refused_where_that_matters(tmp_path):
    (tmp_path / "secret").write_text("x")
    os.link(tmp_path / "secret", tmp_path / "state.json")
    assert files.read_bounded(tmp_path / "state.json") == b"x"
    with pytest.raises(OSError, match="it has 2 names"):
        files.read_bounded(tmp_path / "state.json", only_name=True)


def test_a_lock_is_made_and_kept(tmp_path):
    with files.open_lock(tmp_path / "a.lock") as lock:
        assert stat.S_IMODE(os.fstat(lock.fileno()).st_mode) & 0o007 == 0
    with files.open_to_append(tmp_path / "log") as log:
        log.write(b"1")
    with files.open_to_append(tmp_path / "log") as log:
        log.write(b"2")
    assert (tmp_path / "log").read_bytes() == b"12"


def test_temporary_names_cannot_be_known_before(tmp_path):
    names = set()
    for _ in range(50):
        temporary, stream = files.new_beside(tmp_path / "out.csv")
        stream.close()
        names.add(temporary.name)
        assert temporary.name.startswith(".out.csv.")
        assert temporary.name.endswith(".tmp")  # what clears leftovers away looks for these
    assert len(names) == 50


def test_a_new_file_never_takes_the_place_of_a_planted_one(tmp_path, monkeypatch):
    monkeypatch.setattr("os.urandom", bytes)
    (tmp_path / ".out.csv.0000000000000000.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_durably(tmp_path / "out.csv", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_an_output_appears_as_a_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out.csv"
    with files.new_output(out) as stream:
        stream.write(b"one")
        assert not out.exists()
    assert out.read_bytes() == b"one"
    with pytest.raises(AttributeError), files.new_output(out) as stream:
        stream.write(b"half").real_trouble  # noqa: B018
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("out.csv", b"one")]


@pytest.mark.parametrize("kind", ["a socket", "a link", "a directory"])
def test_an_output_replaces_nothing_but_files(tmp_path, kind):
    place = tmp_path / "out.csv"
    plant(place, kind, tmp_path / "elsewhere")
    with pytest.raises(OSError, match=f"there is {kind}, which is not replaced"), files.new_output(place):
        pass
    assert files.kind_of(place) == kind
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_output_is_written_to_pipes_and_devices_as_they_are(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(pipe.read_bytes()))
    reader.start()
    with files.new_output(pipe) as stream:
        stream.write(b"rows")
    reader.join(5)
    assert seen == [b"rows"]
    assert files.kind_of(pipe) == "a pipe"
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with files.new_output(null) as stream:
        stream.write(b"rows")
    assert files.kind_of(null) == "a device"
    assert files.is_stream(null)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_output_to_standard_output(name, capfd, tmp_path):
    print("before")
    with files.new_output(tmp_path.__class__(name)) as stream:
        stream.write(b"rows\n")
    print("after")
    assert capfd.readouterr().out == "before\nrows\nafter\n"
