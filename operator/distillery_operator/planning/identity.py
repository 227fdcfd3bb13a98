"""What makes a stage run again: a hash of everything that determines its result, and of nothing else.

A changed learning rate keeps the generated rows. Neither a new image nor a new release of this software runs a stage
again. Fields that are not part of the identity are marked with `NotIdentity` where they are defined.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from distillery_api.base import ApiModel, FirstDefault, NotIdentity
from distillery_api.spec import (
    NLI_LABELS,
    AdapterMode,
    Data,
    DistillationSpec,
    ModelImage,
    ObjectiveKind,
    Publication,
    Task,
)
from distillery_api.stage import Stage

HASH_LENGTH = 8
"""Characters of a stage's hash, 5 bits each. Eight leave room for 9,999 attempts in a Job's name."""


def source_uris(spec: DistillationSpec, stage: Stage) -> tuple[str, ...]:
    """The URIs that a stage reads: of rows and schema for generate, of the base model for train and evaluate."""
    if stage in (Stage.PUBLISH, Stage.VERIFY):
        return ()
    if stage is not Stage.GENERATE:
        return (spec.student.model.uri,)
    schema = (spec.generation.schema_uri,) if spec.generation.schema_uri else ()
    return (*(uri for source in spec.data.sources.values() for uri in source.locations), *schema)


def input_hashes(spec: DistillationSpec, contents: Mapping[str, str]) -> dict[Stage, str]:
    """The input hash of each stage that needs no server, in order, over its own identity and the hash of the stage
    before it.

    `contents` holds a digest of the content behind a URI, if it can be read.
    """
    generate = digest({**_rows_identity(spec), **_contents(spec, Stage.GENERATE, contents)})
    train = digest({"generate": generate, **_student_identity(spec), **_contents(spec, Stage.TRAIN, contents)})
    evaluate = digest({"train": train, **_unless_empty("evaluation", identity_fields(spec.evaluation))})
    return {Stage.GENERATE: generate, Stage.TRAIN: train, Stage.EVALUATE: evaluate}


def publish_hash(train_hash: str, evaluate_hash: str, image: ModelImage | None, publication: Publication) -> str:
    """The input hash of publish: the student, where it is pushed to (to a hub with the scores of its evaluation), and
    the key that signs it."""
    hub, key = publication.hub, publication.signing_key
    to_registry = {"repository": image.repository} if image else {}
    to_hub = {"hub": [hub.repository, hub.branch], "evaluate": evaluate_hash} if hub else {}
    return digest({"train": train_hash, **to_registry, **to_hub, **({"signed": key.path} if key else {})})


def revised(input_hash: str, rows_revision: str) -> str:
    """The input hash of a stage after generate, where the rows have changed since generate first finished."""
    return digest({"hash": input_hash, "rows": rows_revision})


def digest(identity: Any) -> str:
    """A short digest of JSON-ready data, the same in every release."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:HASH_LENGTH].decode().lower()


def identity_fields(model: ApiModel) -> dict[str, Any]:
    """The fields of `model` that are part of an identity. First defaults are left out, so that neither a field added
    later nor a default that changes later changes a hash."""
    plain = model.model_dump(mode="json", by_alias=True)
    return {
        alias: _identity_value(getattr(model, name), plain[alias])
        for name, alias, field in _identity_members(model)
        if not is_first_default(getattr(model, name), field)
    }


def _identity_members(model: ApiModel) -> Iterator[tuple[str, str, FieldInfo]]:
    """Name, alias and definition of each field that is not marked as NotIdentity."""
    for name, field in type(model).model_fields.items():
        if NotIdentity not in field.metadata:
            yield name, field.alias or name, field


def _identity_value(value: Any, plain: Any) -> Any:
    """What a value adds to an identity; `plain` is the same value as JSON-ready data."""
    if isinstance(value, ApiModel) and isinstance(plain, dict):
        return identity_fields(value)
    if isinstance(value, tuple):
        return [_identity_value(item, plain_item) for item, plain_item in zip(value, plain, strict=True)]
    return plain


def is_first_default(value: Any, field: FieldInfo) -> bool:
    """Whether a field has the value that it had by default when it was introduced."""
    if field.is_required():
        return False
    first = next((each.value for each in field.metadata if isinstance(each, FirstDefault)), field.default)
    if isinstance(value, ApiModel) and isinstance(first, type(value)):
        fields = type(value).model_fields
        return all(is_first_default(getattr(value, name), fields[name]) for name in fields)
    return bool(value == first)


def _rows_identity(spec: DistillationSpec) -> dict[str, Any]:
    """What determines the rows."""
    generation = spec.generation
    # A stated default changes nothing; those of temperature and top-p depend on the number of samples, that of the
    # language filter on the task.
    filters = generation.filters.model_copy(update={"language": generation.checks_language(spec.task)})
    as_chosen = generation.model_copy(update={"sampling": generation.chosen_sampling, "filters": filters})
    rows = {"task": spec.task, "data": _data_identity(spec), "generation": identity_fields(as_chosen)}
    objective = spec.training.objective
    if objective.kind is not ObjectiveKind.LOGITS:
        return rows
    return {**rows, "topLogprobs": objective.logits.top_logprobs}


def _data_identity(spec: DistillationSpec) -> dict[str, Any]:
    # A stated default changes nothing; that of the labels depends on the task.
    states_default = spec.task is Task.NLI and spec.labels == NLI_LABELS
    data: Data = spec.data.model_copy(update={"labels": None}) if states_default else spec.data
    return identity_fields(data)


def _student_identity(spec: DistillationSpec) -> dict[str, Any]:
    """What determines the student, beside the rows."""
    training = identity_fields(spec.training.with_preset)
    if not spec.training.method.trains_adapters:
        # No adapters are trained, whatever the fields of `lora` say.
        training.pop("lora", None)
    if "objective" in training:
        training |= _unless_empty("objective", _objective_identity(spec, training.pop("objective")))
    served = {} if spec.serving.adapter is AdapterMode.MERGED else {"served": spec.serving.adapter}
    student = {name: value for name, value in identity_fields(spec.student).items() if name != "model"}
    return {"model": spec.student.model.uri, **student, **_unless_empty("training", training), **served}


def _objective_identity(spec: DistillationSpec, fields: dict[str, Any]) -> dict[str, Any]:
    """Without the settings of kinds that it is not, which change nothing whatever they say."""
    settings = {ObjectiveKind.LOGITS: "logits", ObjectiveKind.PREFERENCE: "preference"}
    others = {name for kind, name in settings.items() if kind is not spec.training.objective.kind}
    return {name: value for name, value in fields.items() if name not in others}


def _contents(spec: DistillationSpec, stage: Stage, contents: Mapping[str, str]) -> dict[str, Any]:
    return _unless_empty("contents", {uri: contents[uri] for uri in source_uris(spec, stage) if uri in contents})


def _unless_empty(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """`value` by its name, and nothing where it is empty: what is all default is no part of a hash."""
    return {name: value} if value else {}
