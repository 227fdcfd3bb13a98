"""Conditions on the keys of a record, such as `{model: gpt-4o, finish: stop}`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat, StrictInt, WithJsonSchema

_Key = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(strict=True, max_length=1000)]
Wanted = StrictBool | StrictInt | StrictFloat | _Text | None
"""A value that is compared as text; null and an empty text stand for a key that is missing or empty."""
Where = Annotated[
    dict[_Key, Wanted | Annotated[tuple[Wanted, ...], Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=20),
    # A structural schema cannot say "a text, a number or a list of them"; the operator and the command line check it.
    WithJsonSchema({"type": "object", "maxProperties": 20, "x-kubernetes-preserve-unknown-fields": True}),
]
"""For each key, dots leading into objects, the value that it must have; a list means any of its values."""
