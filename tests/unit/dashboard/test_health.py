"""/health: the two words that were promised, and what is wrong otherwise."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard.cli import main
from speedtest_logger.record import utc_text


def deployed(root):
    """As Ansible leaves an archive."""
    (root / "fleet").mkdir()
    (root / "fleet/schedule.json").write_text('{"nodes": {}, "inventory": {}}')


def ingested(root, seconds_ago):
    (root / "state/ingest.json").write_text(json.dumps({"at": utc_text(time.time() - seconds_ago), "damaged": []}))


def asked(client, settings):
    answer = client(settings).get("/health")
    return answer.status_code, answer.json()


def test_an_archive_that_is_being_filled_is_healthy(root, load, client):
    deployed(root)
    ingest.ingest(Layout(root))  # the real one: it writes when it ended
    assert asked(client, load()) == (200, {"status": "healthy", "scheduler": "running"})


def test_three_ingests_that_were_left_out_are_too_many(root, load, client):
    deployed(root)
    ingested(root, 120)
    assert asked(client, load())[0] == 200
    ingested(root, 182)
    degraded = {"status": "degraded", "scheduler": "stopped"}
    assert asked(client, load()) == (503, {**degraded, "why": "the last ingest was 3 min ago"})
    assert asked(client, load(SPEEDTEST_DASHBOARD_INGEST_INTERVAL="15min"))[0] == 200


@pytest.mark.parametrize("content", [None, "", "{}", '{"at": 7}', '{"at": "yesterday"}'])
def test_an_archive_that_was_never_filled_is_not_healthy(root, load, client, content):
    deployed(root)
    if content is not None:
        (root / "state/ingest.json").write_text(content)
    status, said = asked(client, load())
    assert (status, said["why"]) == (503, "nothing was ingested yet")


def test_an_archive_without_ansible_has_no_scheduler_and_is_healthy(load, client):
    assert asked(client, load()) == (200, {"status": "healthy", "scheduler": "none"})


@pytest.mark.parametrize("damage", ["gone", "manifest"])
def test_an_archive_that_cannot_be_read_is_not_healthy_and_its_place_is_not_told(root, load, client, damage):
    settings = load()
    if damage == "gone":
        (root / "archive").rmdir()
    else:
        (root / "manifest/open.jsonl").write_text("nonsense\n")
    said = {"status": "degraded", "scheduler": "stopped", "why": "the archive cannot be read"}
    assert asked(client, settings) == (503, said)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b'{"status":"healthy","scheduler":"running"}', {"status": "healthy", "scheduler": "running"}),
        (503, b'{"status":"degraded","why":"x"}', {"status": "degraded", "why": "x"}),
        (200, b"<h1>hello</h1>", {"status": "unreachable", "why": "something else answers there"}),
        (404, b"[]", {"status": "unreachable", "why": "something else answers there"}),
    ],
)  # fmt: skip
def test_the_one_that_runs_here_is_asked(load, capsys, monkeypatch, status, body, said):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 500)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing."""

    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("SPEEDTEST_DASHBOARD_PORT", str(server.server_port))
        code = main(["health"])
        thread.join()
    assert json.loads(capsys.readouterr().out) == said
    assert code == (0 if said["status"] == "healthy" else 1)


def test_nobody_answers(capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("SPEEDTEST_DASHBOARD_PORT", str(port))
    assert main(["health"]) == 1
    assert "refused" in json.loads(capsys.readouterr().out)["why"]
