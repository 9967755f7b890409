"""Pages and answers over HTTP: each path alone, at 1,000 nodes and at 50, Prometheus's scrapes, 20 requests at once."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import time

from dashboard_fleet import Goals, Served, best

AT_ONCE, SECONDS, TIMES = 20, 60, 200  # times each path, by one curl
LINE_LIMIT, P99_LIMIT_MS = 2, 100
SCRAPES, SCRAPE_LIMIT_MS = 12, 100
LINE = "/line/loc-0003?range=30d"
PATHS = (
    "/", "/fleet?range=30d", "/fleet?range=1y", LINE, "/line/loc-0003?range=24h", "/line/loc-0003?range=1y",
    "/outages?range=30d", "/system",
    f"/line/loc-0003/year/{time.gmtime().tm_year}", "/api/v1/nodes", "/api/v1/locations", "/api/status",
    "/api/v1/locations/loc-0003", "/api/v1/series?range=30d&location=loc-0003",
    "/api/v1/series?range=1y&location=loc-0003",
    "/api/v1/coverage?range=1y", "/api/v1/cells?range=30d&location=loc-0003", "/api/v1/week?range=1y&location=loc-0003",
    "/api/v1/outages?range=30d&shortest=2", "/api/v1/records?range=24h&location=loc-0003",
)  # fmt: skip


def get(connection: http.client.HTTPConnection, path: str, **headers: str) -> bytes:
    """What is answered, as browsers get it: compressed."""
    connection.request("GET", path, headers={"Accept-Encoding": "gzip", **headers})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, (path, answer.status, content[:300])
    return content


def connected(server: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)


def made(connection: http.client.HTTPConnection, path: str) -> bytes:
    """The same made anew, and not one that was kept."""
    return get(connection, path, **{"Cache-Control": "no-cache"})


def alone(server: Served, nodes: int) -> None:
    """Each path by itself, made anew and kept."""
    connection = connected(server)
    print(f"\nGET one at a time, {nodes} nodes (ms, best of some): made anew, kept")
    for path in PATHS:
        if nodes * (365 if "1y" in path else 30) > 40_000 and path.startswith(
            ("/fleet", "/api/v1/coverage", "/outages")
        ):
            continue
        size = len(get(connection, path))
        anew, kept = best(lambda path=path: made(connection, path), lambda path=path: get(connection, path))
        print(f"  {path:<48}{1000 * anew:8.1f}{1000 * kept:8.1f}{size / 1000:9.0f} kB", flush=True)


def lines(large: Served, small: Served, goals: Goals) -> None:
    """A line's page where there are many others, and where there are few."""
    many, few = connected(large), connected(small)
    seconds = best(lambda: made(many, LINE), lambda: made(few, LINE), runs=15)
    print(f"\na line's page, 30 days: {1000 * seconds[0]:.0f} ms at 1,000 nodes, {1000 * seconds[1]:.0f} ms at 50")
    goals.say("a line's page at 1,000 nodes against 50", seconds[0] / seconds[1], LINE_LIMIT)


def scrapes(server: Served, nodes: int, goals: Goals) -> None:
    """What Prometheus asks for, every five seconds, and what is counted ahead of its question."""
    connection = connected(server)
    content = get(connection, "/metrics")
    times, used, cpu = [], 0.0, server.cpu()
    for _ in range(SCRAPES):
        time.sleep(5)
        began, before = time.perf_counter(), server.cpu()
        get(connection, "/metrics")
        times.append(1000 * (time.perf_counter() - began))
        used += 1000 * (server.cpu() - before) / SCRAPES
    others = 1000 * (server.cpu() - cpu) / SCRAPES - used
    print(
        f"\nGET /metrics, {nodes} nodes: {len(content) / 1000:.0f} kB, {min(times):.0f} to {max(times):.0f} ms, median "
        f"{statistics.median(times):.0f}; {used:.0f} ms CPU each, and {others:.0f} ms in the 5 s between two"
    )
    goals.say(f"a scrape of {nodes} nodes", statistics.median(times), SCRAPE_LIMIT_MS, "ms")
    goals.say("its CPU", used, SCRAPE_LIMIT_MS, "ms")


def at_once(server: Served, goals: Goals) -> None:
    """Twenty who ask all the time, each for the next path; for a minute, in which each answer is made at least once.

    curl asks: a client in Python would be the one that takes the time.
    """
    began, cpu, found = time.perf_counter(), server.cpu(), []
    while time.perf_counter() - began < SECONDS:
        found += asked(server)
    wall, cpu = time.perf_counter() - began, server.cpu() - cpu
    found.sort()
    times = [milliseconds for milliseconds, _ in found]
    p99, path = found[int(len(found) * 0.99)]
    print(
        f"\n{AT_ONCE} at once, {wall:.0f} s: {len(found) / wall:.0f} answers/s, "
        f"{1000 * cpu / len(found):.1f} ms CPU each; p50 {statistics.median(times):.0f} ms, "
        f"p90 {times[int(len(times) * 0.9)]:.0f}, p99 {p99:.0f} ({path}), slowest {times[-1]:.0f}"
    )
    goals.say(f"p99 of any GET, {AT_ONCE} at once", p99, P99_LIMIT_MS, "ms")


def asked(server: Served) -> list[tuple[float, str]]:
    """Some thousand requests, AT_ONCE at a time: how long each took (ms), and its path."""
    options = ["--silent", "--parallel", "--parallel-max", str(AT_ONCE), "--header", "Accept-Encoding: gzip"]
    told = ["--write-out", "%{response_code} %{time_total} %{url}\n"]
    urls = [server.address + path for path in PATHS * TIMES]
    files = [word for url in urls for word in ("--output", "/dev/null", url)]
    done = subprocess.run(["curl", *options, *told, *files], capture_output=True, text=True, check=True)
    found = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert {code for code, _, _ in found} == {"200"}
    return [(1000 * float(seconds), url.removeprefix(server.address)) for _, seconds, url in found]
