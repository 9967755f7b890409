"""The report as Chromium shows it: light, dark, on a phone, on paper. The pictures stay in .cache/report/."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_line
from axe_playwright_python.base import AXE_FILE_PATH
from browsers import chromium
from playwright.sync_api import Browser, Page
from sample_line import START
from tries import some

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import report
from speedtest_logger.archive.report.page import Plan

PICTURES = Path(__file__).resolve().parents[2] / ".cache/report"
DAY = 86_400
LONG = "a-node-whose-name-is-as-long-as-a-host-name-may-be-example-org"
SCREENS = {"phone-dark": (390, "dark"), "phone": (390, "light"), "light": (1200, "light"), "dark": (1200, "dark")}
AA = 4.5  # contrast of text, WCAG 2.2, 1.4.3
# each text of a chart with what lies behind it: axe cannot tell what that is in SVG
CHART_TEXTS = """[...document.querySelectorAll("svg text")].map(text => [
    text.textContent, getComputedStyle(text).fill, getComputedStyle(document.body).backgroundColor])"""
BEYOND_THE_EDGE = """[...document.querySelectorAll("body *")].filter(
    each => each.getBoundingClientRect().right > innerWidth + 0.5).map(each => each.outerHTML.slice(0, 200))"""
POINTED_AT = """() => {
    const svg = document.querySelector("svg"); svg.scrollIntoView();
    const box = svg.getBoundingClientRect();
    const found = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return found.querySelector("title")?.textContent; }"""


def rows(kind):
    """A month of two nodes that differ, with odd values and tests by hand; or two days of one node."""
    rng = random.Random(1)  # noqa: S311  the same line each time
    if kind == "days":
        return sample_line.line("attic", 2, 900, 60)
    made = sample_line.line("attic", 30, 3600, 60) + sample_line.line(LONG, 30, 3600, 1800, rate=940.0, engine="iperf3")
    made += [sample_line.record("attic", START + 9 * DAY + n * 60, rng, rate=12_860, scheduled=False) for n in range(5)]
    return made + [
        sample_line.record("attic", START + n * DAY + 7, rng, scheduled=False, status="failed", reason="no_route")
        for n in range(14)
    ]


@pytest.fixture(scope="module", params=["month", "days"])
def page_file(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    layout = sample_line.archive(folder / "archive", rows(request.param))
    nodes = {"attic": sample_line.history(900 if request.param == "days" else 3600, 60)}
    if request.param == "month":
        nodes[LONG] = sample_line.history(3600, 1800)
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": nodes}))
    out = folder / f"{request.param}.html"
    period = (START, START + (2 if request.param == "days" else 30) * DAY)
    report.write(
        open_archive(layout.root).only(location="home"), *period, out, Plan(250, 40), Zone.named("Europe/Berlin")
    )
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def opened(browser, file, width=1200, scheme="light", media="screen") -> Page:
    """The page on a screen; it asks for nothing and complains of nothing."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.emulate_media(media=media, color_scheme=scheme)
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert said == []
    return page


def keep(name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / name


def contrast(one, other):
    """The ratio of two colours' luminances as WCAG defines it; each is "rgb(r, g, b)"."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_wcags():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.sampled
@pytest.mark.parametrize("name", some(list(SCREENS), 2))
def test_nothing_is_cut_and_everything_is_legible(browser, page_file, name):
    width, scheme = SCREENS[name]
    page = opened(browser, page_file, width, scheme)
    page.screenshot(path=keep(f"{page_file.stem}-{name}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(BEYOND_THE_EDGE) == []
    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({exclude: [['svg g'], ['svg text'], ['svg path']]})")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["violations"]] == []
    legible = next(rule for rule in found["passes"] if rule["id"] == "color-contrast")
    assert len(legible["nodes"]) > 60
    assert [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["incomplete"]] == []
    texts = page.evaluate(CHART_TEXTS)
    assert any("contract" in text for text, _, _ in texts)
    assert [(text, fill) for text, fill, paper in texts if contrast(fill, paper) < AA] == []
    page.close()


def test_a_pointer_is_told_numbers_without_a_script(browser, page_file):
    page = opened(browser, page_file)
    told = page.evaluate(POINTED_AT)
    assert re.search(r"\d+ tests|\d\d:\d\d \d", told), told
    page.close()


def test_a_dark_screen_prints_on_white_paper(browser, page_file):
    page = opened(browser, page_file, 680, "dark", "print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") == 680
    assert page.evaluate(BEYOND_THE_EDGE) == []
    assert page.evaluate("getComputedStyle(document.querySelector('.cards thead')).display") == "table-header-group"
    paper = page.pdf(path=keep(f"{page_file.stem}.pdf"), prefer_css_page_size=True, print_background=True)
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8
    page.close()


def test_the_page_is_small_enough_for_a_mail(page_file):
    assert page_file.stat().st_size < 90_000
