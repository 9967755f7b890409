"""limits.env: each limit has a default, a domain and a text; a value that is none never takes a limit away."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.arrive import limits
from speedtest_logger.archive.format.layout import Layout

ALL = fields(limits.Limits)


def write(archive, text):
    (archive.fleet / "limits.env").write_text(text)


def test_without_a_file_the_defaults_are_in_force(archive):
    assert limits.load(archive) == (limits.Limits(), [])


def test_who_asks_again_and_again_reads_the_file_when_it_is_another_one(archive, monkeypatch):
    reader, read = limits.Reader(archive), []
    load = limits.load
    assert reader.read() == limits.Limits()
    monkeypatch.setattr(limits, "load", lambda layout: read.append(layout) or load(layout))
    for rows in (7, 80):
        write(archive, f"SPEEDTEST_LIMIT_ROWS={rows}\n")
        assert [reader.read().rows for _ in range(3)] == [rows] * 3
    assert len(read) == 2
    (archive.fleet / "limits.env").unlink()
    assert reader.read() == limits.Limits()


def test_a_file_that_could_not_be_read_once_is_read_again(archive, monkeypatch):
    write(archive, "SPEEDTEST_LIMIT_ROWS=7\n")
    reader = limits.Reader(archive)
    with monkeypatch.context() as patch:
        patch.setattr(limits.env_file, "read", lambda _: (_ for _ in ()).throw(OSError("too many open files")))
        assert reader.read() == limits.Limits()
    assert reader.read().rows == 7


def test_every_limit_can_be_set_to_both_ends_of_its_domain(archive):
    for end in ("least", "most"):
        write(archive, "".join(f'SPEEDTEST_LIMIT_{o.name.upper()}="{o.metadata[end]}"\n' for o in ALL))
        found, problems = limits.load(archive)
        assert problems == []
        assert asdict(found) == {o.name: o.metadata[end] for o in ALL}


@pytest.mark.parametrize("option", ALL, ids=lambda option: option.name)
def test_beyond_its_domain_the_default_stays_and_is_said(archive, option):
    assert option.metadata["text"]
    assert option.metadata["least"] <= option.default <= option.metadata["most"]
    variable = f"SPEEDTEST_LIMIT_{option.name.upper()}"
    for text in (option.metadata["least"] - 1, option.metadata["most"] + 1, "-1", "1e3", "nan", "٣", "1 000"):
        write(archive, f'{variable}="{text}"\n')
        found, problems = limits.load(archive)
        assert found == limits.Limits()
        assert len(problems) == 1
        assert variable in problems[0]


def test_what_is_no_limit_is_named(archive):
    write(archive, 'SPEEDTEST_LIMIT_ROW="5"\n# a comment\nSPEEDTEST_LIMIT_ROWS="500"\n')
    found, problems = limits.load(archive)
    assert found.rows == 500
    assert "SPEEDTEST_LIMIT_ROW'" in problems[0]


def test_a_file_that_cannot_be_read_is_said(archive):
    (archive.fleet / "limits.env").mkdir()
    assert limits.load(archive)[0] == limits.Limits()
    assert "cannot be read" in limits.load(archive)[1][0]


@given(content=st.binary(max_size=200))
def test_no_content_breaks_it(tmp_path_factory, content):
    made = Layout(tmp_path_factory.mktemp("archive"))
    made.prepare()
    (made.fleet / "limits.env").write_bytes(content)
    assert limits.load(made)[0] == limits.Limits()
