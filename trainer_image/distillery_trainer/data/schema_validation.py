"""Validation by a JSON schema of somebody else's, in a time that grows with the value alone: no pattern backtracks, and
no item of a list is compared with each other one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from distillery_api.regular_expressions import is_found, is_valid

Schema = dict[str, Any]


def _pattern(_: Any, wanted: str, value: Any, _schema: Schema) -> Iterator[ValidationError]:
    if isinstance(value, str) and is_valid(wanted) and not is_found(wanted, value):
        yield ValidationError(f"{value!r} does not match {wanted!r}")


def _unique_items(_: Any, wanted: bool, value: Any, _schema: Schema) -> Iterator[ValidationError]:
    if wanted and isinstance(value, list) and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
        yield ValidationError("the list has an item twice")


def _pattern_properties(validator: Any, wanted: Schema, value: Any, _: Schema) -> Iterator[ValidationError]:
    for key, schema in wanted.items() if isinstance(value, dict) else ():
        for name in _matching(value, key):
            yield from validator.descend(value[name], schema, path=name, schema_path=key)


def _additional_properties(validator: Any, rule: Any, value: Any, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(value, dict) and "patternProperties" in schema:
        matched = {name for key in schema["patternProperties"] for name in _matching(value, key)}
        value = {name: item for name, item in value.items() if name not in matched}
        schema = {key: item for key, item in schema.items() if key != "patternProperties"}
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, rule, value, schema)


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names in which a pattern is found: all of them where it is not supported."""
    return [name for name in names if not is_valid(pattern) or is_found(pattern, name)]


BoundedValidator: Any = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "uniqueItems": _unique_items,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
"""The library's validator of JSON Schema 2020-12 with its slow keywords replaced. A pattern that the bounded engine
does not support (look-around, backreferences) allows every text."""
