"""Pages as Chromium shows them: light and dark, on a phone and a desk, without JavaScript, on paper, live.

The figures are by hand; the pictures stay in .cache/dashboard/.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
import uvicorn
from axe_playwright_python.base import AXE_FILE_PATH
from browsers import chromium
from builders import ROOT
from dashboards import HASH, PASSWORD
from fastapi import APIRouter, Depends, Query, WebSocket
from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError
from probing import result, store
from tries import FACTOR
from unit.dashboard.sample import HOSTILE, NAMES, SCRIPT, SampleFigures

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.figures.probed import Probed, probed
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.keys import Share, sha256
from speedtest_logger.dashboard.pages.shown import part

SHARED = "s" * 43
PROBED = (("dns", "example.org"), ("ping", "1.1.1.1"), ("ping", "gateway"))
DAY = 86_400
# Chromium breaks off what it loads when an address comes or goes anywhere on the machine, as other tests' labs do
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
PICTURES = ROOT / ".cache/dashboard"
PAGES = {
    "now": "/",
    "line-day": "/line/home",
    "line-month": "/line/home?range=30d&node=cellar",
    "line-down": "/line/garage?range=1y",
    "line-hostile": f"/line/{part(HOSTILE)}?range=7d",
    "no-such-page": "/line/nowhere",
    "fleet": "/fleet",
    "fleet-of-nodes": "/fleet?by=node&sort=-outages&range=90d",
    "compare": "/compare?location=home&location=flat-3&range=7d",
    "outages": "/outages",
    "logs": "/logs",
    "logs-searched": "/logs?node=attic&level=warning&text=Timeout&range=7d",
    "alerts": "/alerts",
    "system": "/system",
    "record": "/record/RUN",
    "year": "/line/home/year/2026",
    "kiosk": "/kiosk",
    "share": f"/share/{SHARED}",
}
BUT_FOR_KIOSKS = {"meta-refresh": {"enabled": False}}  # it stays fresh on a wall by itself
PHONE, DESK = (360, "dark"), (1440, "light")
SCREENS = [PHONE, (360, "light"), DESK, (1440, "dark")]
# in the gate each page is on one of two, in turns
SHOWN = {name: SCREENS if FACTOR > 1 else [(PHONE, DESK)[number % 2]] for number, name in enumerate(PAGES)}
BEYOND_THE_EDGE = """[...document.querySelectorAll("body *")].filter(each => !each.closest(".scroll, .hidden, table") &&
    each.getBoundingClientRect().right > innerWidth + 0.5).map(each => each.outerHTML.slice(0, 200))"""
COLOURS = """[...document.querySelectorAll("canvas")].map(canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const found = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const colours = new Set();
    for (const pixel of found) if (pixel >>> 24 > 200) colours.add(pixel & 0xffffff);
    return colours.size; })"""


# of each canvas within an element: the share of its columns that have a pixel of a colour of the style sheet, or nearly
INKED = """([selector, name]) => [...document.querySelectorAll(selector)].map(canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
    const value = getComputedStyle(document.documentElement).getPropertyValue(name);
    copy.fillStyle = value;
    copy.fillRect(0, 0, 1, 1);
    const wanted = copy.getImageData(0, 0, 1, 1).data;
    copy.clearRect(0, 0, 1, 1);
    copy.drawImage(canvas, 0, 0);
    const found = copy.getImageData(0, 0, canvas.width, canvas.height).data;
    const columns = new Set();
    for (let at = 0; at < found.length; at += 4)
        if (found[at + 3] > 200 && [0, 1, 2].every(each => Math.abs(found[at + each] - wanted[each]) < 40))
            columns.add(at / 4 % canvas.width);
    return columns.size / canvas.width; })"""


@dataclass
class Served:
    """The dashboard of a sample: where it listens, what it says to browsers, who asked for what."""

    address: str
    figures: SampleFigures
    app: Any
    loop: asyncio.AbstractEventLoop | None = None
    sockets: list[WebSocket] = field(default_factory=list)
    since: list[str | None] = field(default_factory=list)

    def say(self, **message: Any) -> None:
        """Send a message to every browser."""
        for each in self.sockets:
            assert self.loop
            asyncio.run_coroutine_threadsafe(each.send_json(message), self.loop).result(5)

    def hang_up(self) -> None:
        """Close every browser's connection."""
        for each in self.sockets:
            assert self.loop
            asyncio.run_coroutine_threadsafe(each.close(), self.loop).result(5)


def api_of(served: Served) -> APIRouter:
    """What pages ask besides HTML, answered from the sample."""
    router = APIRouter(dependencies=[Depends(may("read"))])

    @router.get("/api/v1/series")
    def series(
        start: datetime, end: datetime, location: str | None = None, node: Annotated[list[str] | None, Query()] = None
    ) -> dict[str, Any]:
        name = node[0] if node else None
        period = (start.timestamp(), end.timestamp())
        return asdict(served.figures.series(*period, location=location, node=name, values=NAMES))

    @router.websocket("/ws")
    async def live(connection: WebSocket) -> None:
        served.loop = asyncio.get_running_loop()
        served.since.append(connection.query_params.get("since"))
        await connection.accept()
        served.sockets.append(connection)
        await connection.send_json({"type": "hello", "cursor": len(served.since)})
        async for _ in connection.iter_text():
            pass
        served.sockets.remove(connection)

    return router


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("dashboard")
    for name in ("archive", "manifest", "state"):
        (folder / "root" / name).mkdir(parents=True)
    (folder / "users.json").write_text(json.dumps([{"name": "eva", "password": HASH}]))
    variables = {
        "SPEEDTEST_ARCHIVE_DIR": str(folder / "root"),
        "SPEEDTEST_DASHBOARD_DIR": str(folder),
        "SPEEDTEST_DASHBOARD_USERS_FILE": str(folder / "users.json"),
    }
    app = create_app(settings.load(variables))
    listening = socket.create_server(("127.0.0.1", 0))
    made = Served(f"http://127.0.0.1:{listening.getsockname()[1]}", SampleFigures(int(time.time())), app)
    app.state.figures = made.figures
    app.state.guard.shares.by_sha256[sha256(SHARED)] = Share("home", sha256(SHARED), None)
    app.router.routes[:0] = api_of(made).routes
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield made
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def context(browser, served) -> Iterator[BrowserContext]:
    made = browser.new_context(base_url=served.address, timezone_id="Asia/Kolkata", locale="en-GB")
    made.set_default_timeout(90_000)
    page = made.new_page()
    page.goto("/login")
    log_in(page, PASSWORD)
    page.get_by_text("eva").wait_for()
    page.close()
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    """What a page complained of, or asked in a dialog; a test takes out what it has brought about itself."""
    return []


@pytest.fixture
def page(context, complaints) -> Iterator[Page]:
    """A page that complains of nothing, and whose scripts are ours."""
    opened = context.new_page()
    listen_to(opened, complaints)
    yield opened
    opened.close()
    assert complaints == []


def listen_to(page: Page, complaints: list[str]) -> None:
    page.on("console", lambda message: NETWORK_CHANGED in message.text or complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))


def is_legible(page: Page, width: int, scheme: str) -> None:
    """Nothing is wider than the screen, charts are drawn, and axe finds nothing."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(BEYOND_THE_EDGE) == []
    assert all(colours > 3 for colours in page.evaluate(COLOURS))
    page.evaluate(Path(AXE_FILE_PATH).read_text())
    rules = {"rules": BUT_FOR_KIOSKS if page.url.endswith("/kiosk") else {}}
    found = page.evaluate("rules => axe.run({...rules, resultTypes: ['violations']})", rules)["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found] == [], scheme


def show(page: Page, address: str, width: int = 1440, scheme: Any = "light") -> None:
    """Go there, until its charts are drawn; again where the browser broke off since a network has changed."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    changed: list[bool] = []
    page.on("requestfailed", lambda request: changed.append(NETWORK_CHANGED in (request.failure or "")))
    for last in (False, False, True):
        changed.clear()
        try:
            page.goto(address)
            if page.locator("[data-chart]").count():
                page.locator("#delay canvas").wait_for()
        except PlaywrightError:
            if last or not any(changed):
                raise
        else:
            if last or not any(changed):
                return


def keep(name: str) -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / name


@pytest.mark.sampled
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_is_legible_and_complains_of_nothing(page, served, complaints, name):
    address = PAGES[name].replace("RUN", served.figures.node("bench").last.run_id)
    for width, scheme in SHOWN[name]:
        show(page, address, width, scheme)
        page.screenshot(path=keep(f"{name}-{width}-{scheme}.png"), full_page=True)
        is_legible(page, width, scheme)
    if name == "no-such-page":
        complaints[:] = [each for each in complaints if "404" not in each]


@pytest.fixture(scope="module")
def of_a_month(tmp_path_factory) -> Layout:
    """Results of 30 days, as runs of each minute make them; each day the internet is away for three hours."""
    layout = Layout(tmp_path_factory.mktemp("probes") / "root")
    layout.prepare()
    now = int(time.time())
    rows = []
    for number, start in enumerate(range(now - 30 * DAY, now - 300, 300)):
        is_away = number % 288 < 36
        for probe, target in PROBED:
            failed = (start, start + 240) if is_away and target != "gateway" else None
            rows.append(result(start, probe, target, failed=failed, median=5 + number % 7))
    store(layout, rows)
    return layout


@pytest.mark.parametrize(("shown", "hours"), [("7d", 168), ("30d", 720)])
def test_probes_of_weeks_are_drawn_from_one_end_to_the_other(page, served, of_a_month, monkeypatch, shown, hours):
    def found(start: float, end: float, location: str) -> Probed:
        return probed(of_a_month, (start, end), location, Zone.named("UTC"))

    monkeypatch.setattr(served.figures, "probed", found, raising=False)
    show(page, f"/line/home?range={shown}", scheme="dark")
    page.screenshot(path=keep(f"line-probes-{shown}.png"), full_page=True)
    parts = page.evaluate(
        "JSON.parse(document.querySelector('#chart-data').textContent).probes.map(each => each.at.length)"
    )
    assert len(parts) == len(PROBED)
    assert all(hours <= each <= hours + 1 for each in parts), "an hour is a point"
    delays, lost = (page.evaluate(INKED, [".probes canvas", name]) for name in ("--delay", "--failed"))
    dns, ping, gateway = delays
    assert gateway > 0.9, "but for the scale on its left"
    assert 0.7 < dns == ping < gateway, "an eighth of the days has no delay"
    assert lost[2] == 0
    assert 0.05 < lost[0] == lost[1] < 0.25


def test_who_has_no_session_logs_in_and_out(browser, served, complaints):
    context = browser.new_context(base_url=served.address)
    page = context.new_page()
    listen_to(page, complaints)
    for width, scheme in (PHONE, DESK):
        show(page, "/line/home?range=7d", width, scheme)
        assert page.locator("h1").inner_text() == "Log in"
        assert page.locator("nav").count() == 0
        page.screenshot(path=keep(f"login-{width}-{scheme}.png"))
        is_legible(page, width, scheme)
    assert complaints == []
    log_in(page, "no such password")
    page.get_by_role("alert").wait_for()
    is_legible(page, *DESK)
    log_in(page, PASSWORD)
    page.locator("#delay canvas").wait_for()
    assert page.url.endswith("/line/home?range=7d")
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").wait_for()
    context.close()


def log_in(page: Page, password: str) -> None:
    page.get_by_label("Name").fill("eva")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize("name", ["now", "line-day", "alerts"])
def test_without_javascript_every_figure_is_there(browser, served, context, name):
    context = browser.new_context(
        base_url=served.address, java_script_enabled=False, storage_state=context.storage_state()
    )
    page = context.new_page()
    page.goto(PAGES[name])
    assert page.get_by_text("UTC").count()
    if name == "now":
        assert page.get_by_role("row").count() == 8
        assert page.locator("svg.spark").count() == 7
    elif name == "alerts":
        assert page.locator("#lasting tbody tr").count() == 5
        assert page.get_by_text(SCRIPT).count() == 2
    else:
        assert "Charts need JavaScript" in page.locator("main").inner_text()
        page.get_by_text("Download and upload as a table").click()
        assert page.locator("#speed-table tbody tr").count() >= 24
        assert page.locator("#speed-table tbody tr").nth(3).is_visible()
        assert not page.locator("#nodes input").first.is_visible()  # it would do nothing
    context.close()


def test_on_paper_there_is_no_chrome_and_nothing_is_dark(page):
    show(page, PAGES["line-day"], 1000, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 20_000


def test_times_are_the_viewers_with_utc_beside_them(page):
    show(page, PAGES["line-day"])
    said = page.locator("#outages time").first
    shown = datetime.fromisoformat(said.get_attribute("datetime").replace("Z", "+00:00"))
    minutes = (shown.hour * 60 + shown.minute + 330) % 1440  # Kolkata is 5 h 30 min ahead
    assert f"{minutes // 60:02}:{minutes % 60:02}" in said.inner_text()
    assert said.get_attribute("title").endswith("UTC")
    # hours of tables, and tips of cells once they are looked at, are on the same clocks; the foot names them
    page.get_by_text("Download and upload as a table").click()
    assert ":30" in page.locator("#speed-table tbody time").first.inner_text()
    cell = page.locator("#slots a.cell").first
    assert " UTC: " in cell.get_attribute("title")
    cell.hover()
    assert " UTC: " not in cell.get_attribute("title")
    assert re.search(r"times are those of Asia/\w+, days those of UTC", page.locator(".foot").inner_text())


@pytest.mark.parametrize("width", [320, 360])
def test_the_menu_is_one_row_on_a_phone(page, width):
    for name in ("now", "system"):
        show(page, PAGES[name], width)
        rows = page.evaluate("new Set([...document.querySelectorAll('.top li a')].map(each => each.offsetTop)).size")
        assert rows == 1


def test_news_change_a_page_without_a_reload(page, served):
    show(page, PAGES["now"])
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate("window.still = true")
    page.locator('tr[data-location="home"] a').focus()
    shapes = SampleFigures.line
    served.figures.line = lambda location: replace(shapes(served.figures, location), sentence=f"news of {location}")
    try:
        served.say(type="record", cursor=7, record={"location": "home", "node": "attic", "status": "ok"})
        page.get_by_text("news of garage").wait_for()
    finally:
        del served.figures.line
    assert page.evaluate("window.still")
    assert page.evaluate("document.activeElement.textContent") == "home"
    served.hang_up()
    page.get_by_text("Not live").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    assert served.since[-1] == "7"


def test_the_keyboard_reaches_everything(page):
    show(page, PAGES["line-day"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.locator("a.cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('a.cell')[2]")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.closest('.strip').querySelectorAll('[tabindex=\"0\"]').length") == 1


def test_a_year_is_one_stop_of_the_tab_key_with_arrows_inside(page):
    show(page, PAGES["year"])
    days, here = "[...document.querySelectorAll('table.year td a')]", "document.activeElement"
    assert page.evaluate(f"{days}.length") > 100
    assert page.evaluate(f"{days}.filter(day => day.tabIndex === 0).length") == 1
    page.evaluate(f"{days}[30].focus()")
    assert page.evaluate(f"{here}.getAttribute('aria-label')").startswith("Saturday 31 January")
    for key, day in (
        ("ArrowDown", "Saturday 28 February"), ("ArrowRight", "Sunday 1 March"), ("ArrowUp", "Sunday 1 February"),
        ("ArrowLeft", "Saturday 31 January"), ("ArrowUp", "Saturday 31 January"), ("Home", "Thursday 1 January"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(f"{here}.getAttribute('aria-label')").startswith(day), key
    assert page.evaluate(f"{days}.filter(day => day.tabIndex === 0)[0] === {here}")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/line/home\?start=2026-01-01&end=2026-01-01"))


def test_a_marked_period_becomes_the_pages(page):
    show(page, PAGES["line-day"])
    box = page.locator("#speed .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=3)
    page.mouse.up()
    page.wait_for_url(re.compile(r"start=.*&end="))
    page.locator("#delay canvas").wait_for()
    start, end = (datetime.fromisoformat(each) for each in re.findall(r"=([^&]+)", page.url.replace("%3A", ":")))
    assert 5.5 < (end - start).total_seconds() / 3600 < 6.5


def test_a_pointer_reads_both_charts_and_nodes_can_be_compared(page):
    show(page, PAGES["line-day"])
    chart, read = page.locator("#speed .u-over"), []
    width, height = (chart.bounding_box()[side] for side in ("width", "height"))
    for share in (0.3, 0.4, 0.5, 0.6, 0.7):  # the test at one of them may have failed
        chart.hover(position={"x": width * share, "y": height / 2})
        assert all(page.locator(f"#{each} .when").inner_text() for each in ("speed", "delay"))
        read.append(page.locator('#speed [data-of="download"]').inner_text())
    assert all(re.fullmatch(r"[\d.]+|—", each) for each in read), read
    assert set(read) != {"—"}
    before = page.evaluate(COLOURS)
    page.locator("#nodes input").nth(1).check()
    page.locator("#speed .of-node").wait_for()
    assert "node=cellar" in page.url
    assert page.evaluate(COLOURS) != before or page.locator("#delay .of-node").count() == 1


def test_a_series_that_cannot_be_had_is_said_and_hostile_names_stay_text(page, complaints):
    page.route("**/api/v1/series*", lambda route: route.fulfill(status=503, body="{}"))
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(PAGES["line-hostile"])
    page.get_by_text("The chart could not be drawn").first.wait_for()
    assert page.locator("h1 .name").inner_text() == HOSTILE
    assert page.locator("#nodes .name").inner_text() == SCRIPT
    complaints[:] = [each for each in complaints if "503" not in each]


def test_a_chart_stays_when_its_news_cannot_be_had(page, complaints):
    """As while the dashboard starts again; and what is said where there is no chart may change its size."""
    show(page, PAGES["line-day"])
    page.route("**/api/v1/series*", lambda route: route.fulfill(status=503, body="{}"))
    with page.expect_response("**/api/v1/series*"):
        page.evaluate("document.dispatchEvent(new Event('refreshed'))")
    page.set_viewport_size({"width": 900, "height": 700})
    assert all(colours > 3 for colours in page.evaluate(COLOURS))
    page.locator("#nodes input").nth(1).check()
    page.get_by_text("The chart could not be drawn").first.wait_for()
    page.set_viewport_size({"width": 1440, "height": 900})
    page.wait_for_timeout(200)
    complaints[:] = [each for each in complaints if "503" not in each]


def test_a_share_draws_its_charts_for_whoever_has_the_link(browser, served, complaints):
    context = browser.new_context(base_url=served.address)
    page = context.new_page()
    listen_to(page, complaints)
    show(page, PAGES["share"])
    page.locator("#nodes input").nth(1).check()
    page.locator("#speed .of-node").wait_for()
    assert all(colours > 3 for colours in page.evaluate(COLOURS))
    assert complaints == []
    context.close()


def test_lines_that_are_ticked_are_compared_and_a_note_is_written_and_deleted(page):
    show(page, PAGES["fleet"])
    for location in ("home", "flat-3"):
        page.get_by_label(f"compare {location}").check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(re.compile("/compare[?].*location=flat-3&location=home"))
    page.locator("#speed .of-node").wait_for()
    show(page, PAGES["line-day"])
    page.get_by_label("New note").fill("a new router <b>")
    page.get_by_role("button", name="Write it").click()
    page.get_by_role("button", name="Delete the note a new router <b>").click()
    page.wait_for_function("document.querySelectorAll('#notes li').length === 0")
