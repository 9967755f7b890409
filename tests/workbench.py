"""The workbench's page as Streamlit runs it: `make workbench`, in an environment of its own, which is 566 MB."""

from __future__ import annotations

import os
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from builders import row
from streamlit.testing.v1 import AppTest

from speedtest_logger.archive.format import json_lines, layout
from speedtest_logger.archive.write import store
from speedtest_logger.workbench.cli import PAGE

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)
SECONDS = 60


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


if __name__ == "__main__":
    unittest.main()
