"""Deliveries over https where there is no front: a real node's push, the real service on a port, its own TLS."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
import uuid
from dataclasses import replace

import pytest
from builders import ROOT
from certificates import self_signed
from front import MODULE, NAME, wait
from ports import free_port

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import config, push
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import Record, utc_text


class Service:
    """The receiver, by TLS on a port of this machine."""

    def __init__(self, folder):
        self.layout = Layout(folder / "archive")
        self.layout.root.mkdir()
        self.layout.prepare()
        self.folder, self.port, self.token = folder, free_port(), secrets.token_hex(32)
        (folder / "tls").mkdir()
        self.trusted = self_signed(folder / "tls", NAME) / "tls.crt"
        (folder / "tokens").write_text(f"attic {hashlib.sha256(self.token.encode()).hexdigest()}\n")
        self.process = None

    def argv(self, **changes):
        files = {"certificate": self.folder / "tls/tls.crt", "key": self.folder / "tls/tls.key", **changes}
        own = ["--root", self.layout.root, "--tokens", self.folder / "tokens", "--port", self.port]
        named = [word for name, file in files.items() if file for word in (f"--{name}", file)]
        return [sys.executable, "-m", MODULE, *map(str, [*own, *named])]

    def start(self):
        self.process = subprocess.Popen(self.argv(), env={**os.environ, "PYTHONPATH": f"{ROOT}/src"})
        wait(lambda: self.asked("/livez")[0] == 200)

    def asked(self, path, method="GET"):
        """Status and content of an answer; status 0 where there is none."""
        trusting = ssl.create_default_context(cafile=str(self.trusted))
        client = http.client.HTTPSConnection(NAME, self.port, timeout=60, context=trusting)
        try:
            client.request(method, path)
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return 0, None
        finally:
            client.close()


@pytest.fixture
def service(tmp_path):
    made = Service(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(60)


def settings(service, tmp_path):
    file = tmp_path / "token"
    file.write_text(service.token + "\n")
    plain = {
        "SPEEDTEST_NODE": "attic",
        "SPEEDTEST_TRANSPORT": "https",
        "SPEEDTEST_ARCHIVE_HOST": NAME,
        "SPEEDTEST_ARCHIVE_PORT": str(service.port),
        "SPEEDTEST_TOKEN_FILE": str(file),
        "SPEEDTEST_CA_FILE": str(service.trusted),
        "SPEEDTEST_STATE_DIR": str(tmp_path / "attic"),
    }
    made = config.load(plain)
    Spool(made.state_dir).prepare()
    return made


def measured(settings):
    """A record in a node's outbox."""
    now = time.time() - 100
    made = Record(
        run_id=str(uuid.uuid4()), node="attic", location="home", started_at=utc_text(now),
        finished_at=utc_text(now + 10), status="ok", download_bps=1e8, upload_bps=5e7,
    )  # fmt: skip
    Spool(settings.state_dir).write(made)
    return made.run_id


def archived(service):
    ingest.ingest(service.layout)
    return open_archive(service.layout.root).to_arrow(["run_id"])["run_id"].to_pylist()


def test_a_node_delivers_and_goes_on_after_the_certificate_was_renewed(service, tmp_path):
    here = settings(service, tmp_path)
    first = measured(here)
    push.push(here, Log(None), force=True)
    service.trusted = self_signed(service.folder / "tls", NAME) / "tls.crt"
    second = measured(here)
    with pytest.raises(DeliveryError, match="its certificate is not trusted"):
        push.push(here, Log(None), force=True)
    push.push(replace(here, ca_file=service.trusted), Log(None), force=True)
    assert sorted(archived(service)) == sorted([first, second])


def test_a_cluster_is_told_whether_it_is_alive_and_ready(service):
    assert service.asked("/readyz") == (200, {"status": "healthy"})
    tokens = service.folder / "tokens"
    tokens.rename(service.folder / "away")
    tokens.write_bytes(b"")
    os.truncate(tokens, 200_000_001)
    status, said = service.asked("/readyz")
    assert (status, said["status"]) == (503, "degraded")
    assert "the tokens cannot be read" in said["why"]
    assert service.asked("/livez")[0] == 200  # to be started again would not help
    tokens.unlink()
    assert service.asked("/readyz")[0] == 200  # nobody may deliver, as was wanted
    assert service.asked("/readyz", "POST")[0] == 404
    assert service.asked("/")[0] == 404


def test_without_tls_nothing_is_heard(service):
    with socket.create_connection((NAME, service.port), 20) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        heard = plain.recv(100)
    assert not heard.startswith(b"HTTP")
    assert service.asked("/livez")[0] == 200


def test_it_ends_when_it_is_told_to(service):
    service.process.terminate()
    assert service.process.wait(60) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": None}, "tokens go over no network without TLS"),
        ({"key": "/nowhere"}, "No such file or directory"),
        ({"key": "/dev/null"}, "a PEM file of each is expected"),
    ],
)
def test_what_proves_nothing_is_not_served_with(tmp_path, changes, words):
    argv = Service(tmp_path).argv(**changes)
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": f"{ROOT}/src"}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
