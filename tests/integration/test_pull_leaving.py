"""A node that its bundle takes off has delivered everything before; wherever a run is cut, the next one finishes it."""

from __future__ import annotations

import json

import pytest
from pulling import ME, Fleet, assert_refused, cut_at, remember, text_of

from plugins.converge import bundle, cli, leave, state
from plugins.converge.bundle import RefusedError
from plugins.converge.programs import FailedError
from plugins.desired import bundles


@pytest.fixture
def leaving(converged: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A node whose program delivers what lies in `outbox`, as long as the archive is there; its bundle takes it off."""
    program, outbox = converged.root / "speedtest-logger", converged.root / "outbox"
    script = f"""#!/bin/sh
cp {converged.node.state}/state.json {converged.folder}/said
test -e {converged.folder}/away && exit 4
# the second time there is nothing
test "$*" = "push --force" && mv {outbox}/* {converged.folder}/delivered/ 2>/dev/null || true
"""
    program.write_text(script)
    program.chmod(0o755)
    for folder in (outbox, converged.folder / "delivered"):
        folder.mkdir()
    (outbox / "record").touch()
    monkeypatch.setattr(leave, "COMMAND", program)
    monkeypatch.setattr(leave, "UNITS", converged.root / "units")
    parting = {
        "desired": {"absent_paths": [f"{converged.root}/{name}" for name in ("etc", "current", "previous")]},
        "after": [{"absent_paths": [f"{converged.root}/releases", str(program), str(converged.signers)]}],
    }
    converged.goodbye = converged.sign(converged.payload(2000, format=bundle.LEAVING, **parting))
    converged.serve(converged.goodbye)
    return converged


def test_a_node_that_is_taken_off_delivers_first_and_tells(leaving):
    left = cli.converge(leaving.node)
    assert [path.name for path in (leaving.folder / "delivered").iterdir()] == ["record"]
    assert json.loads((leaving.folder / "said").read_text())["leaving"] == 2000
    assert [path.name for path in leaving.root.iterdir() if path.name != "var"] == ["outbox"]
    assert (left["accepted"], left["applied"]) == (2001, 2000)


def test_the_bundle_that_took_a_node_off_takes_no_later_one_off(leaving):
    remember(leaving, cli.converge(leaving.node))
    leaving.signers.write_text(bundle.allowed_signers([bundles.public_key(leaving.key)]))
    assert_refused(leaving, "its serial 2000 is older than 2001")
    leaving.serve(leaving.sign(leaving.payload(2001, "again")))
    cli.converge(leaving.node)
    assert text_of(leaving) == "again logger.env\n"


def test_nothing_goes_while_the_archive_has_not_all(leaving):
    away, before = leaving.folder / "away", leaving.tree(leaving.root)
    away.touch()
    with pytest.raises(FailedError, match="it stays, for what it has measured was not delivered"):
        cli.converge(leaving.node)
    assert leaving.tree(leaving.root) == before
    leaving.serve(leaving.sign(leaving.payload(2001, "it stays")))  # its owner has thought better of it
    remember(leaving, cli.converge(leaving.node))
    assert "leaving" not in state.read(leaving.node.state)
    leaving.serve(leaving.goodbye)
    assert_refused(leaving, "its serial 2000 is older than 2001")
    away.unlink()
    leaving.serve(leaving.sign(leaving.payload(2002, format=bundle.LEAVING, desired={"absent_paths": []})))
    cli.converge(leaving.node)
    assert not list((leaving.root / "outbox").iterdir())


def test_without_the_program_that_delivers_nothing_goes(leaving):
    leave.COMMAND.unlink()
    before = leaving.tree(leaving.root)
    with pytest.raises(FailedError, match="nobody can deliver what it has measured"):
        cli.converge(leaving.node)
    assert leaving.tree(leaving.root) == before


def test_where_something_else_stands_nothing_is_delivered_nor_removed(leaving):
    (leaving.root / "etc" / "mount").mkdir()
    desired = {"absent_paths": [f"{leaving.root}/etc"], "directories": [{"path": "/etc/passwd", **ME, "mode": "0755"}]}
    leaving.serve(leaving.sign(leaving.payload(2000, format=bundle.LEAVING, desired=desired)))
    with pytest.raises(RefusedError, match="stopped before anything was changed"):
        cli.converge(leaving.node)
    assert not (leaving.folder / "said").exists()


def test_killed_at_each_step_of_leaving_the_next_run_finishes_it(leaving):
    """What takes it off is there until all else is gone."""
    steps = 0
    for step in range(1, 200):
        whole = cut_at(leaving, step)
        assert [*(leaving.root / "outbox").iterdir(), *(leaving.folder / "delivered").iterdir()], "it is somewhere"
        if leaving.root.joinpath("etc").exists():
            assert leaving.root.joinpath("releases").exists()
        if not whole or not leaving.signers.exists():
            break
        steps += 1
    assert not [path for path in ("etc", "current", "releases") if (leaving.root / path).exists()]
    assert steps > 5
