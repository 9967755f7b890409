"""The evidence report in the dashboard: the real page, which may have its own style and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
import sample_line
from sample import SampleFigures

from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.dashboard import reported
from speedtest_logger.record import utc_text


@pytest.fixture
def browser(client, load, tmp_path):
    layout = sample_line.archive(tmp_path / "line", sample_line.line("attic", 1, 3600, 60))
    browser = client(load())
    figures = browser.app.state.figures = SampleFigures()
    figures.source.archive = Archive(layout)
    return browser


def test_the_report_is_the_archives_with_a_policy_of_its_own(browser):
    answer = browser.get(f"/line/home/report?start={utc_text(sample_line.START)}")
    assert answer.status_code == 200, answer.text
    assert "What the line at home delivered" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL).group(1)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.endswith("; sandbox")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "style=" not in re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)


def test_a_page_without_style_may_have_none():
    assert "style-src 'none'" in reported.policy_of(b"<p>")


def test_an_unknown_line_has_no_report(browser):
    assert browser.get("/line/nowhere/report").status_code == 404
