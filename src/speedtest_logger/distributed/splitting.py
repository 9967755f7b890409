"""Which questions are answered in parts, and how: SQL for each part, and SQL that merges what the parts say.

- Rows, filtered or not: the parts' rows together.
- Groups by location (and more): a location lies in one bucket, so each group is whole in one part. Any aggregate.
- Other groups, or the whole table: count, sum, min, max and avg, of which each part says what the merge needs.

Whatever is not known to give the same answer as the whole is not split: NotSplitError says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from speedtest_logger.distributed import scan, tree
from speedtest_logger.distributed.resolved import VIEW, Question, resolved
from speedtest_logger.distributed.tree import Node, NotSplitError

PARTS = "parts"
CARRIED = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip
SUMMED = ("HUGEINT", "DOUBLE")  # what sums are of numbers; others are not merged


@dataclass(frozen=True)
class Plan:
    """SQL over `records` for each part, and SQL over `parts`, all parts' rows, that gives the answer.

    `columns` are what a part answers, without rows; `answer` is what the whole question answers, without rows.
    """

    fragment: str
    merge: str
    whole_buckets: bool
    columns: pa.Table
    answer: pa.Table

    def merged(self, parts: Sequence[pa.Table]) -> pa.Table:
        """The answer. Raises NotSplitError where it would not be what one DuckDB answers, by its types."""
        with scan.connected() as connection:
            connection.register(PARTS, pa.concat_tables([self.columns, *parts]))
            merged = connection.sql(self.merge).to_arrow_table()
        merged = merged.rename_columns(self.answer.schema.names)
        if merged.schema != self.answer.schema:
            raise NotSplitError(f"the answer's columns would be {merged.schema}, not {self.answer.schema}")
        return merged


def planned(sql: str, condition: str, now: float) -> Plan:
    """How to answer SQL over the records that satisfy a condition. Raises NotSplitError, duckdb.Error for wrong SQL."""
    with scan.kept().cursor() as connection:
        connection.register("stored", scan.STORED.empty_table())
        scan.view(connection, condition)
        answer = connection.sql(sql)
        if answer is None:
            raise NotSplitError("it is not one SELECT")
        _check_condition(connection, condition, now)
        question = resolved(connection, sql, now)
        types = [_carried(str(kind)) for kind in answer.types]
        empty = answer.to_arrow_table().slice(0, 0)
        if len(types) != len(question.select):
            raise NotSplitError("columns that stand for several")
        by_location = any(tree.is_column(group, "location") for group in question.groups)
        _check_windows(question)
        if question.aggregates and not by_location:
            return _merging(connection, question, types, empty)
        return _together(connection, question, types, empty)


def _check_condition(connection: duckdb.DuckDBPyConnection, condition: str, now: float) -> None:
    """What narrows the records has to mean the same on a part."""
    question = resolved(connection, f"SELECT * FROM {VIEW} WHERE {condition}", now)
    if question.windows or question.aggregates or question.node["qualify"] or question.limit is not None:
        raise NotSplitError("records are told apart by other records (QUALIFY)")
    for node in tree.nodes(tree.parsed(connection, f"SELECT 1 FROM {VIEW} WHERE {condition}")["where_clause"]):
        if tree.name_of(node) in tree.NOWS or (node["class"] == "COLUMN_REF" and node["column_names"][0] in tree.NOWS):
            raise NotSplitError("the present in the condition")


def _carried(kind: str) -> str:
    if kind not in CARRIED and not kind.startswith("DECIMAL("):
        raise NotSplitError(f"a column of type {kind}")
    return kind


def _check_windows(question: Question) -> None:
    if question.node["qualify"] and not question.windows:
        raise NotSplitError("QUALIFY without a window")
    for window in question.windows:
        if not any(tree.is_column(part, "location") for part in window["partitions"]):
            raise NotSplitError("a window that is not PARTITION BY location")


def _together(connection: duckdb.DuckDBPyConnection, question: Question, types: list[str], answer: pa.Table) -> Plan:
    """Each part's rows are the answer's; order and limit are applied again."""
    select = [{**item, "alias": f"c{number}"} for number, item in enumerate(question.select)]
    select += [{**order.expression, "alias": f"o{number}"} for number, order in enumerate(question.orders)]
    node = {**question.node, "select_list": select, **_grouped(question.groups)}
    fragment = tree.written(connection, node)
    order = _order_by(question)
    if question.limit is not None:
        fragment = f"{fragment}{order} LIMIT {question.limit + question.offset}"
    columns = _columns(connection, fragment)
    casts = ", ".join(f"CAST(c{number} AS {kind}) AS c{number}" for number, kind in enumerate(types))
    kinds = _kinds(connection, fragment)[len(types) :]
    orders = "".join(f", CAST(o{number} AS {kind}) AS o{number}" for number, kind in enumerate(kinds))
    names = ", ".join(f"c{number}" for number in range(len(types)))
    merge = f"SELECT {names} FROM (SELECT {casts}{orders} FROM {PARTS}){order}{_limit(question)}"
    return Plan(fragment, merge, bool(question.aggregates or question.windows), columns, answer)


def _grouped(groups: list[Node]) -> Node:
    sets = [list(range(len(groups)))] if groups else []
    return {"group_expressions": groups, "group_sets": sets, "aggregate_handling": "STANDARD_HANDLING"}


def _order_by(question: Question) -> str:
    terms = [f"o{number}{order.words}" for number, order in enumerate(question.orders)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _limit(question: Question) -> str:
    text = "" if question.limit is None else f" LIMIT {question.limit}"
    return f"{text} OFFSET {question.offset}" if question.offset else text


def _columns(connection: duckdb.DuckDBPyConnection, fragment: str) -> pa.Table:
    try:
        return connection.sql(fragment).to_arrow_table().slice(0, 0)
    except duckdb.Error as error:
        raise NotSplitError(f"its part is none: {str(error)[:200]}") from error


def _kinds(connection: duckdb.DuckDBPyConnection, fragment: str) -> list[str]:
    return [_carried(str(kind)) for kind in connection.sql(fragment).types]


@dataclass
class _Partials:
    """What each part says of aggregates: a column of its SQL for each, once."""

    found: dict[str, tuple[str, Node]]

    def named(self, node: Node) -> str:
        """The column of what a part is to say."""
        return self.found.setdefault(tree.key(node), (f"a{len(self.found)}", node))[0]


def _merging(connection: duckdb.DuckDBPyConnection, question: Question, types: list[str], answer: pa.Table) -> Plan:
    """Each part says what its groups come to; the merge groups them again."""
    if question.windows or question.node["qualify"]:
        raise NotSplitError("a window over groups")
    partials = _Partials({})
    orders = [order.expression for order in question.orders]
    aggregates = [n for n in tree.nodes([question.select, question.node["having"], orders]) if tree.is_aggregate(n)]
    merges = {tree.key(node): _merge_of(node, partials) for node in aggregates}
    keys = {tree.key(group): f"g{number}" for number, group in enumerate(question.groups)}
    select = [{**group, "alias": f"g{number}"} for number, group in enumerate(question.groups)]
    select += [{**node, "alias": name} for name, node in partials.found.values()]
    if not select:
        raise NotSplitError("nothing that parts could say")
    node = {**question.node, "select_list": select, "having": None, **_grouped(question.groups)}
    fragment = tree.written(connection, node)
    columns = _columns(connection, fragment)
    kinds = dict(zip(columns.schema.names, _kinds(connection, fragment), strict=True))
    _check_sums(partials, kinds)

    def other(node: Node) -> Node | None:
        found = tree.key(node)
        if found in merges:
            return tree.expression(connection, merges[found].format(**kinds))
        return tree.expression(connection, keys[found]) if found in keys else None

    merge = _merge_sql(connection, question, types, kinds, other)
    return Plan(fragment, merge, False, columns, answer)


def _merge_sql(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    types: list[str],
    kinds: dict[str, str],
    other: Callable[[Node], Node | None],
) -> str:
    """The question over what the parts said: groups and aggregates are columns there."""
    select = [
        {**tree.changed({**item, "alias": ""}, other), "alias": f"c{n}"} for n, item in enumerate(question.select)
    ]
    for number, order in enumerate(question.orders):
        select.append({**tree.changed(order.expression, other), "alias": f"o{number}"})
    groups = [tree.expression(connection, f"g{number}") for number in range(len(question.groups))]
    node = {
        **tree.parsed(connection, f"SELECT 1 FROM {PARTS}"),
        "select_list": select,
        "having": tree.changed(question.node["having"], other),
        **_grouped(groups),
    }
    for each in tree.nodes([select, node["having"]]):
        if each["class"] == "COLUMN_REF" and each["column_names"][0] not in kinds:
            raise NotSplitError(f"the column {each['column_names'][0]}, which is no group")
    casts = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in kinds.items())
    inner = tree.written(connection, node)
    source = f"FROM {PARTS}"
    if inner.count(source) != 1:
        raise NotSplitError(f"a text with {source} in it")
    inner = inner.replace(source, f"FROM (SELECT {casts} {source}) AS {PARTS}")
    answers = ", ".join(f"CAST(c{number} AS {kind}) AS c{number}" for number, kind in enumerate(types))
    return f"SELECT {answers} FROM ({inner}){_order_by(question)}{_limit(question)}"


def _merge_of(node: Node, partials: _Partials) -> str:
    """SQL that merges an aggregate's answers; braces hold the types of its columns."""
    name = tree.name_of(node)
    if name not in tree.MERGED:
        raise NotSplitError(f"{name}() of groups that are not by location")
    if node["distinct"] and name not in ("min", "max"):
        raise NotSplitError("DISTINCT in an aggregate of groups that are not by location")
    if name in ("avg", "mean"):
        total, count = (partials.named(_renamed(node, other)) for other in ("sum", "count"))
        return f"(CAST(sum({total}) AS DOUBLE) / nullif(CAST(sum({count}) AS BIGINT), 0))"
    column = partials.named(node)
    if name in ("count", "count_star"):
        return f"CAST(coalesce(sum({column}), 0) AS BIGINT)"
    return f"CAST({name}({column}) AS {{{column}}})"


def _renamed(node: Node, name: str) -> Node:
    """The same of another function."""
    return {**node, "function_name": name, "qualified_name": {"path": [name]}}


def _check_sums(partials: _Partials, kinds: dict[str, str]) -> None:
    for name, node in partials.found.values():
        if tree.name_of(node) == "sum" and kinds[name] not in SUMMED:
            raise NotSplitError(f"a sum of type {kinds[name]}")
