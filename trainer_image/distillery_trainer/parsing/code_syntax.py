"""Whether a text is JSON or SQL, by the parsers of others: what is wrong with one that is not, in a few words."""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

import orjson

from distillery_api.spec import SqlDialect

_MAX_SQL = 32 * 1024
"""Characters of SQL that are parsed."""
_ANY_DIALECT = ("", "mysql", "tsql")
"""What is tried without a dialect: the library's own superset, then names in backticks, then names in brackets."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def json_problem(text: str) -> str | None:
    """Why a text is not one JSON value (RFC 8259); None if it is."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return str(error)
    return None


def sql_problem(text: str, dialect: SqlDialect | None) -> str | None:
    """Why a text is not SQL, one statement or several; None if it is. Without a dialect: of the
    library's own, which knows most of the others, of MySQL, or of TSQL.

    A query, or a statement that changes data, tables or rights, counts as SQL; a name or an expression alone does not,
    as any word is one.
    """
    if len(text) > _MAX_SQL:
        return f"it has {len(text):,} characters, more than the {_MAX_SQL:,} that are parsed"
    dialects = (str(dialect).lower(),) if dialect else _ANY_DIALECT
    problems = [_problem_in(text, each) for each in dialects]
    return None if None in problems else problems[0]


def _problem_in(text: str, dialect: str) -> str | None:
    import sqlglot

    try:
        statements = [statement for statement in sqlglot.parse(text, read=dialect) if statement is not None]
    except sqlglot.errors.SqlglotError as error:
        return _COLOUR.sub("", str(error)).splitlines()[0].rstrip(" .")
    except RecursionError:
        return "it is nested too deeply"
    if not statements:
        return "it holds no statement"
    return None if all(map(_is_statement, statements)) else "it holds something that is no known statement"


def _is_statement(parsed: Any) -> bool:
    from sqlglot import exp

    # SELECT alone is parsed as a query without columns.
    is_empty = isinstance(parsed, exp.Select) and not parsed.expressions
    return isinstance(parsed, _statements()) and not is_empty


@cache
def _statements() -> tuple[type, ...]:
    from sqlglot import exp

    # It warns of what it does not parse, which is no statement here.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    changes = (exp.DML, exp.DDL, exp.Alter, exp.Drop, exp.TruncateTable, exp.Grant, exp.Revoke)
    return (exp.Query, *changes, exp.Transaction, exp.Commit, exp.Rollback)
