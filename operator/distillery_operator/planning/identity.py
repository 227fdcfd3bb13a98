"""What makes a stage run again: a hash over all that determines its result, and over nothing else.

A changed learning rate keeps the generated rows, and neither a new image nor a new release of this software runs
anything again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from distillery_api.spec import (
    NLI_LABELS,
    DistillationSpec,
    Task,
    Teacher,
    TrainingMethod,
    without_defaults,
)
from distillery_api.stage import Stage

HASH_LENGTH = 8
"""Characters of a stage's hash, 5 bits each. Eight leave room for 9,999 attempts in a Job's name."""

PLACEMENT_FIELDS = {"image", "resources", "pod_template"}
_NOT_IN_ROWS = PLACEMENT_FIELDS | {
    "teachers",
    "judge",
    "sampling",
    "concurrency",
    "request_timeout_seconds",
    "min_success_ratio",
    "min_rows",
    "budget",
}
_NOT_IN_DATA = {"labels", "licence", "credentials"}


def source_uris(spec: DistillationSpec, stage: Stage) -> tuple[str, ...]:
    """The URIs that a stage reads: of the rows for generate, of the base model for the others."""
    if stage is not Stage.GENERATE:
        return (spec.student.model.uri,)
    return tuple(source.uri for source in spec.data.sources.values())


def rows_identity(spec: DistillationSpec, contents: Mapping[str, str]) -> dict[str, Any]:
    """What determines the rows: not who serves the teacher, nor how fast or at what cost it may answer."""
    usual = NLI_LABELS if spec.task is Task.NLI else ()
    labels = {} if spec.labels == usual else {"labels": list(spec.labels)}
    return {
        "task": spec.task,
        "data": {**_without(spec.data, _NOT_IN_DATA), **labels},
        "generation": {
            **_without(spec.generation, _NOT_IN_ROWS),
            **unless_empty("sampling", _without(spec.generation.chosen_sampling, set())),
            **unless_empty("judge", {"model": spec.generation.judge.model} if spec.generation.judge else {}),
            "teachers": [_teacher_identity(teacher) for teacher in spec.generation.teachers],
        },
        **_contents(spec, Stage.GENERATE, contents),
    }


def _teacher_identity(teacher: Teacher) -> dict[str, Any]:
    return {"name": teacher.name, "model": teacher.model, **({"reasoning": True} if teacher.reasoning else {})}


def evaluation_identity(spec: DistillationSpec) -> dict[str, Any]:
    """What determines the result table, beside rows and student."""
    judge = spec.evaluation.judge
    options = _without(spec.evaluation, PLACEMENT_FIELDS | {"judge"})
    return {**options, **unless_empty("judge", {"model": judge.model} if judge else {})}


def student_identity(spec: DistillationSpec, contents: Mapping[str, str]) -> dict[str, Any]:
    """What determines the student, beside the rows."""
    unused = set() if spec.training.method is TrainingMethod.LORA else {"lora"}
    return {
        "model": spec.student.model.uri,
        **unless_empty("training", _without(spec.training, PLACEMENT_FIELDS | unused)),
        **_contents(spec, Stage.TRAIN, contents),
    }


def _contents(spec: DistillationSpec, stage: Stage, contents: Mapping[str, str]) -> dict[str, Any]:
    return unless_empty("contents", {uri: contents[uri] for uri in source_uris(spec, stage) if uri in contents})


def unless_empty(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is empty, so that a field added later changes no hash."""
    return {name: value} if value else {}


def _without(model: Any, fields: set[str]) -> dict[str, Any]:
    return without_defaults(model, exclude=fields)


def digest(identity: Any) -> str:
    """A short digest of JSON-ready data, the same in every release."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:HASH_LENGTH].decode().lower()
