"""Conditions on the keys of a record, such as `{model: gpt-4o, finish: stop}`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

_SCALAR = (str, int, float)  # bool is an int
_MAX_VALUES = 100
_MAX_CHARACTERS = 1000


def _checked(where: dict[str, Any]) -> dict[str, Any]:
    for key, value in where.items():
        values = value if isinstance(value, list) else [value]
        if not values or len(values) > _MAX_VALUES or not all(isinstance(each, _SCALAR) for each in values):
            raise _error(f"the value of {key} is neither text, a number, true, false nor a list of up to 100 of them")
        if any(isinstance(each, str) and len(each) > _MAX_CHARACTERS for each in values):
            raise _error(f"a value of {key} is longer than {_MAX_CHARACTERS:,} characters")
    return where


def _error(message: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{message}", {"message": message})


Where = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=200)], JsonValue],
    Field(min_length=1, max_length=20),
    AfterValidator(_checked),
    # A structural schema cannot say "a text, a number or a list of them"; the operator and the command line check it.
    WithJsonSchema({"type": "object", "maxProperties": 20, "x-kubernetes-preserve-unknown-fields": True}),
]
"""For each key, dots leading into objects, the value that it must have, as text; a list means any of its values. An
empty text stands for a key that is missing or empty."""
