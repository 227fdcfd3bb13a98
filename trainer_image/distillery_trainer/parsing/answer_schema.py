"""The JSON schema of an answer: whether an object fits it, which fields it has, and how a server is asked for it.

Time is bounded: the schema is a plain one (`distillery_api.answer_schema`), its patterns never backtrack
(`data/schema_validation.py`), and an answer has a limited number of values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match

from distillery_api.answer_schema import JsonSchema, written_out
from distillery_api.formatting import cleaned
from distillery_trainer.data.canonical_json import canonical_json
from distillery_trainer.data.schema_validation import BoundedValidator

MOST_VALUES = 2_000
"""Objects, lists and values in one answer."""
_SHOWN_BYTES = 300
_SHOWN_VALUE_BYTES = 80
_FORMATS = ("date", "email", "ipv4", "ipv6", "uuid")
"""Formats that are checked; others say what a value means and allow any text."""
_NULL = {"type": "null"}
_IN_PARTS = {"anyOf", "oneOf", "allOf", "if", "not", "dependentSchemas"}


class AnswerSchema:
    """A user's JSON schema. Raises InvalidSchema where it cannot be used."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = written_out(schema)
        """References written out, keys sorted."""
        self._validator = BoundedValidator(self.schema, format_checker=jsonschema.FormatChecker(_FORMATS))

    def problem(self, value: Any) -> str | None:
        """Why a value does not fit, as the end of a sentence with the place; None if it fits."""
        if (size := _size(value)) > MOST_VALUES:
            return f"it has {size:,} values, more than the {MOST_VALUES:,} that are read"
        error = best_match(self._validator.iter_errors(value))
        return None if error is None else f"at {error.json_path}: {_sentence(error)}"

    def without_absent(self, value: Any) -> Any:
        """The value without the optional fields that are null: a server that must write all fields writes so that a
        field is absent."""
        return _without_absent(value, self.schema)

    @property
    def text(self) -> str:
        """The schema as JSON, for a prompt."""
        return json.dumps(self.schema, ensure_ascii=False, separators=(", ", ": "))

    @property
    def strict(self) -> JsonSchema:
        """The schema as servers with strict structured output want it: every object has all of its fields and no other
        ones, and a field that is optional may be null."""
        return dict(_strict(self.schema))

    def fields(self) -> list[str]:
        """The paths of the values that are neither objects nor lists, such as address.city and items[].price, in
        order."""
        return list(dict.fromkeys(_paths(self.schema, "")))

    def short(self) -> str:
        """The names of the fields and what they hold, in brief, for a small model's prompt."""
        return _brief_fields(self.schema)


def _sentence(error: ValidationError) -> str:
    """What the library says, with the value as JSON and shortened that it begins with as Python writes it."""
    value, message = repr(error.instance), error.message
    if message.startswith(value):
        message = cleaned(canonical_json(error.instance), _SHOWN_VALUE_BYTES) + message[len(value) :]
    return cleaned(message, _SHOWN_BYTES)


def _size(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, inner))


# --- absent fields


def _without_absent(value: Any, schema: Any) -> Any:
    if not isinstance(schema, dict):
        return value
    if isinstance(value, dict):
        fields, required = schema.get("properties", {}), schema.get("required", ())
        return {
            key: _without_absent(item, fields.get(key))
            for key, item in value.items()
            if item is not None or key in required or key not in fields
        }
    if isinstance(value, list):
        return [_without_absent(item, schema.get("items")) for item in value]
    return value


def _strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    strict = dict(schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            strict[key] = [_strict(inner) for inner in schema[key]]
    if isinstance(schema.get("items"), dict):
        strict["items"] = _strict(schema["items"])
    # Of an object that is described in several parts, none may be closed to the fields of the others.
    if "properties" in schema and not schema.keys() & _IN_PARTS:
        required = schema.get("required", ())
        strict["properties"] = {
            name: _strict(inner) if name in required else _or_null(_strict(inner))
            for name, inner in schema["properties"].items()
        }
        strict["required"] = list(schema["properties"])
        strict.setdefault("additionalProperties", False)
    return strict


def _or_null(schema: Any) -> JsonSchema:
    """The schema of what may be null as well."""
    if isinstance(schema, dict) and ("null" in _types(schema) or _NULL in schema.get("anyOf", ())):
        return schema
    return {"anyOf": [schema, _NULL]}


# --- fields


def _paths(schema: Any, path: str) -> Iterator[str]:
    inner = list(_inner_fields(schema, path)) if isinstance(schema, dict) else []
    for at, each in inner:
        yield from _paths(each, at)
    if not inner and path:
        yield path


def _inner_fields(schema: JsonSchema, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}" if path else name, inner
    if isinstance(schema.get("items"), dict):
        yield f"{path}[]", schema["items"]
    for key in ("anyOf", "oneOf", "allOf"):
        branches = (inner for inner in schema.get(key, ()) if isinstance(inner, dict) and _holds_others(inner))
        yield from ((path, inner) for inner in branches)


def _holds_others(schema: JsonSchema) -> bool:
    return any(key in schema for key in ("properties", "items", "anyOf", "oneOf", "allOf"))


def _brief_fields(schema: JsonSchema) -> str:
    return ", ".join(f"{name} ({_brief(inner)})" for name, inner in schema.get("properties", {}).items())


def _brief(schema: Any) -> str:
    """What one field holds."""
    if not isinstance(schema, dict):
        return "anything"
    if "enum" in schema:
        return "one of " + ", ".join(_as_word(value) for value in schema["enum"] if value is not None)
    if schema.get("properties"):
        return f"object: {_brief_fields(schema)}"
    if isinstance(schema.get("items"), dict):
        return f"list of {_brief(schema['items'])}"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_brief(inner) for inner in schema[key] if inner != _NULL))
    types = [kind for kind in _types(schema) if kind != "null"]
    return str(schema["format"]) if "format" in schema else " or ".join(types) or "anything"


def _types(schema: JsonSchema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
