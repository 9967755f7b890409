"""Records, questions about them that are answered in parts, and whether two answers are the same."""

from __future__ import annotations

import math

import pyarrow as pa
from builders import DAY, FIRST, slot
from hypothesis import strategies as st

PLACES = ("home", "garden", "yard", "shop")
ROWS = [
    *[slot(f"{place}-{n}", FIRST + day * DAY + n * 300, place, download_bps=1e6 * (7 * day + n + 1),
          **({} if n else {"upload_bps": None, "status": "partial", "reason": "incomplete"}))
      for place in PLACES[:3] for n in range(3) for day in (0, 1, 40)],
    slot("shop-0", FIRST + 40 * DAY, "shop", status="failed", reason="no_route", download_bps=None, upload_bps=None),
    slot("home-0", FIRST + 2 * DAY, "home", bytes_received=2**52, latency_ms=0.0, server_name="FROM parts; 'x'"),
]  # fmt: skip
SPLIT = [
    "SELECT location, median(download_bps) AS d FROM records GROUP BY location ORDER BY location",
    "SELECT location, month, count(*) FILTER (status = 'ok') AS ok, avg(download_bps) / 1e6 AS mean FROM records "
    "GROUP BY ALL HAVING count(*) > 1 ORDER BY ok DESC, location, month LIMIT 3 OFFSET 1",
    "SELECT count(*), count(upload_bps), sum(download_bps), min(node), max(started_at), avg(latency_ms) FROM records",
    "SELECT count(*) AS n, sum(upload_bps) AS s, avg(upload_bps) AS a, min(upload_bps) FROM records WHERE false",
    "SELECT day, count(*) AS n, sum(bytes_received) FROM records GROUP BY day ORDER BY n DESC NULLS LAST, day",
    "SELECT r.day AS on_day, 2 * avg(r.download_bps) AS twice, twice / 2 FROM records r GROUP BY on_day ORDER BY 1",
    "SELECT reason, status, count(*) FROM records GROUP BY reason, status ORDER BY reason NULLS FIRST, 2",
    "SELECT status, avg(download_bps), mean(upload_bps) FROM records GROUP BY status ORDER BY status",
    "SELECT date_trunc('month', started_at) AS m, 100.0 * count(*) FILTER (status = 'ok') / count(*) FROM records "
    "GROUP BY 1 ORDER BY 1",
    "SELECT node, started_at, download_bps / 1e6 FROM records WHERE node LIKE 'h%' "
    "ORDER BY started_at DESC, node LIMIT 4",
    "SELECT node, location, download_bps FROM records WHERE download_bps > 3e6 ORDER BY upload_bps, download_bps, node",
    "SELECT * FROM records ORDER BY started_at, node",
    "SELECT * EXCLUDE (year, month) FROM records ORDER BY started_at, node",
    "SELECT location, count(DISTINCT node) AS n FROM records GROUP BY location ORDER BY location",
    "SELECT location, node, rank() OVER (PARTITION BY location ORDER BY download_bps DESC NULLS LAST, node) AS place "
    "FROM records QUALIFY place <= 2 ORDER BY location, place, node",
    "SELECT count(*) AS a, count(*) AS a FROM records",
    "SELECT max(server_name) AS name FROM records WHERE server_name = 'FROM parts; ''x''' OR server_name IS NULL",
    "SELECT sum(attempt) AS s, sum(CASE WHEN status = 'ok' THEN 1 ELSE 0 END) AS n FROM records",
    "SELECT avg(year) AS y, sum(year * 1000000) AS s FROM records",
    "SELECT month % 2 AS odd, min(day) AS first, max(download_bps) - min(download_bps) FROM records GROUP BY odd "
    "ORDER BY odd",
    "SELECT count(*) FROM records WHERE started_at < now() AND started_at < current_timestamp - INTERVAL 1 DAY",
    "FROM records SELECT location GROUP BY ALL ORDER BY location",
    "SELECT 1 AS one, count(*) + 1 AS n FROM records HAVING count(*) > 1000",
]  # fmt: skip
COLUMNS = ("location", "node", "day", "status", "month")
NUMBERS = ("download_bps", "upload_bps", "attempt", "latency_ms", "bytes_received")
AGGREGATES = st.one_of(
    st.just("count(*)"),
    st.builds("{}({}){}".format,
              st.sampled_from(["count", "sum", "min", "max", "avg", "median"]), st.sampled_from(NUMBERS),
              st.sampled_from(["", " FILTER (status = 'ok')", " FILTER (download_bps > 5e6)"])),
    st.builds("{}({})".format, st.sampled_from(["count", "min", "max"]), st.sampled_from(COLUMNS)),
)  # fmt: skip
QUESTIONS = st.builds(
    lambda groups, values, where, having, limit: (
        "SELECT " + ", ".join([*groups, *(f"{value} AS v{n}" for n, value in enumerate(values))])
        + f" FROM records WHERE {where}" + (f" GROUP BY {', '.join(groups)}" if groups else "") + having
        + f" ORDER BY {', '.join([*groups, 'v0'])}" + limit
    ),
    st.lists(st.sampled_from(COLUMNS), max_size=3, unique=True),
    st.lists(AGGREGATES, min_size=1, max_size=3),
    st.sampled_from(["true", "false", "download_bps IS NULL",
                      "status <> 'ok'", "day > DATE '2026-01-01'", "month = 2"]),
    st.sampled_from(["", " HAVING count(*) > 2", " HAVING v0 IS NOT NULL"]),
    st.sampled_from(["", " LIMIT 2", " LIMIT 2 OFFSET 1"]),
)  # fmt: skip


def same(one: pa.Table, other: pa.Table, *, ordered: bool = True) -> None:
    assert one.schema.names == other.schema.names
    assert one.schema.types == other.schema.types
    rows = [[tuple(row.values()) if len(set(t.schema.names)) == t.num_columns else str(row) for row in t.to_pylist()]
            if t.num_columns == len(set(t.schema.names)) else [str(column) for column in t.columns]
            for t in (one, other)]  # fmt: skip
    if not ordered:
        rows = [sorted(part, key=repr) for part in rows]
    assert len(rows[0]) == len(rows[1])
    for left, right in zip(*rows, strict=True):
        for a, b in zip(left, right, strict=True):
            assert a == b or (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-12)), (
                left,
                right,
            )
