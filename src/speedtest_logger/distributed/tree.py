"""DuckDB's own tree of a question, and of which parts of it is known that they mean the same on part of the rows.

Whatever is not named here, be it a kind of node, a function, an attribute that is not empty, is not split: a later
DuckDB's new words too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import duckdb

Node = dict[str, Any]
WHERE_FROM = ("query_location", "query_location_length")
COMMON = {"class", "type", "alias", *WHERE_FROM}
# Attributes of each class of node that are looked at; others have to be empty.
KNOWN: dict[str, set[str]] = {
    "COLUMN_REF": {"column_names"},
    "CONSTANT": {"literal"},
    "COMPARISON": {"left", "right"},
    "CONJUNCTION": {"children"},
    "OPERATOR": {"children"},
    "BETWEEN": {"input", "lower", "upper"},
    "CASE": {"case_checks", "else_expr"},
    "CAST": {"child", "try_cast", "type_expr"},
    "TYPE": {"type_name", "children", "qualified_name"},
    "FUNCTION": {
        "function_name", "filter", "distinct", "is_operator", "arguments", "qualified_name", "order_bys",
    },
    "WINDOW": {
        "function_name", "partitions", "orders", "start", "end", "start_expr", "end_expr", "offset_expr",
        "default_expr", "ignore_nulls", "has_ignore_nulls", "filter_expr", "exclude_clause", "arguments",
        "qualified_name",
    },
}  # fmt: skip
OPERATORS = (
    "OPERATOR_NOT",
    "OPERATOR_IS_NULL",
    "OPERATOR_IS_NOT_NULL",
    "COMPARE_IN",
    "COMPARE_NOT_IN",
    "OPERATOR_COALESCE",
)
TYPES = {
    "BOOLEAN", "BOOL", "TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT", "FLOAT", "REAL", "DOUBLE",
    "DECIMAL", "NUMERIC", "VARCHAR", "TEXT", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "INTERVAL",
}  # fmt: skip
SCALARS = {
    "+", "-", "*", "/", "//", "%", "||", "~~", "!~~", "~~*", "!~~*", "abs", "ceil", "ceiling", "concat", "contains",
    "date_part", "date_trunc", "day", "dayname", "dayofweek", "dayofyear", "ends_with", "epoch", "epoch_ms", "exp",
    "floor", "greatest", "hour", "if", "isfinite", "isinf", "isnan", "isodow", "least", "left", "length", "ln", "log",
    "log10", "log2", "lower", "make_date", "minute", "month", "monthname", "nullif", "pow", "power", "quarter",
    "regexp_matches", "replace", "right", "round", "second", "sign", "split_part", "sqrt", "starts_with", "strftime",
    "substr", "substring", "time_bucket", "timezone", "to_days", "to_hours", "to_minutes", "to_months", "to_seconds",
    "to_timestamp", "to_weeks", "to_years", "trim", "trunc", "upper", "week", "weekday", "weekofyear", "year",
}  # fmt: skip
MERGED = {"count", "count_star", "sum", "min", "max", "avg", "mean"}
# Of whole groups only: their answers on parts cannot be put together.
WHOLE = {
    "arg_max", "arg_min", "bool_and", "bool_or", "max_by", "median", "min_by", "mode", "quantile_cont", "quantile_disc",
    "stddev", "stddev_pop", "stddev_samp", "var_pop", "var_samp", "variance",
}  # fmt: skip
OVER_ROWS = {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", *MERGED}
NOWS = {"now", "current_timestamp", "get_current_timestamp", "transaction_timestamp", "current_date", "today"}
NOW_WORDS = {"current_timestamp", "current_date"}  # that SQL writes without brackets
DAYS = {"current_date", "today"}


class NotSplitError(Exception):
    """A question is not one of those that are answered in parts; the text says why."""


def parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    """The tree of one SELECT."""
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    tree: Node = json.loads(text)
    if tree["error"] or len(tree["statements"]) != 1 or tree["statements"][0].get("named_param_map"):
        raise NotSplitError("it is not one SELECT")
    node: Node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE":
        raise NotSplitError("it is not one SELECT")
    return node


def written(connection: duckdb.DuckDBPyConnection, node: Node) -> str:
    """A tree as SQL. Raises NotSplitError where DuckDB would read something else in it."""
    tree = {"error": False, "statements": [{"node": node, "named_param_map": []}]}
    (text,) = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()[0]
    if bare(parsed(connection, text)) != bare(node):
        raise NotSplitError("DuckDB does not write it as it reads it")
    return str(text)


def expression(connection: duckdb.DuckDBPyConnection, text: str) -> Node:
    """The tree of an expression."""
    found: Node = parsed(connection, f"SELECT {text}")["select_list"][0]
    return found


def bare(tree: Any, *, without: tuple[str, ...] = WHERE_FROM) -> Any:
    """A tree without where in a text it stood."""
    if isinstance(tree, dict):
        return {name: bare(value, without=without) for name, value in tree.items() if name not in without}
    return [bare(each, without=without) for each in tree] if isinstance(tree, list) else tree


def key(node: Node) -> str:
    """What is the same for two expressions that say the same."""
    return json.dumps(bare(node, without=(*WHERE_FROM, "alias")), sort_keys=True)


def changed(tree: Any, change: Callable[[Node], Node | None]) -> Any:
    """A tree with some nodes in the place of others; what `change` gives None for stays, its children are looked at."""
    if isinstance(tree, list):
        return [changed(each, change) for each in tree]
    if not isinstance(tree, dict):
        return tree
    other = change(tree) if "class" in tree else None
    return {name: changed(value, change) for name, value in tree.items()} if other is None else other


def nodes(tree: Any) -> Iterator[Node]:
    """Every expression in a tree."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "class" in found:
                yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def name_of(node: Node) -> str:
    """What a function or a window is called."""
    return str(node.get("function_name", "")).lower()


def is_column(node: Node, name: str) -> bool:
    """Whether a node is a column."""
    return bool(node["class"] == "COLUMN_REF" and node["column_names"] == [name])


def is_aggregate(node: Node) -> bool:
    """Whether a node is a function of many rows."""
    return bool(node["class"] == "FUNCTION" and name_of(node) in MERGED | WHOLE)


def check(tree: Any) -> None:
    """Raise NotSplitError, which names it, for what is not known to mean the same on part of the rows."""
    for node in nodes(tree):
        kind = node["class"]
        if kind not in KNOWN:
            raise NotSplitError(f"{kind.lower().replace('_', ' ')} is not known to mean the same on a part")
        for name, value in node.items():
            if name not in COMMON | KNOWN[kind] and value not in (None, "", [], {}, False):
                raise NotSplitError(f"{name.replace('_', ' ')} of {name_of(node) or kind.lower()}")
        if kind in _CHECKS:
            _CHECKS[kind](node)


def _operator(node: Node) -> None:
    if node["type"] not in OPERATORS:
        raise NotSplitError(f"the operator {node['type'].lower().replace('_', ' ')}")


def _comparison(node: Node) -> None:
    if not node["type"].startswith("COMPARE_"):
        raise NotSplitError(f"the comparison {node['type'].lower()}")


def _type(node: Node) -> None:
    simple = all(child["class"] == "CONSTANT" for child in node["children"])
    if str(node["type_name"]).upper() not in TYPES or not simple or len(node["qualified_name"]["path"]) != 1:
        raise NotSplitError(f"the type {node['type_name']}")


def _function(node: Node) -> None:
    name = name_of(node)
    if name not in SCALARS | MERGED | WHOLE:
        raise NotSplitError(f"the function {name}()")
    _named(node)
    if node["order_bys"]["orders"]:
        raise NotSplitError(f"ORDER BY in {name}()")
    if name in SCALARS and (node["distinct"] or node["filter"]):
        raise NotSplitError(f"DISTINCT or FILTER of {name}()")
    if name in ("min", "max") and len(node["arguments"]) != 1:
        raise NotSplitError(f"{name}() of several")


def _window(node: Node) -> None:
    if name_of(node) not in OVER_ROWS:
        raise NotSplitError(f"the window function {name_of(node)}()")
    _named(node)


def _named(node: Node) -> None:
    if len(node["qualified_name"]["path"]) != 1 or any(argument["name"] for argument in node["arguments"]):
        raise NotSplitError(f"{name_of(node)}() of a schema, or with named arguments")


_CHECKS: dict[str, Callable[[Node], None]] = {
    "OPERATOR": _operator,
    "COMPARISON": _comparison,
    "TYPE": _type,
    "FUNCTION": _function,
    "WINDOW": _window,
}
