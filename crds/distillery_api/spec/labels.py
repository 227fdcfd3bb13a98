"""The labels of a task: a name alone, or an object that also says what the label means and how the data writes it.

A list whose items are text or objects has no type in a CRD, so CEL sees neither the list nor its items: what is said of
labels here is checked in Python alone, on this machine and by the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, model_serializer, model_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from distillery_api.base import ApiModel, matches
from distillery_api.comparable import label_key
from distillery_api.spec.fields import Label

MAX_LABELS = 200
NO_LABEL = "none"
"""What stands for an answer without any label (`data.multiLabel`)."""
LABEL_SEPARATORS = ",;|"
"""Characters between the labels of an answer with several (`data.multiLabel`)."""

LabelDescription = Annotated[
    str,
    Field(max_length=1000),
    matches(r"^(?s:.*)\S(?s:.*)$", "the description is empty; write one, or remove the field"),
]


class LabelDefinition(ApiModel):
    """A label: its name, or an object with the name and more. Integers and booleans are read as text."""

    name: Label
    """The label as the models read and write it."""
    value: Label | None = None
    """How the label is written in the data's gold, such as 1. Its name may stand there as well. Default: the name."""
    description: LabelDescription | None = None
    """What the label means, for teacher and student. Default: none."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        """A name alone as an object; integers and booleans as text."""
        if isinstance(given, dict):
            return {key: _as_text(value) if key in ("name", "value") else value for key, value in given.items()}
        text = _as_text(given)
        return {"name": text} if isinstance(text, str) else given

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The name alone where there is no more, so that a list of names stays one."""
        return self.name if self.value is None and self.description is None else handler(self)

    @property
    def spellings(self) -> tuple[str, ...]:
        """How gold may write the label."""
        return (self.name,) if self.value is None else (self.name, self.value)


Labels = Annotated[
    # A structural schema has no type for text or an object, so that it says nothing of the items.
    tuple[Annotated[LabelDefinition, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})], ...],
    Field(min_length=2, max_length=MAX_LABELS),
]


def _as_text(value: Any) -> Any:
    """An integer or a boolean as text, and anything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:g}"
        message = f'`{text}` is a number with a fraction, which can be written in several ways; quote it: "{text}"'
        raise PydanticCustomError("rule", "{message}", {"message": message})
    return str(value) if isinstance(value, int) else value


def are_distinct(labels: Sequence[LabelDefinition]) -> bool:
    """Whether no spelling of a label may be taken for another label."""
    keys = [{label_key(spelling) for spelling in label.spellings} for label in labels]
    return sum(map(len, keys)) == len(set().union(*keys))


def can_be_listed(labels: Sequence[LabelDefinition]) -> bool:
    """Whether an answer may have several of the labels, which are written as one list."""
    keys = [label_key(label.name) for label in labels]
    return not any(separator in key for separator in LABEL_SEPARATORS for key in keys) and NO_LABEL not in keys
