"""Parses a Distillation as the API server stores it. It may be older or newer than this operator, so unknown fields are
ignored; only a broken rule is an error."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distillery_api.resource import Distillation, Metadata
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.stored_status import read_stored_status
from distillery_operator.errors import InvalidDistillation

_UNKNOWN_FIELD = "extra_forbidden"


def read_distillation(resource: Mapping[str, Any]) -> Distillation:
    """The Distillation without its status.

    Raises InvalidDistillation with a message for each invalid field; of rules between the fields of one object, for the
    first.
    """
    manifest = {key: value for key, value in resource.items() if key != "status"}
    try:
        return Distillation.model_validate(manifest)
    except ValidationError as error:
        known = _without_unknown_fields(manifest, error)
    try:
        return Distillation.model_validate(known)
    except ValidationError as error:
        raise InvalidDistillation("; ".join(_message(detail) for detail in error.errors())) from None


def read_status(resource: Mapping[str, Any]) -> DistillationStatus:
    """Its status, without what this release does not understand; an empty one where it has none."""
    return read_stored_status(resource.get("status") or {})


def read_metadata(resource: Mapping[str, Any]) -> Metadata:
    """Its metadata, also where its spec is invalid."""
    return Metadata.model_validate(resource["metadata"])


def _without_unknown_fields(manifest: Mapping[str, Any], error: ValidationError) -> Mapping[str, Any]:
    known = copy.deepcopy(dict(manifest))
    for detail in error.errors():
        if detail["type"] == _UNKNOWN_FIELD:
            _remove(known, detail["loc"])
    return known


def _remove(manifest: Any, path: Sequence[int | str]) -> None:
    *parents, last = path
    for step in parents:
        manifest = manifest[step]
    del manifest[last]


def _message(error: ErrorDetails) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"]).lstrip(".")
    return f"{where}: {error['msg']}" if where else error["msg"]
