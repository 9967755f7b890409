"""Pages in a cold Chromium: ours against the same in Streamlit, and a node's year drawn by uPlot against ECharts."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from dashboard_fleet import PLACE, Fleet, Goals, Served, free_port, running
from fleet_data import SLOT_SECONDS, START, YEAR_SLOTS

ROOT = Path(__file__).resolve().parents[1]
STREAMLIT = ROOT / ".venv-benchmark/bin/streamlit"
STATIC = ROOT / "src/speedtest_logger/dashboard/static"
ECHARTS = ("echarts", "6.0.0", "5776a250a33c375f794d796f661d7b88ca36ec5fb16dbff374dd25bf5a64b26b")  # its SHA-256
TIME_LIMIT, BYTES_LIMIT, DRAWN_LIMIT = 0.2, 0.05, 0.2
RUNS = 3
OURS, OURS_SEEN = "/line/loc-0003?range=30d", "#speed canvas, [data-chart] canvas"
THEIRS_SEEN = '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg'
DRAW = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="uPlot.min.css"><div id="at"></div>
<script src="uPlot.iife.min.js"></script><script src="echarts.min.js"></script><script>
const data = DATA, sleep = () => new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
async function timed(draw) {
  const at = document.createElement("div");
  at.style.cssText = "width: 1200px; height: 400px";
  document.getElementById("at").replaceChildren(at);
  await sleep();
  const began = performance.now();
  await draw(at);
  return performance.now() - began;
}
const uplot = () => timed((at) => new Promise((done) => new uPlot({width: 1200, height: 400,
  series: [{}, {stroke: "blue"}, {stroke: "green"}], hooks: {draw: [done]}}, data, at)));
const series = (values, name) => ({type: "line", name, showSymbol: false, sampling: "lttb",
  data: values.map((value, place) => [data[0][place] * 1000, value])});
const theirs = [series(data[1], "down"), series(data[2], "up")];
const echart = () => timed((at) => new Promise((done) => {
  const chart = echarts.init(at);
  chart.on("finished", done);
  chart.setOption({animation: false, xAxis: {type: "time"}, yAxis: {}, series: theirs});
}));
</script>"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium-headless-shell")
    assert program, "chromium-headless-shell is missing: make tools"
    with sync_playwright() as playwright:
        running_one = playwright.chromium.launch(executable_path=program)
        yield running_one
        running_one.close()


def visit(browser: Any, address: str, seen: str) -> tuple[float, int, int]:
    """Seconds until a page's chart is drawn in a browser that knows nothing, bytes, and requests."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
    received = [0, 0]
    session = context.new_cdp_session(page)
    session.send("Network.enable")

    def count(size: float) -> None:
        received[0] += int(size)

    def begin(_: object) -> None:
        received[1] += 1

    session.on("Network.loadingFinished", lambda event: count(event["encodedDataLength"]))
    session.on("Network.webSocketFrameReceived", lambda event: count(len(event["response"]["payloadData"])))
    session.on("Network.requestWillBeSent", begin)
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(seen).first.wait_for(state="visible")
    seconds = time.perf_counter() - began
    page.wait_for_timeout(1000)  # for what was under way
    context.close()
    return seconds, received[0], received[1]


@contextmanager
def streamlit(shown: Fleet) -> Iterator[Served]:
    """The peer's page, with the hours as a file of its own."""
    file = PLACE / "hours.parquet"
    figures = shown.figures()
    sql = """SELECT node, location, to_timestamp(start) AS start, download, upload, latency, ok, failed
             FROM hour WHERE start >= $since"""
    import pyarrow.parquet as pq

    pq.write_table(figures.source.rollups.ask(sql, {"since": time.time() - 30 * 86_400}), file)
    figures.source.rollups.close()
    port = free_port()
    argv = [str(STREAMLIT), "run", str(Path(__file__).with_name("dashboard_streamlit.py")), "--server.headless=true"]
    argv += [
        f"--server.port={port}",
        "--browser.gatherUsageStats=false",
        "--server.fileWatcherType=none",
        "--",
        str(file),
    ]
    with running(argv, {}, port, "/") as found:
        yield found


def pages(ours: Served, theirs: Served, goals: Goals) -> None:
    """A line's page, and the same in Streamlit."""
    best = [(float("inf"), 0, 0)] * 2
    with chromium() as browser:
        for _ in range(RUNS):
            for place, (address, seen) in enumerate(
                ((ours.address + OURS, OURS_SEEN), (theirs.address + "/", THEIRS_SEEN))
            ):
                best[place] = min(best[place], visit(browser, address, seen))
    print("\na line's page with 30 days in a cold browser:")
    for name, (seconds, size, requests), server in zip(("ours", "Streamlit"), best, (ours, theirs), strict=True):
        print(f"  {name:<10}{1000 * seconds:6.0f} ms{size / 1000:8.0f} kB{requests:5} requests{server.rss():6.0f} MB")
    goals.say("the page's time against Streamlit", best[0][0] / best[1][0], TIME_LIMIT)
    goals.say("its bytes against Streamlit", best[0][1] / best[1][1], BYTES_LIMIT)


def echarts(folder: Path) -> None:
    """The peer as its maker published it."""
    name, version, sha256 = ECHARTS
    subprocess.run(["npm", "pack", f"{name}@{version}", "--silent"], cwd=folder, check=True, capture_output=True)
    archive = folder / f"{name}-{version}.tgz"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == sha256, f"{archive.name} is not what it was"
    with tarfile.open(archive) as packed:
        content = packed.extractfile("package/dist/echarts.min.js")
        assert content
        (folder / "echarts.min.js").write_bytes(content.read())


def drawn(goals: Goals) -> None:
    """A node's year, 2 x 105,120 points."""
    folder = PLACE / "drawn"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "echarts.min.js").exists():
        echarts(folder)
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        shutil.copy(STATIC / name, folder)
    rng = np.random.default_rng(1)
    at = START + np.arange(YEAR_SLOTS) * SLOT_SECONDS
    columns = [at, *(np.round(rng.normal(middle, middle / 30, YEAR_SLOTS), 1) for middle in (90, 40))]
    (folder / "page.html").write_text(DRAW.replace("DATA", json.dumps([column.tolist() for column in columns])))
    times: dict[str, list[float]] = {"uplot": [], "echart": []}
    with chromium() as browser:
        for _ in range(RUNS):
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(f"file://{folder}/page.html")
            for name, taken in times.items():
                taken.append(page.evaluate(f"{name}()"))
            page.close()
    own, peer = (min(taken) for taken in times.values())
    sizes = [(folder / name).stat().st_size / 1000 for name in ("uPlot.iife.min.js", "echarts.min.js")]
    print(
        f"\na node's year, 2 x {YEAR_SLOTS:,} points: uPlot {own:.0f} ms ({sizes[0]:.0f} kB of program), "
        f"ECharts {peer:.0f} ms ({sizes[1]:.0f} kB)"
    )
    goals.say("a node's year drawn, against ECharts", own / peer, DRAWN_LIMIT)
