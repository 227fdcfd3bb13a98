"""The JSON schema of an answer: what is accepted of one that a user gives, and the same schema in a plain form.

A schema is content of somebody else's: nothing that it refers to is ever fetched, and what it can make a program do is
bounded here, before anything is checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from distillery_api import regular_expressions
from distillery_api.formatting import cleaned, shortened

JsonSchema = dict[str, Any]

MOST_CHARACTERS = 65_536
"""Characters of the schema, as JSON without white space."""
MOST_SUBSCHEMAS = 1_000
"""Schemas in the schema, once each reference has been replaced by what it refers to."""
DEEPEST = 20
"""Schemas within schemas."""

_SHOWN_BYTES = 200
_IN_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_IN_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")
_IN_OBJECT = ("properties", "dependentSchemas")
_DEFINITIONS = ("$defs", "definitions")
_LEFT_OUT = ("$schema", "$id", "$comment", "$anchor", *_DEFINITIONS)
_REFUSED = {
    "patternProperties": "name the fields under properties",
    "unevaluatedProperties": "write additionalProperties",
    "unevaluatedItems": "write items",
    "$dynamicRef": "write the schema that it stands for",
    "$recursiveRef": "write the schema that it stands for",
    "additionalItems": "write prefixItems and items",
    "dependencies": "write dependentRequired or dependentSchemas",
}


class InvalidSchema(ValueError):
    """The schema cannot be used; the message says where, why, and what to write instead."""


def written_out(schema: Any) -> JsonSchema:
    """The schema in a plain form: references replaced by what they refer to, keys sorted. Raises InvalidSchema.

    It is read as JSON Schema 2020-12, whatever its `$schema` says. Its root is an object with named fields. Keys are
    sorted since the API server does so as well: the order in which somebody wrote them is not kept.
    """
    _check_size(schema)
    _check_keywords(schema)
    plain = _Reader(schema).read(schema, "$", ())
    if plain.get("type") != "object" or not plain.get("properties"):
        raise InvalidSchema(
            "the root is not an object with fields; write type: object, and the fields with their types under"
            " properties"
        )
    return dict(json.loads(json.dumps(plain, sort_keys=True)))


def _check_size(schema: Any) -> None:
    if not isinstance(schema, dict):
        raise InvalidSchema("not a JSON object; write a JSON schema, such as {type: object, properties: {…}}")
    try:
        length = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise InvalidSchema("not JSON; write strings, numbers, booleans, lists and objects only") from None
    if length > MOST_CHARACTERS:
        raise InvalidSchema(
            f"has {length:,} characters, more than the {MOST_CHARACTERS:,} that are supported; shorten its descriptions"
        )


def _check_keywords(schema: JsonSchema) -> None:
    """Raise InvalidSchema for a keyword with a value that JSON Schema does not allow."""
    import jsonschema
    from jsonschema.exceptions import best_match

    # Patterns are checked below, by the library that reads them.
    checker = jsonschema.FormatChecker(formats=())
    validator = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA, format_checker=checker)
    try:
        error = best_match(validator.iter_errors(schema))
    except RecursionError:
        raise InvalidSchema(_TOO_DEEP) from None
    if error is not None:
        raise InvalidSchema(
            f"{error.json_path}: {cleaned(error.message, _SHOWN_BYTES)}; see json-schema.org for what is valid"
        )


_TOO_DEEP = f"more than {DEEPEST} schemas within each other; write fewer levels"


class _Reader:
    """Replaces references, and counts what that makes of a schema."""

    def __init__(self, root: JsonSchema) -> None:
        self._root, self._count = root, 0

    def read(self, schema: Any, where: str, inside: tuple[str, ...], depth: int = 0) -> Any:
        """The schema at `where` without references. `inside` are those that lead there."""
        if not isinstance(schema, dict):
            return schema
        self._count += 1
        if self._count > MOST_SUBSCHEMAS:
            raise InvalidSchema(
                f"more than {MOST_SUBSCHEMAS:,} schemas, once references are written out; leave fields out"
            )
        if depth > DEEPEST:
            raise InvalidSchema(f"{where}: {_TOO_DEEP}")
        self._check(schema, where)
        plain = {key: value for key, value in schema.items() if key not in (*_LEFT_OUT, "$ref")}
        for key, position, inner in _subschemas(plain):
            _put(plain, key, position, self.read(inner, _at(where, key, position), inside, depth + 1))
        return self._joined(schema["$ref"], plain, where, inside, depth) if "$ref" in schema else plain

    def _joined(self, reference: str, beside: JsonSchema, where: str, inside: tuple[str, ...], depth: int) -> Any:
        """What a reference refers to, with what stands beside it."""
        if reference in inside:
            raise InvalidSchema(
                f"{where}: {_quoted(reference)} refers to itself; write out as many levels as an answer may have"
            )
        target = self.read(self._target(reference, where), where, (*inside, reference), depth)
        if not isinstance(target, dict):
            return target
        return {"allOf": [target], **beside} if target.keys() & beside.keys() - _ANNOTATIONS else {**target, **beside}

    def _target(self, reference: str, where: str) -> Any:
        if not reference.startswith("#/"):
            if reference == "#":
                raise InvalidSchema(f"{where}: # refers to itself; write out as many levels as an answer may have")
            raise InvalidSchema(
                f"{where}: $ref is {_quoted(reference)}; only parts of this schema are supported, such as"
                " #/$defs/NAME: nothing is fetched"
            )
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise InvalidSchema(f"{where}: {_quoted(reference)} does not exist; correct the reference")
            found = found[key]
        return found

    def _check(self, schema: JsonSchema, where: str) -> None:
        for key, remedy in _REFUSED.items():
            if key in schema:
                raise InvalidSchema(f"{where}: {key} is not supported; {remedy}")
        if "const" in schema and schema["const"] is None:
            raise InvalidSchema(f"{where}: const has no value; write type: 'null'")
        if "pattern" in schema and not regular_expressions.is_valid(schema["pattern"]):
            raise InvalidSchema(
                f"{where}: the pattern {_quoted(schema['pattern'])} is not supported; write it without look-around and"
                " backreferences, as for RE2"
            )


_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}


def _subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, str | int | None, Any]]:
    """The schemas directly in a schema: keyword, place under it, schema."""
    for key in _IN_ONE:
        if key in schema:
            yield key, None, schema[key]
    for key in _IN_LIST:
        yield from ((key, position, inner) for position, inner in enumerate(schema.get(key, ())))
    for key in _IN_OBJECT:
        yield from ((key, position, inner) for position, inner in schema.get(key, {}).items())


def _put(schema: JsonSchema, key: str, position: str | int | None, value: Any) -> None:
    """Replace one of the schemas in a schema, whose lists and objects stay as they are."""
    if position is None:
        schema[key] = value
        return
    schema[key] = schema[key].copy()
    schema[key][position] = value


def _quoted(text: str) -> str:
    return f'"{cleaned(text, 100)}"'


def _at(where: str, key: str, position: str | int | None) -> str:
    return shortened(f"{where}.{key}" if position is None else f"{where}.{key}.{position}", _SHOWN_BYTES)
