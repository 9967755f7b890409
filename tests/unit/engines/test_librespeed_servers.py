"""LibreSpeed's servers under the URL that people know: a small real server, asked as the node asks it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from builders import VERSIONS

from speedtest_logger.engines.librespeed import back_ends
from speedtest_logger.errors import EngineError
from speedtest_logger.log import Log
from speedtest_logger.node import chain
from speedtest_logger.node.spool import Spool

BLOCK = bytes(1 << 16)
# Asks for the ping URL as librespeed-cli does: a server is up that answers 200 with nothing.
STAND_IN = f"""#!{sys.executable}
import json, sys, urllib.request
if "--version" in sys.argv:
    sys.exit(print("{VERSIONS["librespeed-cli"]}"))
server = json.load(sys.stdin)[0]
try:
    with urllib.request.urlopen(server["server"] + server["pingURL"], timeout=60) as answer:
        up = answer.status == 200 and not answer.read()
    urllib.request.urlopen(server["server"] + server["dlURL"], timeout=60).read()
except OSError:
    up = False
print(json.dumps([{{"download": 94.5, "upload": 31.25, "server": {{"url": server["server"]}}}}] if up else None))
"""
PROGRAMS = ["stand-in", *filter(None, [shutil.which("librespeed-cli")])]


class BackEnd(BaseHTTPRequestHandler):
    """LibreSpeed's back end in a folder (`place`) with an ending; everything else is not found."""

    protocol_version = "HTTP/1.1"
    place, ending = "/", ""

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        contents = {"empty": b"", "garbage": BLOCK, "getIP": b'{"processedString":"127.0.0.1","rawIspInfo":""}'}
        content = {f"{self.place}{name}{self.ending}": text for name, text in contents.items()}.get(path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def do_POST(self):
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.do_GET()

    def log_message(self, *_):
        """Be silent."""


@pytest.fixture
def server():
    """Start a server whose back end lies in a place with an ending: its port, and what it was asked."""
    started = []

    def start(place, ending):
        handler = type("Handler", (BackEnd,), {"place": place, "ending": ending})
        one = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        one.asked = []
        threading.Thread(target=one.serve_forever, daemon=True).start()
        started.append(one)
        return one.server_port, one.asked

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture(params=PROGRAMS)
def ask(request, tmp_path, settings):
    """Measure against a URL."""
    file = tmp_path / "librespeed-cli"
    file.write_text(STAND_IN)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def measure(url):
        known = settings(
            engines="librespeed",
            librespeed_servers=url,
            own_server_allowed="true",
            duration_seconds="1",
            librespeed_program=str(file) if request.param == "stand-in" else request.param,
        )
        spool = Spool(known.state_dir)
        spool.prepare()
        return chain.measure(known, spool, Log(tmp_path / "log"), dict(os.environ))

    return measure


@pytest.mark.parametrize(
    ("place", "ending", "path"),
    [
        ("/", "", "/"),
        ("/", "", ""),
        ("/backend/", ".php", "/"),
        ("/backend/", ".php", ""),
        ("/backend/", ".php", "/backend"),
        ("/backend/", ".php", "/backend/"),
        ("/backend/", ".php", "/backend/garbage.php"),
        ("/", ".php", "/"),
        ("/speed/backend/", ".php", "/speed/"),
    ],
)
def test_a_back_end_is_found_from_the_pages_url(ask, server, place, ending, path):
    port, asked = server(place, ending)
    answer = ask(f"http://127.0.0.1:{port}{path}")
    assert answer.result.download_bps > 0
    assert answer.result.upload_bps > 0
    assert answer.result.server_host == f"http://127.0.0.1:{port}{place}"
    assert len({name for name in asked if "empty" in name}) <= 3


def test_a_server_without_a_back_end_is_asked_for_each_once(ask, server):
    port, asked = server("/elsewhere/", ".php")
    with pytest.raises(EngineError, match="no server that answers") as caught:
        ask(f"http://127.0.0.1:{port}/")
    assert caught.value.reason == "server_unreachable"
    assert sorted(asked) == ["/backend/empty.php", "/empty", "/empty.php"]


def test_a_server_that_is_slow_to_say_nothing_is_asked_once(ask, server, monkeypatch):
    monkeypatch.setattr(chain, "QUICK_SECONDS", 0)
    port, asked = server("/backend/", ".php")
    with pytest.raises(EngineError):
        ask(f"http://127.0.0.1:{port}/")
    assert asked == ["/empty"]


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("http://h:80/", ["http://h:80/", "http://h:80/garbage.php", "http://h:80/backend/garbage.php"]),
        ("http://h/backend", ["http://h/backend", "http://h/backend/garbage.php"]),
        ("http://h/garbage.php", ["http://h/garbage.php"]),
    ],
)
def test_back_ends(url, urls):
    assert back_ends(url) == urls
