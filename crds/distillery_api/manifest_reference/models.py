"""Which models a model is made of, and where in a manifest each of them stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from distillery_api.base import ApiModel, LenientModel, OpenModel

Model = type[ApiModel]
_OF_ALL = (ApiModel, LenientModel, OpenModel)


def own_fields(model: Model) -> Iterator[tuple[str, FieldInfo]]:
    """Name in a manifest and definition of each field that the model does not have from one that it extends."""
    inherited = {name for base in extended(model) for name in base.model_fields}
    for name, field in model.model_fields.items():
        if name not in inherited:
            yield field.alias or name, field


def extended(model: Model) -> list[Model]:
    """The models that this one extends, the nearest alone, which has the fields of those above it."""
    return [base for base in model.__bases__ if issubclass(base, ApiModel) and base not in _OF_ALL]


def models_in(annotation: Any) -> Iterator[Model]:
    """The models that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def all_places(root: Model, first: str = "") -> dict[Model, list[str]]:
    """Every model inside `root`, in the order of a manifest, with the paths of the fields that hold it, `[]` after a
    list. A model that others extend stands where they stand."""
    found: dict[Model, list[str]] = {}
    _visit(root, first, found)
    return found


def _visit(model: Model, path: str, found: dict[Model, list[str]]) -> None:
    for name, field in own_fields(model):
        for inner in models_in(field.annotation):
            inner_path = f"{path}.{name}".removeprefix(".") + ("[]" if is_list(field.annotation) else "")
            found.setdefault(inner, []).append(inner_path)
            _visit(inner, inner_path, found)
    for base in extended(model):
        found.setdefault(base, []).append(path)
        _visit(base, path, found)


def is_list(annotation: Any) -> bool:
    """Whether a field holds a list."""
    return getattr(annotation, "__origin__", None) is tuple or any(map(is_list, get_args(annotation)))
