"""A question with nothing in it that stands for something else: no alias, no position, no star, no `now`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import duckdb

from speedtest_logger.archive.read.dataset import VIEW_COLUMNS
from speedtest_logger.distributed import tree
from speedtest_logger.distributed.tree import Node, NotSplitError

VIEW = "records"
MOST_DEPTH = 20  # aliases that stand for aliases
FILTERS = ("where_clause", "having", "qualify")
CLAUSES = {
    "type", "modifiers", "cte_map", "select_list", "from_table", "where_clause", "group_expressions", "group_sets",
    "aggregate_handling", "having", "sample", "qualify",
}  # fmt: skip


@dataclass
class Order:
    """One term of ORDER BY: an expression, and the words behind it."""

    expression: Node
    words: str


@dataclass
class Question:
    """One SELECT over the records: every expression is of columns, each by its bare name."""

    node: Node
    select: list[Node]
    groups: list[Node]
    orders: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0

    @property
    def aggregates(self) -> bool:
        """Whether it has a row for each group, not for each record."""
        parts = [self.select, self.node["having"], [order.expression for order in self.orders]]
        return bool(self.groups or self.node["having"] or any(tree.is_aggregate(node) for node in tree.nodes(parts)))

    @property
    def windows(self) -> list[Node]:
        """Its window functions."""
        parts = [self.select, self.node["qualify"], [order.expression for order in self.orders]]
        return [node for node in tree.nodes(parts) if node["class"] == "WINDOW"]


def resolved(connection: duckdb.DuckDBPyConnection, sql: str, now: float) -> Question:
    """A question's tree; `now` (Unix time, s) is the moment that all its parts take for the present.

    Raises NotSplitError for what is not one plain SELECT over the records.
    """
    node = tree.parsed(connection, sql)
    _check_clauses(node)
    alias = _check_source(node["from_table"])
    node = tree.changed(node, lambda each: _bare(each, alias))
    node = tree.changed(node, lambda each: _moment(connection, each, now))
    select = [each for item in node["select_list"] for each in _expanded(item)]
    names = _aliases(select)

    def full(part: Any) -> Any:
        for _ in range(MOST_DEPTH):
            before, part = part, tree.changed(part, lambda each: _named(each, names))
            if part == before:
                return part
        raise NotSplitError("an alias stands for itself")

    orders, limit, offset = _modifiers(node["modifiers"], select)
    question = Question(
        node={**node, "modifiers": [], **{name: full(node[name]) for name in FILTERS}},
        select=[{**full({**item, "alias": ""}), "alias": item["alias"]} for item in select],
        groups=full(_groups(node, select)),
        orders=[Order(full(order.expression), order.words) for order in orders],
        limit=limit,
        offset=offset,
    )
    if node["aggregate_handling"] == "FORCE_AGGREGATES":
        question.groups = _all_groups(question.select)
    _check_all(question)
    return question


def _check_clauses(node: Node) -> None:
    if set(node) != CLAUSES:
        raise NotSplitError(f"a clause that is not known: {', '.join(sorted(set(node) ^ CLAUSES))}")
    if node["cte_map"]["map"] or node["sample"]:
        raise NotSplitError("WITH or a sample")
    if node["aggregate_handling"] not in ("STANDARD_HANDLING", "FORCE_AGGREGATES"):
        raise NotSplitError("the handling of its aggregates")
    if node["group_sets"] not in ([], [list(range(len(node["group_expressions"])))]):
        raise NotSplitError("GROUPING SETS, ROLLUP or CUBE")


def _check_source(source: Node) -> str:
    """The alias of the records, which is all that is read."""
    known = {"type", "alias", "table_name", "qualified_name", *tree.WHERE_FROM}
    others = [name for name, value in source.items() if name not in known and value not in (None, "", [], {})]
    if source["type"] != "BASE_TABLE" or others or [n.lower() for n in source["qualified_name"]["path"]] != [VIEW]:
        raise NotSplitError("it reads something else than the view `records`, or more than that")
    return str(source["alias"] or VIEW).lower()


def _bare(node: Node, alias: str) -> Node | None:
    """A column without the name of the view before it, in small letters."""
    if node["class"] != "COLUMN_REF":
        return None
    names = [name.lower() for name in node["column_names"]]
    if len(names) == 2 and names[0] == alias:
        names = names[1:]
    if len(names) != 1:
        raise NotSplitError(f"the column {'.'.join(names)}")
    return {**node, "column_names": names}


def _moment(connection: duckdb.DuckDBPyConnection, node: Node, now: float) -> Node | None:
    """The present, as one moment for all parts."""
    if node["class"] == "FUNCTION" and tree.name_of(node) in tree.NOWS and not node["arguments"]:
        name = tree.name_of(node)
    elif node["class"] == "COLUMN_REF" and node["column_names"][0] in tree.NOW_WORDS:
        name = node["column_names"][0]
    else:
        return None
    text = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="microseconds")
    kind = "DATE" if name in tree.DAYS else "TIMESTAMPTZ"
    return {**tree.expression(connection, f"{kind} '{text[:10] if kind == 'DATE' else text}'"), "alias": node["alias"]}


def _expanded(item: Node) -> list[Node]:
    """A star as the columns that it stands for."""
    if item["class"] != "STAR":
        return [item]
    simple = all(not item[name] for name in ("relation_name", "replace_list", "columns", "expr", "rename_list"))
    if not simple or item["qualified_exclude_list"] or not all(isinstance(n, str) for n in item["exclude_list"]):
        raise NotSplitError("a star that is more than a list of columns")
    excluded = {name.lower() for name in item["exclude_list"]}
    return [_column(name) for name in VIEW_COLUMNS if name not in excluded]


def _column(name: str) -> Node:
    common = {"alias": "", **dict.fromkeys(tree.WHERE_FROM, 0)}
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", **common, "column_names": [name]}


def _aliases(select: list[Node]) -> dict[str, Node]:
    """What aliases stand for. One that is a column's name as well could be either."""
    found: dict[str, Node] = {}
    for item in select:
        alias = item["alias"].lower()
        if not alias or tree.is_column(item, alias):
            continue
        again = alias in found and tree.key(found[alias]) != tree.key(item)
        if alias in VIEW_COLUMNS or again or alias in tree.NOWS:
            raise NotSplitError(f"the alias {alias}, which could be another column as well")
        found[alias] = {**item, "alias": ""}
    return found


def _named(node: Node, names: dict[str, Node]) -> Node | None:
    return names.get(node["column_names"][0]) if node["class"] == "COLUMN_REF" else None


def _groups(node: Node, select: list[Node]) -> list[Node]:
    return [_placed(each, select, "GROUP BY") for each in node["group_expressions"]]


def _placed(node: Node, select: list[Node], clause: str) -> Node:
    """What a position in the list of columns stands for."""
    if node["class"] != "CONSTANT":
        return node
    literal = node["literal"]
    if literal["kind"] != "INTEGER" or not 1 <= int(literal["text"]) <= len(select):
        raise NotSplitError(f"a constant in {clause}")
    return {**select[int(literal["text"]) - 1], "alias": ""}


def _all_groups(select: list[Node]) -> list[Node]:
    """What GROUP BY ALL groups by: what has no aggregate in it."""
    return [{**item, "alias": ""} for item in select if not any(tree.is_aggregate(node) for node in tree.nodes(item))]


def _modifiers(modifiers: list[Node], select: list[Node]) -> tuple[list[Order], int | None, int]:
    orders: list[Order] = []
    limit, offset = None, 0
    for modifier in modifiers:
        if modifier["type"] == "ORDER_MODIFIER":
            orders = [_order(each, select) for each in modifier["orders"]]
        elif modifier["type"] == "LIMIT_MODIFIER" and modifier["limit_type"] == "ROW_COUNT":
            limit, offset = _count(modifier["limit"]), _count(modifier["offset"]) or 0
        else:
            raise NotSplitError(modifier["type"].lower().replace("_", " "))
    if (limit is not None or offset) and not orders:
        raise NotSplitError("LIMIT without ORDER BY: any rows would do, and each time others")
    return orders, limit, offset


def _order(order: Node, select: list[Node]) -> Order:
    direction = {"ORDER_DEFAULT": "", "ASCENDING": " ASC", "DESCENDING": " DESC"}.get(order["type"])
    nulls = {"ORDER_DEFAULT": "", "NULLS FIRST": " NULLS FIRST", "NULLS LAST": " NULLS LAST"}.get(order["null_order"])
    if direction is None or nulls is None or order["expression"]["class"] == "STAR":
        raise NotSplitError("an order that is not known")
    return Order(_placed(order["expression"], select, "ORDER BY"), direction + nulls)


def _count(node: Node | None) -> int | None:
    if node is None:
        return None
    if node["class"] != "CONSTANT" or node["literal"]["kind"] != "INTEGER" or int(node["literal"]["text"]) < 0:
        raise NotSplitError("a LIMIT that has to be computed")
    return int(node["literal"]["text"])


def _check_all(question: Question) -> None:
    """Raise NotSplitError for what is not known, or is no column."""
    if any(group["class"] == "CONSTANT" for group in question.groups):
        raise NotSplitError("a group by a constant")
    orders = [order.expression for order in question.orders]
    parts = [
        question.select,
        question.groups,
        orders,
        *(question.node[name] for name in FILTERS),
    ]
    tree.check(parts)
    for node in tree.nodes(parts):
        if node["class"] == "COLUMN_REF" and node["column_names"][0] not in VIEW_COLUMNS:
            raise NotSplitError(f"the column {node['column_names'][0]}")
