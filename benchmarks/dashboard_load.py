"""Pages and answers over HTTP: each path alone, a line's page at 1,000 nodes and at 50, and 20 requests at once."""

from __future__ import annotations

import gzip
import http.client
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from dashboard_fleet import Goals, Served, best

AT_ONCE, SECONDS = 20, 60  # a minute: each answer is made once at least
LINE_LIMIT, P99_LIMIT_MS = 2, 100
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


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    """What is answered; as browsers ask, compressed."""
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, (path, answer.status, content[:300])
    return gzip.decompress(content) if answer.headers["Content-Encoding"] == "gzip" else content


def connected(server: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)


def alone(server: Served, nodes: int) -> None:
    """Each path by itself."""
    connection = connected(server)
    print(f"\nGET one at a time, {nodes} nodes (ms, best of some):")
    for path in PATHS:
        if nodes * (365 if "1y" in path else 30) > 40_000 and path.startswith(
            ("/fleet", "/api/v1/coverage", "/outages")
        ):
            continue
        size = len(get(connection, path))
        (seconds,) = best(lambda path=path: get(connection, path))
        print(f"  {path:<48}{1000 * seconds:8.1f}{size / 1000:9.0f} kB", flush=True)


def lines(large: Served, small: Served, goals: Goals) -> None:
    """A line's page where there are many others, and where there are few."""
    many, few = connected(large), connected(small)
    seconds = best(lambda: get(many, LINE), lambda: get(few, LINE), runs=15)
    print(f"\na line's page, 30 days: {1000 * seconds[0]:.0f} ms at 1,000 nodes, {1000 * seconds[1]:.0f} ms at 50")
    goals.say("a line's page at 1,000 nodes against 50", seconds[0] / seconds[1], LINE_LIMIT)


def at_once(server: Served, goals: Goals) -> None:
    """Twenty who ask all the time, each for another path; answers are made anew each minute, as always."""
    until = time.monotonic() + SECONDS

    def ask(number: int) -> list[tuple[float, str]]:
        connection, taken = connected(server), []
        while time.monotonic() < until:
            path = PATHS[(number + len(taken)) % len(PATHS)]
            began = time.perf_counter()
            get(connection, path)
            taken.append((1000 * (time.perf_counter() - began), path))
        return taken

    began, cpu = time.perf_counter(), server.cpu()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = sorted(each for taken in pool.map(ask, range(AT_ONCE)) for each in taken)
    wall, cpu = time.perf_counter() - began, server.cpu() - cpu
    times = [milliseconds for milliseconds, _ in found]
    p99, path = found[int(len(found) * 0.99)]
    print(
        f"\n{AT_ONCE} at once, {wall:.0f} s: {len(found) / wall:.0f} answers/s, "
        f"{1000 * cpu / len(found):.1f} ms CPU each; p50 {statistics.median(times):.0f} ms, "
        f"p90 {times[int(len(times) * 0.9)]:.0f}, p99 {p99:.0f} ({path}), slowest {times[-1]:.0f}"
    )
    goals.say(f"p99 of any GET, {AT_ONCE} at once", p99, P99_LIMIT_MS, "ms")
