"""Regular expressions that users give: those of Rust's `regex`, which pydantic brings along.

It never backtracks, so the time that a pattern takes grows with the text alone; in return, it has neither look-around
nor backreferences. Its syntax is that of RE2 (Go, CEL) in all but details.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


def is_valid(pattern: str) -> bool:
    """Whether the pattern is a regular expression, and one of at most 10 MiB once compiled."""
    try:
        _compiled(pattern)
    except SchemaError:
        return False
    return True


def is_found(pattern: str, text: str) -> bool:
    """Whether a valid pattern matches anywhere in the text."""
    return bool(_compiled(pattern).isinstance_python(text))


@lru_cache(maxsize=128)
def _compiled(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
