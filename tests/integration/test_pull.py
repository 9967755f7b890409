"""A node takes what its owner signed for it, and nothing else; wherever a run is cut, the next one finishes it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plugins.converge import archives, bundle, carry_out, cli, fetch, leave, state
from plugins.converge.bundle import RefusedError
from plugins.converge.fetch import UnreachableError
from plugins.converge.programs import FailedError
from plugins.desired import bundles, things
from plugins.modules import host_state

NODE = "attic"
ME = {"owner": host_state.name_of(host_state.pwd.getpwuid, os.getuid()),
      "group": host_state.name_of(host_state.grp.getgrgid, os.getgid())}  # fmt: skip


def key(folder: Path, name: str) -> Path:
    file = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], check=True)
    return file


def artifact(accepts: bool = True) -> bytes:
    files = {
        "bin/speedtest-logger": (f"#!/bin/sh\nexit {0 if accepts else 3}\n", 0o755),
        "speedtest_logger/__init__.py": ("X = 1\n", 0o644),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for folder in ("bin", "speedtest_logger"):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            made.addfile(entry)
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), mode
            made.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


class Fleet:
    """An owner with a key, a folder of bundles, and a node below a directory of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.served, self.root = folder, folder / "served", folder / "root"
        self.key, self.stranger = key(folder, "owner"), key(folder, "stranger")
        for made in (self.served, self.root, folder / "config", folder / "remembered"):
            made.mkdir()
        self.signers = folder / "config" / "allowed_signers"
        self.signers.write_text(bundle.allowed_signers([bundles.public_key(self.key)]))
        self.node = cli.Node(NODE, f"file://{self.served}", self.signers, folder / "remembered")

    def desired(self, version: str, packed: bytes, text: str) -> dict:
        scratch = self.folder / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir()
        archives.unpack(io.BytesIO(packed), scratch)
        release = f"{self.root}/releases/{version}"
        return {
            "directories": [
                {"path": str(self.root / name), **ME, "mode": "0755"} for name in ("releases", "etc", "var")
            ],
            "releases": [{"path": release, "digest": host_state.tree_state(str(scratch))}],
            "files": [
                {"path": f"{self.root}/etc/{name}", "content": f"{text} {name}\n", **ME, "mode": "0640"}
                for name in ("logger.env", "known_hosts")
            ],
            "links": [{"path": f"{self.root}/current", "target": release, "previous": f"{self.root}/previous"}],
            "folders": [
                {
                    "path": f"{self.root}/releases",
                    "keep": [release],
                    "keep_links": [f"{self.root}/current", f"{self.root}/previous"],
                }
            ],
            "absent_paths": [f"{self.root}/old"],
        }

    def payload(self, serial: int, text: str = "one", version: str = "1", accepts: bool = True, **other) -> bytes:
        packed = artifact(accepts)
        digest = hashlib.sha256(packed).hexdigest()
        release = {"file": bundles.served_name(version, digest), "sha256": digest, "bytes": len(packed)}
        (self.served / release["file"]).write_bytes(packed)
        said = {
            "node": NODE, "serial": serial, "valid_until": time.time() + 3600, "version": version,
            "settings": f"{self.root}/etc/logger.env", "release": release,
            "desired": self.desired(version, packed, text), **other,
        }  # fmt: skip
        return bundle.payload_of(said)

    def sign(self, payload: bytes, key: Path | None = None) -> bytes:
        return bundles.signed({NODE: payload}, key or self.key)[NODE]

    def serve(self, content: bytes) -> None:
        (self.served / f"{NODE}.bundle").write_bytes(content)

    def tree(self, *folders: Path) -> dict[str, tuple]:
        """Everything below the node's directory and what it remembers: names, kinds, modes, contents, inodes."""
        found = {}
        for folder in folders or (self.root, self.node.state, self.signers.parent):
            for path in sorted(folder.rglob("*")):
                seen = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (seen.st_mode, seen.st_ino, os.readlink(path) if path.is_symlink() else content)
        return found


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


def remember(fleet: Fleet, known: dict) -> None:
    known.pop("done", None)
    state.write(fleet.node.state, known)


def text_of(fleet: Fleet) -> str:
    return (fleet.root / "etc" / "logger.env").read_text()


def assert_refused(fleet: Fleet, why: str, error: type[Exception] = RefusedError) -> None:
    before = fleet.tree()
    with pytest.raises(error, match=why):
        cli.converge(fleet.node)
    assert fleet.tree() == before


def test_a_node_is_what_its_bundle_says_and_a_second_run_changes_nothing(fleet):
    fleet.serve(fleet.sign(fleet.payload(1000)))
    first = cli.converge(fleet.node)
    assert text_of(fleet) == "one logger.env\n"
    assert not (fleet.root / "old").exists()
    assert (fleet.root / "current" / "bin" / "speedtest-logger").stat().st_mode & 0o777 == 0o755
    assert first["changed"] > 5
    remember(fleet, first)
    before = fleet.tree(fleet.root)
    assert cli.converge(fleet.node)["changed"] == 0
    assert fleet.tree(fleet.root) == before


def test_another_release_keeps_the_way_back_and_no_more(converged):
    for serial, version in ((1001, "2"), (1002, "3")):
        converged.serve(converged.sign(converged.payload(serial, version=version)))
        remember(converged, cli.converge(converged.node))
    assert os.readlink(converged.root / "current").endswith("/3")
    assert os.readlink(converged.root / "previous").endswith("/2")
    converged.serve(converged.sign(converged.payload(1003, version="3")))
    remember(converged, cli.converge(converged.node))
    assert sorted(p.name for p in (converged.root / "releases").iterdir()) == ["2", "3"]


def test_what_is_not_the_owners_is_refused(converged):
    right = converged.payload(2000, "two")
    signed = converged.sign(right)
    converged.serve(converged.sign(right, converged.stranger))
    assert_refused(converged, "signature")
    elsewhere = converged.folder / "payload"
    elsewhere.write_bytes(right)
    subprocess.run(["ssh-keygen", "-Y", "sign", "-q", "-f", converged.key, "-n", "file", elsewhere], check=True)
    converged.serve(elsewhere.with_name("payload.sig").read_bytes() + right)
    assert_refused(converged, "signature")  # another purpose
    for changed in (signed.replace(b"two", b"2wo"), signed + b" ", right, b"", b"\0" * 5000, signed[::-1]):
        converged.serve(changed)
        assert_refused(converged, "signature")
    converged.serve(signed)
    assert cli.converge(converged.node)["changed"] == 2


def test_cut_anywhere_it_is_refused(converged):
    long = converged.payload(2000, "two " * 3000)
    signed = converged.sign(long)
    assert len(signed) > 20_000
    for size in (*range(0, len(signed), 1000), len(signed) - 1):
        converged.serve(signed[:size])
        assert_refused(converged, "signature")


def test_another_nodes_an_older_or_an_expired_one_is_refused(converged):
    for why, payload in {
        "it is for 'shed'": converged.payload(2000, "two", node="shed"),
        "its serial 999 is older than 1000": converged.payload(999, "two"),
        "it was valid until": converged.payload(2000, "two", valid_until=time.time() - 1),
        "is of format 3": converged.payload(2000, "two", format=3),
        "cannot carry out by itself: venvs": converged.payload(2000, "two", desired={"venvs": []}),
        "cannot carry out by itself: answers": converged.payload(2000, "two", before=[{"answers": []}]),
        "is not of the form": converged.payload(2000, "two", after=[{"files": "none"}]),
        "not of the form of": converged.payload(2000, "two", docker={"packages": {}}),
        "not of the form of a": converged.payload(2000, "two", docker={"packages": [], "files": {}, "source": ""}),
        "not of the form": converged.payload(True, "two"),
        "makes no sense": converged.payload(2000, "two", desired={"files": [{"content": "x"}], "links": ["/etc"]}),
        "nothing that this release understands": bundle.payload_of({"node": NODE}),
    }.items():
        converged.serve(converged.sign(payload))
        assert_refused(converged, why)


def test_a_link_a_pipe_or_one_without_end_is_not_read(converged):
    place = converged.served / f"{NODE}.bundle"
    place.rename(converged.served / "real")
    assert_refused(converged, "no such file", UnreachableError)
    place.symlink_to(converged.served / "real")
    assert_refused(converged, "symbolic links")
    place.unlink()
    os.mkfifo(place)
    assert_refused(converged, "a pipe where a file should be")
    place.unlink()
    with place.open("wb") as stream:
        stream.truncate(10**10)
    assert_refused(converged, "10000000000 bytes")


class Nasty(BaseHTTPRequestHandler):
    """A web server that means no good, or that a bad line stands between; what it does is its path's beginning."""

    content = b""

    def log_message(self, *_):
        pass

    def do_GET(self):
        what = self.path.split("/")[1]
        if what == "elsewhere":
            self.send_response(302)
            self.send_header("Location", f"/right/{NODE}.bundle")
            self.end_headers()
            return
        if what == "silent":
            time.sleep(2)
        self.send_response(404 if what == "gone" else 200)
        if what != "endless":
            self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        body = self.content[:-700] if what == "cut" else self.content
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            while what == "endless":
                self.wfile.write(bytes(65_536))


def test_a_web_server_or_a_line_can_do_no_harm(converged):
    Nasty.content = converged.sign(converged.payload(2000, "two"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Nasty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def asked(what):
            return replace(converged.node, url=f"http://127.0.0.1:{server.server_port}/{what}")

        node = converged.node
        for what, why in {"elsewhere": "302", "silent": "timed out", "gone": "404", "cut": "bytes"}.items():
            converged.node = asked(what)
            with pytest.MonkeyPatch.context() as patched:
                if what == "silent":
                    patched.setattr(fetch, "SILENCE_SECONDS", 0.5)
                assert_refused(converged, why, UnreachableError)
        converged.node = asked("endless")
        assert_refused(converged, "more than 1000000 bytes")
        converged.node = replace(node, url="ftp://127.0.0.1/")
        assert_refused(converged, "http, https or file")
        for name in converged.served.glob("*.tar.gz"):  # its release is there already: it is not fetched
            name.unlink()
        assert cli.converge(asked("right"))["changed"] == 2
        server.shutdown()


def test_another_release_than_the_named_one_is_refused_before_anything_changes(converged):
    payload = converged.payload(2000, "two", version="2")
    converged.serve(converged.sign(payload))
    name = next(file for file in converged.served.glob("*-2-*.tar.gz"))
    whole = name.read_bytes()
    before = converged.tree(converged.root)
    for content in (whole[:-1], artifact(False), whole + b"x"):
        name.write_bytes(content)
        with pytest.raises(RefusedError, match=r"not the release|bytes"):
            cli.converge(converged.node)
        assert converged.tree(converged.root) == before


def test_a_release_that_refuses_its_settings_is_not_used(converged):
    converged.serve(converged.sign(converged.payload(2000, "two", version="2", accepts=False)))
    with pytest.raises(FailedError, match="config check`: 3"):
        cli.converge(converged.node)
    assert text_of(converged) == "one logger.env\n"
    assert os.readlink(converged.root / "current").endswith("/1")


def test_a_link_of_somebody_elses_in_a_directorys_place_stops_it(converged):
    (converged.root / "var").rmdir()
    (converged.root / "var").symlink_to("/etc")
    converged.serve(converged.sign(converged.payload(2000, "two")))
    with pytest.raises(RefusedError, match="stopped before anything was changed"):
        cli.converge(converged.node)
    assert text_of(converged) == "one logger.env\n"


def test_what_it_remembers_is_damaged_no_bundle_is_taken(converged):
    converged.serve(converged.sign(converged.payload(2000, "two")))
    for damaged in (b"", b"{", b'{"accepted": "9"}', b"[" * 3000):
        (converged.node.state / "state.json").write_bytes(damaged)
        assert_refused(converged, "is damaged")


def test_an_older_one_is_refused_after_a_newer_one_that_could_not_be_carried_out(converged):
    converged.serve(converged.sign(converged.payload(3000, "two", version="2", accepts=False)))
    with pytest.raises(FailedError):
        cli.converge(converged.node)
    converged.serve(converged.sign(converged.payload(2000, "between")))
    assert_refused(converged, "its serial 2000 is older than 3000")


def test_trust_passes_on_only_by_a_bundle_that_the_old_key_signed(converged):
    both = bundle.allowed_signers([bundles.public_key(converged.key), bundles.public_key(converged.stranger)])
    desired = {"files": [{"path": str(converged.signers), "content": both, **ME, "mode": "0644"}]}
    with_both = converged.payload(2000, desired=desired)
    converged.serve(converged.sign(with_both, converged.stranger))
    assert_refused(converged, "signature")
    converged.serve(converged.sign(with_both))
    remember(converged, cli.converge(converged.node))
    converged.serve(converged.sign(converged.payload(2001, "three"), converged.stranger))
    cli.converge(converged.node)
    assert text_of(converged) == "three logger.env\n"


class Elsewhere(BaseHTTPRequestHandler):
    """A server of programs that leads to another one, as such servers do."""

    content = b""

    def log_message(self, *_):
        pass

    def do_GET(self):
        moved = self.path.startswith("/latest/")
        self.send_response(302 if moved else 200)
        self.send_header(*(("Location", "/kept/there") if moved else ("Content-Length", str(len(self.content)))))
        self.end_headers()
        if not moved:
            self.wfile.write(self.content)


def packed(**members: bytes | str) -> bytes:
    """A tar of files, or of links where the content is text."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return made.getvalue()


def test_a_program_that_no_package_provides_is_fetched_where_it_is_published(converged):
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def serve(serial: int, content: bytes, name: str, promised: bytes | None = None, program: str | None = None):
            Elsewhere.content = content
            sha256 = hashlib.sha256(content if promised is None else promised).hexdigest()
            url = f"http://127.0.0.1:{server.server_port}/latest/{name}"
            item = things.download(f"{converged.root}/engines/{sha256[:12]}", url, sha256, program).item
            desired = {
                "directories": [{"path": f"{converged.root}/engines", **ME, "mode": "0755"}],
                "downloads": [item],
                "links": [{"path": f"{converged.root}/engine", "target": item.get("program", item["file"])}],
            }
            converged.serve(converged.sign(converged.payload(serial, desired=desired)))

        engine = converged.root / "engine"
        serve(2000, b"#!/bin/sh\necho one\n", "tool")
        remember(converged, cli.converge(converged.node))
        assert subprocess.run([engine], capture_output=True, check=True).stdout == b"one\n"
        archive = packed(tool=b"#!/bin/sh\necho two\n", manual=b"words")
        serve(2001, archive, "tool.tar.xz", program="tool")
        remember(converged, cli.converge(converged.node))
        assert subprocess.run([engine], capture_output=True, check=True).stdout == b"two\n"
        before = converged.tree(converged.root)
        assert cli.converge(converged.node)["changed"] == 0
        engine.resolve().unlink()
        assert cli.converge(converged.node)["changed"] > 0
        assert {name: seen[2] for name, seen in converged.tree(converged.root).items()} == {
            name: seen[2] for name, seen in before.items()
        }
        for serial, content, promised, why in (
            (2002, b"something else", b"what was promised", "not what was promised"),
            (2003, packed(tool="/bin/sh"), None, "no file of its own"),
            (2004, packed(**{"../tool": b"x"}), None, "no file of its own"),
            (2005, b"no archive at all", None, "cannot be unpacked"),
        ):
            serve(serial, content, "tool.tar.xz", promised, "tool")
            with pytest.raises((RefusedError, FailedError), match=why):
                cli.converge(converged.node)
            assert subprocess.run([engine], capture_output=True, check=True).stdout == b"two\n"
        server.shutdown()


@pytest.fixture
def leaving(converged: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A node whose program delivers what lies in `outbox`, as long as the archive is there; its bundle takes it off."""
    program, outbox = converged.root / "speedtest-logger", converged.root / "outbox"
    script = f"""#!/bin/sh
cp {converged.node.state}/state.json {converged.folder}/said
test -e {converged.folder}/away && exit 4
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


CHANGES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.chmod", "os.chown", "os.link",
           "subprocess.Popen", "os.posix_spawn")  # fmt: skip


def cut_at(fleet: Fleet, count: int) -> bool:
    """A run that is killed as it takes its step of that number: whether it was, and did not end before."""
    child = os.fork()
    if child == 0:
        left = count

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left
            if event not in CHANGES or (event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
                return
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            cli.converge(fleet.node)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_each_step_the_node_has_a_release_and_the_next_run_mends_it(converged):
    steps = 0
    for step in range(1, 200):
        serial, text, version = 2000 + step, f"text {step}", str(2 + step % 3)
        (converged.root / "old").mkdir(exist_ok=True)
        converged.serve(converged.sign(converged.payload(serial, text, version)))
        killed = cut_at(converged, step)
        for name in ("logger.env", "known_hosts"):  # whole, one or the other
            assert (converged.root / "etc" / name).read_text().endswith(f" {name}\n")
        assert subprocess.run([converged.root / "current" / "bin" / "speedtest-logger"], check=False).returncode == 0
        remember(converged, cli.converge(converged.node))
        assert text_of(converged) == f"{text} logger.env\n"
        assert os.readlink(converged.root / "current").endswith(f"/{version}")
        assert not (converged.root / "old").exists()
        assert carry_out.planned(bundle.opened((converged.served / f"{NODE}.bundle").read_bytes(),
                                               converged.signers).desired)["drift"] == []  # fmt: skip
        if not killed:
            break
        steps += 1
    assert steps > 20
    assert not killed
