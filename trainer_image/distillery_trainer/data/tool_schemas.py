"""JSON schemas of what a tool is called with: whether one is valid, and whether arguments fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from distillery_api.formatting import cleaned
from distillery_trainer.data.schema_validation import BoundedValidator
from distillery_trainer.data.tool_calls import Call, Tool, name_of

_SHOWN_BYTES = 200
_KNOWN_SCHEMAS = 4096
"""Schemas that are kept ready: most rows have the same tools."""


def schema_problem(parameters: Any) -> str | None:
    """Why the parameters of a tool are no JSON schema of an object, as the end of a sentence; None if they are one."""
    if not isinstance(parameters, dict):
        return "are not an object; write a JSON schema"
    if parameters.get("type", "object") != "object":
        return 'are not a schema of an object; write {"type": "object", "properties": {…}}'
    return _problem(orjson.dumps(parameters))


@lru_cache(_KNOWN_SCHEMAS)
def _problem(schema: bytes) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(orjson.loads(schema))
    except SchemaError as error:
        path = ".".join(map(str, error.absolute_path))
        return f"are no valid JSON schema: {f'{path}: ' if path else ''}{cleaned(error.message, _SHOWN_BYTES)}"
    return None


def argument_problem(call: Call, tool: Tool) -> str | None:
    """Why the arguments of a call do not fit its tool, as a sentence with the path of the first problem; None if they
    do."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(
            _validator(orjson.dumps(tool["function"].get("parameters") or {})).iter_errors(call.arguments)
        )
    except (Unresolvable, RecursionError):
        return None  # the schema refers to something that is not in it
    if error is None:
        return None
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{call.name}{path}: {cleaned(error.message, _SHOWN_BYTES)}"


@lru_cache(_KNOWN_SCHEMAS)
def _validator(schema: bytes) -> Any:
    from referencing import Registry

    # The default registry fetches schemas from addresses that a row names.
    return BoundedValidator(orjson.loads(schema), registry=Registry())


def by_name(tools: Sequence[Tool]) -> Mapping[str, Tool]:
    """The tools by their names."""
    return {name_of(tool): tool for tool in tools}
