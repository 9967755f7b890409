"""Draw docs/pictures/report.png: a report of the sample line, as a browser shows it. `make pictures`.

The picture carries the SHA-256 of the page that it shows; a test fails while the report makes another page.
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

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import sample_line  # noqa: E402  (found only after the line above)

from speedtest_logger.archive import open_archive  # noqa: E402
from speedtest_logger.archive.read.local_time import Zone  # noqa: E402
from speedtest_logger.archive.report import report  # noqa: E402
from speedtest_logger.archive.report.page import Plan  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "report.png"
KEYWORD = b"page-sha256\0"
MONTH = 31 * 86_400 + 3600  # October in Berlin: an hour more, since summer time ends
END = 12  # bytes of the last chunk of a PNG


def page(folder: Path) -> Path:
    """The report of the sample line's October."""
    rows = sample_line.line("attic-pi", MONTH / 86_400, 3600, 60)
    layout = sample_line.archive(folder / "archive", rows)
    schedule = {"nodes": {"attic-pi": sample_line.history(3600, 60)}}
    (layout.state / "schedule.json").write_text(json.dumps(schedule), encoding="utf-8")
    period = (sample_line.START, sample_line.START + MONTH)
    archive = open_archive(layout.root).only(location="home")
    report.write(archive, *period, folder / "report.html", Plan(250, 40), Zone.named("Europe/Berlin"))
    return folder / "report.html"


def digest(file: Path) -> bytes:
    """SHA-256 of a page, whenever it was made: without its date and the digests that it names."""
    timeless = re.sub(r"Made [0-9: -]{16}|[0-9a-f]{16,64}", "", file.read_text(encoding="utf-8"))
    return hashlib.sha256(timeless.encode()).hexdigest().encode()


def shown(picture: bytes) -> bytes:
    """The digest of the page that a picture shows; empty where it carries none."""
    return picture.partition(KEYWORD)[2][:64]


def drawn(file: Path) -> bytes:
    """A page's upper part as a PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"))
        view = browser.new_page(viewport={"width": 1100, "height": 1300}, color_scheme="light")
        view.goto(file.as_uri())
        picture = view.screenshot()
        browser.close()
    said = b"tEXt" + KEYWORD + digest(file)
    chunk = struct.pack(">I", len(said) - 4) + said + struct.pack(">I", zlib.crc32(said))
    return picture[:-END] + chunk + picture[-END:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PICTURE.write_bytes(drawn(page(Path(place))))
