"""Reads a stored Distillation. It may be older or newer than this operator: what is unknown is ignored, and only a rule
that is broken stops the work."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distillery_api.resource import Distillation, Metadata
from distillery_api.status import DistillationStatus
from distillery_operator.errors import InvalidDistillation

_UNKNOWN_FIELD = "extra_forbidden"


def read_distillation(stored: Mapping[str, Any]) -> Distillation:
    """The Distillation without its status; raises InvalidDistillation with one sentence for each broken rule."""
    manifest = copy.deepcopy({key: value for key, value in stored.items() if key != "status"})
    problem = _problem(manifest)
    if problem is not None:
        for error in problem.errors():
            if error["type"] == _UNKNOWN_FIELD:
                _remove(manifest, error["loc"])
        problem = _problem(manifest)
    if problem is not None:
        raise InvalidDistillation("; ".join(_sentence(error) for error in problem.errors()))
    return Distillation.model_validate(manifest)


def read_status(stored: Mapping[str, Any]) -> DistillationStatus:
    """The recorded status; an empty one where there is none, or it cannot be read."""
    try:
        return DistillationStatus.model_validate(stored.get("status") or {})
    except ValidationError:
        return DistillationStatus()


def read_metadata(stored: Mapping[str, Any]) -> Metadata:
    """The metadata of a Distillation whose spec may be broken."""
    return Metadata.model_validate(stored["metadata"])


def _problem(manifest: Mapping[str, Any]) -> ValidationError | None:
    try:
        Distillation.model_validate(manifest)
    except ValidationError as problem:
        return problem
    return None


def _remove(manifest: Any, path: Sequence[int | str]) -> None:
    *parents, last = path
    for step in parents:
        manifest = manifest[step]
    del manifest[last]


def _sentence(error: ErrorDetails) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"]).lstrip(".")
    return f"{where}: {error['msg']}" if where else error["msg"]
