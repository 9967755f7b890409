"""Caddy itself before the workbench, which has no login of its own: between servers that tell what they saw."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ports import free_port

from plugins.desired import speedtest_front
from speedtest_logger.inventory.roles import known

NAME = "speed.example.org"
SESSION = "__Host-speedtest_session=abc"
KEY = {"Authorization": "Bearer stk_abcdefgh_x"}
PAGE = {"Accept": "text/html,*/*;q=0.8"}
SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Origin": f"https://{NAME}",
}


class Backend(BaseHTTPRequestHandler):
    """Answers with who it is and what it was asked; of the dashboard /auth also judges the cookie."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        who, seen = self.server.who, {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, seen))
        status = 200
        if (who, self.path) == ("dashboard", "/auth"):
            status = 204 if SESSION in seen.get("cookie", "") else 401
        elif who == "workbench" and "upgrade" in seen:
            status = 101
        content = b"" if status in (101, 204) else json.dumps({"who": who, "path": self.path}).encode()
        self.send_response(status)
        for name in ("Connection", "Upgrade") if status == 101 else ():
            self.send_header(name, SOCKET[name])
        if content or status == 401:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = status == 101

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


def backend(who):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.who, server.seen = who, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def caddyfile(folder, **changes):
    prefix = "speedtest_front_"
    plain = {name.removeprefix(prefix): item.default for name, item in known().items() if name.startswith(prefix)}
    values = {**plain, "name": NAME, "dashboard_bind": "127.0.0.1", "dashboard_port": 8000, "workbench_port": 0}
    values["bundles_dir"] = ""
    values["deliver_enabled"] = False
    text = speedtest_front.text({**values, **changes}, "etc/speedtest-front/Caddyfile")
    (folder / "Caddyfile").write_text(text)
    return folder / "Caddyfile"


def caddy(folder, verb, *options):
    environment = {**os.environ, **dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))}
    argv = ["caddy", verb, *options, "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("deliver", [False, True])
@pytest.mark.parametrize("port", [0, 8501])
@pytest.mark.parametrize("tls", ["internal", "acme"])
def test_caddy_takes_its_configuration(tmp_path, tls, port, deliver):
    text = caddyfile(tmp_path, tls=tls, workbench_port=port, deliver_enabled=deliver).read_text()
    assert ("workbench" in text) is bool(port)
    assert ("/deliver" in text) is deliver
    done = caddy(tmp_path, "validate")
    said, _ = done.communicate(timeout=240)
    assert done.returncode == 0, said


class Front:
    """Caddy between a dashboard and a workbench."""

    def __init__(self, folder):
        self.dashboard, self.workbench = backend("dashboard"), backend("workbench")
        self.port = free_port()
        ports = {f"{who}_port": getattr(self, who).server_port for who in ("dashboard", "workbench")}
        (folder / "bundles").mkdir()
        (folder / "bundles" / "attic.bundle").write_text("signed")
        (folder / "bundles" / ".packed.tar").write_text("not served")
        (folder / "other").write_text("not served")
        ports["bundles_dir"] = folder / "bundles"
        caddyfile(folder, https_port=self.port, http_port=free_port(), **ports)
        self.process = caddy(folder, "run")
        deadline = time.monotonic() + 120
        while not self.answers():
            assert time.monotonic() < deadline, self.process.poll()
            time.sleep(0.1)

    def answers(self):
        try:
            return self.ask("/login")[0] == 200
        except OSError:
            return False

    def ask(self, path, method="GET", body=None, **headers):
        """Status, headers and what was answered; what the backends saw begins anew."""
        self.dashboard.seen.clear(), self.workbench.seen.clear()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), 60)
        connection = http.client.HTTPSConnection(NAME, self.port)
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = b"" if answer.status == 101 else answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=120)
        for server in (self.dashboard, self.workbench):
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.stop()


@pytest.mark.parametrize("path", ["/workbench/", "/workbench/_stcore/stream", "/WORKBENCH/", "//workbench//"])
@pytest.mark.parametrize("headers", [{}, KEY, SOCKET, {"Cookie": "__Host-speedtest_session=wrong"}])
def test_without_a_login_nothing_reaches_the_workbench(front, path, headers):
    status, _, content = front.ask(path, **headers)
    assert (status, content) == (401, b"Log in first.")
    assert front.workbench.seen == []
    ((asked, seen),) = front.dashboard.seen
    assert asked == "/auth"
    assert not {"authorization", "upgrade"} & set(seen)
    assert seen["host"] == f"{NAME}:{front.port}"
    assert seen["x-forwarded-proto"] == "https"


def test_a_browser_is_led_to_the_login_and_back(front):
    status, headers, _ = front.ask("/workbench/", **PAGE)
    assert (status, headers["location"]) == (303, "/login?next=/workbench/")
    status, headers, _ = front.ask("/workbench", **PAGE)
    assert (status, headers["location"]) == (308, "/workbench/")


def test_who_has_logged_in_reaches_the_workbench_which_does_not_learn_by_what(front):
    cookies = f"_streamlit_xsrf=1; {SESSION}; theme=dark"
    status, headers, content = front.ask("/workbench/?x=1", Cookie=cookies, **KEY)
    assert (status, json.loads(content)) == (200, {"who": "workbench", "path": "/workbench/?x=1"})
    assert headers["x-frame-options"] == "DENY"
    ((_, seen),) = front.workbench.seen
    assert "authorization" not in seen
    assert "abc" not in seen["cookie"]
    assert "_streamlit_xsrf=1" in seen["cookie"]
    assert "theme=dark" in seen["cookie"]
    assert seen["host"] == f"{NAME}:{front.port}"


def test_a_web_socket_passes_with_a_login_and_the_question_before_it_is_none(front):
    status, _, _ = front.ask("/workbench/_stcore/stream", Cookie=SESSION, **SOCKET)
    assert status == 101
    ((_, seen),) = front.workbench.seen
    assert (seen["upgrade"], seen["origin"]) == ("websocket", f"https://{NAME}")
    ((_, asked),) = front.dashboard.seen
    assert "upgrade" not in asked


def test_nothing_is_sent_to_the_workbench_by_a_request(front):
    for headers, status in (({}, 401), ({"Cookie": SESSION}, 405)):
        assert front.ask("/workbench/x", "POST", b"x=1", **headers)[0] == status
        assert front.workbench.seen == []


def test_bundles_are_served_without_a_login_and_nothing_beside_them(front):
    assert front.ask("/bundles/attic.bundle")[::2] == (200, b"signed")
    for path in ("shed.bundle", ".packed.tar", ""):
        assert front.ask(f"/bundles/{path}")[0] == 404
        assert front.dashboard.seen == front.workbench.seen == []
    for path in ("../other", "%2e%2e/other", "..%2fother", ".%2e/other"):
        assert front.ask(f"/bundles/{path}")[2] != b"not served"
    assert front.ask("/bundles/attic.bundle", "POST")[0] == 405


def test_everything_else_is_the_dashboard_s(front):
    for path in ("/", "/workbenches", "/workbench/%2e%2e/x", "/api/v1/nodes", "/auth"):
        front.ask(path, Cookie=SESSION)
        assert [path for path, _ in front.dashboard.seen] == [path]
        assert front.workbench.seen == []


def test_a_workbench_or_a_dashboard_that_is_down_is_said_in_words(tmp_path):
    front = Front(tmp_path)
    try:
        for server in (front.workbench, front.dashboard):
            server.shutdown()
            server.server_close()
            status, _, content = front.ask("/workbench/", Cookie=SESSION)
            assert status == 502
            assert b"systemctl status speedtest-workbench speedtest-dashboard" in content
    finally:
        front.stop()
