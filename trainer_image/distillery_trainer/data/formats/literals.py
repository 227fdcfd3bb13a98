"""Values that a row holds as text: JSON, or as Python prints them, as some published data sets of calls have them."""

from __future__ import annotations

import ast
from typing import Any

import orjson

_FAILURES = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)


def literal(text: str) -> Any:
    """The value of a text. Raises ValueError, which says what is wrong with it as JSON."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        if not text.lstrip().startswith(("{", "[")):
            raise
        return _python_literal(text, error)


def _python_literal(text: str, error: ValueError) -> Any:
    try:
        return orjson.loads(orjson.dumps(ast.literal_eval(text.strip())))
    except _FAILURES:
        raise error from None
