"""The workbench's page, which Streamlit runs anew whenever something on it is changed."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import streamlit as st

from speedtest_logger.archive import open_archive
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.workbench.questions import (
    FIRST_QUESTION,
    MOST_SHOWN,
    Selection,
    answer,
    file_of,
    nodes_of,
)

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Choose, ask, look, take away."""
    st.set_page_config(page_title="Workbench", layout="wide")
    st.title("Workbench")
    archive = open_archive()
    selection = chosen(nodes_of(archive))
    sql = st.text_area("SQL over `records` and `raw`: it reads, and can change nothing", FIRST_QUESTION, height=180)
    table = answer(archive, selection, sql)
    frame = table.slice(0, MOST_SHOWN).to_pandas()
    more = f", the first {MOST_SHOWN:,} shown" if table.num_rows > MOST_SHOWN else ""
    st.caption(f"{table.num_rows:,} rows{more}; times are in UTC")
    st.dataframe(frame, width="stretch")
    numbers = list(frame.select_dtypes("number").columns)
    if numbers and len(frame):
        draw(frame, numbers)
    for form in ("csv", "parquet"):
        st.download_button(form, file_of(table, form), f"answer.{form}", key=form)


def chosen(nodes: list[str]) -> Selection:
    """Period and nodes, at the side."""
    latest = Selection.latest(datetime.now(timezone.utc).date())
    first = st.sidebar.date_input("From", latest.first)
    last = st.sidebar.date_input("To", latest.last)
    return Selection(first, last, tuple(st.sidebar.multiselect("Nodes", nodes, placeholder="all")))


def draw(frame: pd.DataFrame, numbers: list[str]) -> None:
    """A chart of numbers over any column."""
    columns = list(frame.columns)
    across = st.selectbox("Across", columns, columns.index("started_at") if "started_at" in columns else 0)
    up = st.multiselect("Up", numbers, [name for name in numbers if name != across][:2])
    by = st.selectbox("A colour each", [None, *columns]) if len(up) == 1 else None
    if up:
        st.scatter_chart(frame, x=across, y=up, color=by)


try:
    main()
except SpeedtestError as error:
    st.error(str(error))
