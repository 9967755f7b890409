"""A line's page in Streamlit: the state's figures, the nodes' table, 30 days by hour. Reads a file that is made for it.

usage: streamlit run benchmarks/dashboard_streamlit.py -- FILE   (of hours; dashboard_pages.py starts it)
"""

from __future__ import annotations

import sys

import duckdb
import streamlit as st

LINE = "loc-0003"
HOURS = f"SELECT * FROM '{sys.argv[1]}' WHERE location = '{LINE}'"  # noqa: S608  the benchmark's own file

st.set_page_config(page_title=LINE, layout="wide")
hours = duckdb.sql(f"{HOURS} ORDER BY start").df()
nodes = duckdb.sql(
    f"""SELECT node, median(download) AS download, median(upload) AS upload, median(latency) AS latency,
        sum(ok) AS ok, sum(failed) AS failed FROM ({HOURS}) WHERE node <> '' GROUP BY node ORDER BY node"""  # noqa: S608
).df()
st.title(LINE)
for column, name in zip(st.columns(3), ("download", "upload", "latency"), strict=True):
    column.metric(name, f"{hours[name].median():,.0f}")
st.dataframe(nodes)
line = hours[hours["node"] == ""]
st.line_chart(line, x="start", y=["download", "upload"])
st.line_chart(line, x="start", y=["latency"])
