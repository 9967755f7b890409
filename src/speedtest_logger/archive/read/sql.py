"""What SQL may be asked of the archive: exactly one question. Anything that changes or writes something is refused.

The kind of a statement alone does not say so: a WITH clause may hold a COPY, and some functions run what they are told.
DuckDB's own tree of the statement has all of it, whatever comments, case or characters it was written with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from speedtest_logger.errors import UsageError

ALLOWED = "SELECT, FROM, VALUES, WITH, DESCRIBE, SHOW, SUMMARIZE, PIVOT … IN (…), UNPIVOT, and EXPLAIN of these"
QUESTIONS = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")
RUN_WHAT_THEY_ARE_TOLD = ("query", "json_execute_serialized_sql")
EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\s+", re.IGNORECASE)
NODE, RESOURCE = "_NODE", "external_resource"


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise UsageError with the kind of statement for what is not exactly one question; duckdb.Error for bad SQL.

    The connection must not be at work.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"one statement is expected, there are {len(statements)}: ask one question at a time")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        _check_explained(connection, sql)
    elif kind != duckdb.StatementType.SELECT:
        raise _refusal(kind.name)
    else:
        _check_tree(connection, statements[0].query)


def _check_explained(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """EXPLAIN ANALYZE does what it explains."""
    found = EXPLAIN.match(sql)
    if not found:
        raise UsageError("EXPLAIN must be the first word, with ANALYZE or nothing else behind it")
    inner = connection.extract_statements(sql[found.end() :])
    if len(inner) != 1 or inner[0].type != duckdb.StatementType.SELECT:
        raise _refusal("EXPLAIN of " + (inner[0].type.name if inner else "nothing"))
    _check_tree(connection, inner[0].query)


def _check_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    tree = json.loads(text)
    if tree["error"]:
        raise _refusal(str(tree.get("error_message", "something unknown")))
    for name, value in _facts(tree["statements"]):
        if name == "type" and value.endswith(NODE) and value not in QUESTIONS:
            raise _refusal(value.removesuffix(NODE).removesuffix("_QUERY") + " in a WITH clause")
        if name == "function_name" and (value.lower() in RUN_WHAT_THEY_ARE_TOLD or RESOURCE in value.lower()):
            raise _refusal(f"the function {value}()")


def _facts(tree: Any) -> Iterator[tuple[str, str]]:
    """All names with a text in a tree."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from ((name, value) for name, value in found.items() if isinstance(value, str))
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _refusal(kind: str) -> UsageError:
    hint = "; PIVOT needs its values: IN ('ok', 'failed')" if kind == "MULTI" else ""
    return UsageError(f"{kind} is not a question: the archive is read-only. Allowed are {ALLOWED}{hint}")
