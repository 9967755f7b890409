"""The workbench as Streamlit runs it: `make workbench`, in an environment of its own, which is 566 MB."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import tempfile
import time
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from builders import row
from ports import free_port
from streamlit.testing.v1 import AppTest

from speedtest_logger.archive.format import json_lines, layout
from speedtest_logger.archive.write import store
from speedtest_logger.workbench.cli import PAGE, command, parser

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)
SECONDS = 60
NAME = "speed.example.org"


class TestPage(unittest.TestCase):
    """A page of an archive with two nodes and three records each."""

    @classmethod
    def setUpClass(cls) -> None:
        made = layout.Layout(Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "archive")
        made.prepare()
        moments = [(YESTERDAY + timedelta(minutes=number)).timestamp() for number in range(3)]
        rows = [row(moment, node=node) for moment in moments for node in ("attic", "shed")]
        with store.single_writer(made, "test"):
            store.commit(made, "ingest", json_lines.to_table(rows))
        os.environ["SPEEDTEST_ARCHIVE_DIR"] = str(made.root)

    def setUp(self) -> None:
        self.app = AppTest.from_file(str(PAGE), default_timeout=SECONDS).run()
        assert not self.app.exception

    def test_the_first_question_is_answered(self) -> None:
        assert not self.app.error
        assert len(self.app.dataframe[0].value) == 6
        assert self.app.caption[0].value == "6 rows; times are in UTC"
        assert self.app.main.multiselect[0].value == ["down_mbit", "up_mbit"]

    def test_nodes_and_period_narrow_it(self) -> None:
        self.app.sidebar.multiselect[0].set_value(["shed"]).run()
        assert set(self.app.dataframe[0].value["node"]) == {"shed"}
        self.app.sidebar.date_input[1].set_value((YESTERDAY - timedelta(days=5)).date()).run()
        assert self.app.caption[0].value == "0 rows; times are in UTC"
        assert not self.app.exception

    def test_a_question_that_reads_a_file_is_refused_in_words(self) -> None:
        for wish in ("SELECT * FROM read_text('/etc/passwd')", "COPY records TO '/tmp/x.csv'", "nonsense"):
            self.app.text_area[0].set_value(wish).run()
            assert len(self.app.error) == 1, wish
            assert not self.app.exception
            assert not self.app.dataframe

    def test_an_answer_without_numbers_has_no_chart(self) -> None:
        self.app.text_area[0].set_value("SELECT DISTINCT node FROM records").run()
        assert len(self.app.dataframe[0].value) == 2
        assert not self.app.selectbox


class TestServer(unittest.TestCase):
    """Streamlit as a front reaches it, which leaves the browser's Host as it is."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.port = free_port()
        options = ["--port", str(cls.port), "--path", "workbench", "--host", NAME]
        home = cls.enterClassContext(tempfile.TemporaryDirectory())
        server = subprocess.Popen(command(parser().parse_args(options)), env={**os.environ, "HOME": home})
        cls.addClassCleanup(server.wait, SECONDS)
        cls.addClassCleanup(server.terminate)
        deadline = time.monotonic() + SECONDS
        while not cls.is_well():
            assert time.monotonic() < deadline, server.poll()
            time.sleep(0.2)

    @classmethod
    def asked(cls, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    @classmethod
    def is_well(cls) -> bool:
        try:
            return cls.asked("/workbench/_stcore/health") == 200
        except OSError:
            return False

    def handshake(self, host: str, origin: str) -> int:
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        wish = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "streamlit", **key}
        return self.asked("/workbench/_stcore/stream", Host=host, Origin=origin, **wish)

    def test_a_page_of_the_front_s_may_ask_and_no_other(self) -> None:
        assert self.handshake(NAME, f"https://{NAME}") == 101
        assert self.handshake(f"{NAME}:8443", f"https://{NAME}:8443") == 101
        assert self.handshake(NAME, "https://elsewhere.example") == 403
        assert self.handshake("elsewhere.example", "http://elsewhere.example") == 403
        assert self.handshake(f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}") == 403

    def test_it_listens_on_loopback_only_and_under_its_path(self) -> None:
        assert self.asked("/workbench/") == 200
        assert self.asked("/_stcore/health") == 404
        with socket.socket() as other:
            assert other.connect_ex(("127.0.0.2", self.port)) != 0


if __name__ == "__main__":
    unittest.main()
