"""What several files need: an object store and what lies before it, a node and an archive to be killed, a database."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import forks
import pytest
from postgresql import Server, forms
from pulling import Fleet, remember
from stages import FOLDERS, Stage
from stores import Between, places, store

from plugins.converge import cli
from speedtest_logger.sinks.settings import Settings


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The endpoint of a store that a module has for itself."""
    with store(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def place(address, request):
    """Makes places in it, by default in a folder of the test's own."""
    return places(address, request.node.name)


@pytest.fixture
def between(address):
    """A proxy before it."""
    made = Between(address)
    yield made
    made.close()


@pytest.fixture
def stages(tmp_path, program):
    """Make a fresh stage for every point of the walk."""
    forks.start()

    def fresh() -> Stage:
        for name in FOLDERS:
            shutil.rmtree(tmp_path / name, ignore_errors=True)  # not there yet for the first
        return Stage(tmp_path, program)

    return fresh


@pytest.fixture(scope="module", params=sorted(forms()))
def server(request):
    """A PostgreSQL server that a module has for itself: each that this machine has, in turn."""
    made = Server(*forms()[request.param]).make()
    yield made
    made.remove()


@pytest.fixture
def into(server):
    """An empty database of it."""
    return Settings(server.database("speedtest"), timescale=server.timescale)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(os, "sync", lambda: None)  # it would wait for all that others write on this machine
    made = Fleet(tmp_path)
    (made.root / "old").mkdir()
    (made.root / "old" / "left").write_text("gone soon\n")
    return made


@pytest.fixture
def converged(fleet: Fleet) -> Fleet:
    fleet.serve(fleet.sign(fleet.payload(1000)))
    remember(fleet, cli.converge(fleet.node))
    return fleet
