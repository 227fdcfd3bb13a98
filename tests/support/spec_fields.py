"""Every field of the spec: its path, a spec that gives it a value, and another value for it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import yaml

from distillery_api.base import ApiModel, NotIdentity
from distillery_api.spec import DistillationSpec

SPECS = {
    name: DistillationSpec.model_validate(spec)
    for name, spec in yaml.safe_load((Path(__file__).parents[1] / "data/input/full_specs.yaml").read_text()).items()
}
FieldPath = tuple[str, ...]


def models_in(annotation: Any) -> Iterator[type[ApiModel]]:
    """The models that a field holds."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def all_fields(model: type[ApiModel], path: FieldPath = ()) -> Iterator[tuple[FieldPath, bool]]:
    """Each field that holds no further model, and each marked one, with whether it is marked."""
    for name, field in model.model_fields.items():
        inner = [] if NotIdentity in field.metadata else list(models_in(field.annotation))
        for each in inner:
            yield from all_fields(each, (*path, name))
        if not inner:
            yield (*path, name), NotIdentity in field.metadata


def given_value(value: Any, path: FieldPath) -> Any:
    """The value that a spec gives a field; None where it gives none. Of a list, the first item counts."""
    for name in path:
        value = value[0] if isinstance(value, tuple) else value
        value = getattr(value, name) if value is not None and name in value.model_fields_set else None
    return value


def with_value(model: Any, path: FieldPath, value: Any) -> Any:
    """The model with another value of a field, unchecked. Of a list, the first item is changed."""
    if isinstance(model, tuple):
        return (with_value(model[0], path, value), *model[1:])
    name, *rest = path
    return model.model_copy(update={name: with_value(getattr(model, name), tuple(rest), value) if rest else value})


def another(value: Any) -> Any:
    """A value of the same kind."""
    if isinstance(value, Enum):
        return next((member for member in type(value) if member is not value), None)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, int | float):
        return value * 2
    if isinstance(value, tuple) and len(value) > 1:
        return value[:-1]
    return None
