"""A node takes what its owner signed for it, and nothing else; wherever a run is cut, the next one finishes it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import subprocess
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pulling import ME, NODE, artifact, assert_refused, cut_at, remember, text_of

from plugins.converge import bundle, carry_out, cli, fetch
from plugins.converge.bundle import RefusedError
from plugins.converge.fetch import UnreachableError
from plugins.converge.programs import FailedError
from plugins.desired import bundles, things


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


def zipped(**members: bytes | str) -> bytes:
    """The same as a zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o120777 << 16 if isinstance(content, str) else 0  # as Windows makes them
            archive.writestr(entry, content)
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
        jar = zipped(inner=b"not to be unpacked")
        archive = packed(**{"lib.jar": jar, "tool": b"#!/bin/sh\necho two\n", "z.jar": jar})
        serve(2002, lzma.decompress(archive), "tool.tar", program="tool")  # whose last bytes are those of a zip
        remember(converged, cli.converge(converged.node))
        assert subprocess.run([engine], capture_output=True, check=True).stdout == b"two\n"
        serve(2003, zipped(**{"bin/tool": b"#!/bin/sh\necho three\n", "manual": b"words"}), "t.zip", program="bin/tool")
        remember(converged, cli.converge(converged.node))
        assert subprocess.run([engine], capture_output=True, check=True).stdout == b"three\n"
        before = converged.tree(converged.root)
        assert cli.converge(converged.node)["changed"] == 0
        engine.resolve().unlink()
        assert cli.converge(converged.node)["changed"] > 0
        assert {name: seen[2] for name, seen in converged.tree(converged.root).items()} == {
            name: seen[2] for name, seen in before.items()
        }
        for serial, content, promised, why in (
            (2004, b"something else", b"what was promised", "not what was promised"),
            (2005, packed(tool="/bin/sh"), None, "no file of its own"),
            (2006, packed(**{"../tool": b"x"}), None, "no file of its own"),
            (2007, zipped(tool="/bin/sh"), None, "no file of its own"),
            (2008, zipped(**{"../tool": b"x"}), None, "no file of its own"),
            (2009, zipped(tool=b"x" * 99)[:60] + zipped(tool=b"y")[-60:], None, "cannot be unpacked"),
            (2010, b"no archive at all", None, "cannot be unpacked"),
            (2011, packed(other=b"x"), None, "holds no tool"),
            (2012, zipped(**{"bin/tool": b"x"}), None, "holds no tool"),
        ):
            serve(serial, content, "tool.tar.xz", promised, "tool")
            with pytest.raises((RefusedError, FailedError), match=why):
                cli.converge(converged.node)
            assert subprocess.run([engine], capture_output=True, check=True).stdout == b"three\n"
        server.shutdown()


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
