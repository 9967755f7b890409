"""Draw docs/pictures: a report of the sample line and the dashboard's first page, as a browser shows them.

    make pictures

A picture carries the SHA-256 of the page that it shows; a test fails while the project makes another page.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any
from unittest import mock

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import sample_line
from starlette.testclient import TestClient

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import report
from speedtest_logger.archive.report.page import Plan
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.record import utc_text

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
KEYWORD = b"page-sha256\0"
HOUR, DAY = 3600, 86_400
MONTH = 31 * DAY + HOUR  # October in Berlin: an hour more, since summer time ends
NOW = sample_line.START + 2 * DAY + 14 * HOUR + 1500  # of the dashboard's picture
SIZES = {"report.png": (1100, 1300), "dashboard.png": (1100, 760)}
END = 12  # bytes of the last chunk of a PNG


def report_page(folder: Path) -> Path:
    """The report of the sample line's October."""
    layout = sample_line.archive(folder / "archive", sample_line.line("attic-pi", MONTH / DAY, HOUR, 60))
    know(layout, {"attic-pi": sample_line.history(HOUR, 60)})
    period = (sample_line.START, sample_line.START + MONTH)
    archive = open_archive(layout.root).only(location="home")
    report.write(archive, *period, folder / "report.html", Plan(250, 40), Zone.named("Europe/Berlin"))
    return folder / "report.html"


def dashboard_page(folder: Path) -> Path:
    """The dashboard's first page of four lines: one is down for three hours, one slow since the morning."""
    rows, schedules = [], {}
    for place, (location, node, changes) in enumerate(LINES):
        offset = 300 + 60 * place
        schedules[node] = sample_line.history(1800, offset, location=location)
        rows += part_by_part(node, offset, location, changes)
    layout = sample_line.archive(folder / "archive", rows)
    know(layout, schedules)
    (layout.state / "ingest.json").write_text(json.dumps({"at": utc_text(NOW - 40)}), encoding="utf-8")
    (folder / "state").mkdir()
    variables = {"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(folder / "state")}
    app = create_app(settings.load(variables))
    with mock.patch("time.time", return_value=float(NOW)):
        answer = TestClient(app, base_url="http://127.0.0.1:8000").get("/", headers={"Accept": "text/html"})
    app.state.figures.source.rollups.close()
    style = (ROOT / "src/speedtest_logger/dashboard/static/dashboard.css").read_text(encoding="utf-8")
    # it is looked at as a file, by nobody's clock but UTC's
    page = re.sub(r"<script.*?</script>", "", answer.text).replace("</head>", f"<style>{style}</style></head>")
    (folder / "dashboard.html").write_text(page, encoding="utf-8")
    return folder / "dashboard.html"


# each line's node, and from which hour on it is another one
LINES = (
    ("home", "attic-pi", {0: {}}),
    ("garden", "shed", {0: {}, 55: {"rate": 110.0}}),
    ("cottage", "porch", {0: {}, 59: {"status": "failed", "reason": "no_route"}}),
    ("workshop", "bench", {0: {"rate": 230.0}}),
)


def part_by_part(node: str, offset: int, location: str, changes: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """A node's rows until NOW."""
    ends = [*list(changes)[1:], (NOW - sample_line.START) / HOUR + 0.5]
    parts = zip(changes.items(), ends, strict=True)
    return [
        row
        for (since, values), until in parts
        for row in sample_line.line(
            node, (until - since) / 24, 1800, offset, sample_line.START + since * HOUR, location=location, **values
        )
    ]


def know(layout: Layout, schedules: dict[str, Any]) -> None:
    """The registry of a sample."""
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": schedules}), encoding="utf-8")


def pages(folder: Path) -> dict[str, Path]:
    """Each picture's page, made now."""
    makers = {"report.png": report_page, "dashboard.png": dashboard_page}
    made = {}
    for name, maker in makers.items():
        place = folder / maker.__name__
        place.mkdir()
        made[name] = maker(place)
    return made


def digest(file: Path) -> bytes:
    """SHA-256 of a page, whenever it was made: without its date and the digests that it names."""
    timeless = re.sub(r"Made [0-9: -]{16}|[0-9a-f]{16,64}", "", file.read_text(encoding="utf-8"))
    return hashlib.sha256(timeless.encode()).hexdigest().encode()


def shown(picture: bytes) -> bytes:
    """The digest of the page that a picture shows; empty where it carries none."""
    return picture.partition(KEYWORD)[2][:64]


def drawn(file: Path, width: int, height: int) -> bytes:
    """A page's upper part as a PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"))
        view = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        view.goto(file.as_uri())
        picture = view.screenshot()
        browser.close()
    said = b"tEXt" + KEYWORD + digest(file)
    chunk = struct.pack(">I", len(said) - 4) + said + struct.pack(">I", zlib.crc32(said))
    return picture[:-END] + chunk + picture[-END:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for name, page in pages(Path(place)).items():
            (PICTURES / name).write_bytes(drawn(page, *SIZES[name]))
