"""From a spec to its stages: their order, their identity and what each is told.

The operator and the local run both follow this plan, so the same manifest gives the same folders everywhere. A stage's
identity is a hash of what determines its result and of nothing else: a changed learning rate keeps the paid rows, and
neither a new image nor a new release of this software runs anything again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distillery_api.paths import Workspace
from distillery_api.resource import RETRY_ANNOTATION, Distillation
from distillery_api.result import Stage
from distillery_api.run import METRICS_PORT, RunConfig
from distillery_api.spec import (
    NLI_LABELS,
    AccessMode,
    DistillationSpec,
    Judge,
    SecretKeyReference,
    SecretReference,
    Server,
    ServingMode,
    StageOptions,
    Task,
    Teacher,
    TrainingMethod,
    without_defaults,
)
from distillery_operator import names

HASH_LENGTH = 8
"""Characters of a stage's hash, 5 bits each. Eight leave room for 9,999 attempts in a Job's name."""

WORKSPACE_PATH = "/workspace"
TERMINATION_MESSAGE_PATH = "/dev/termination-log"

_PLACEMENT_FIELDS = {"image", "resources", "pod_template"}
_NOT_IN_ROWS = _PLACEMENT_FIELDS | {
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
_REFERENCE = re.compile(r"((?:pvc|configmap)://[^/]+)/")


Options = TypeVar("Options", bound=StageOptions)


@dataclass(frozen=True)
class PlannedStage:
    """One stage with the identity of its inputs."""

    stage: Stage
    input_hash: str

    @property
    def folder(self) -> str:
        """The stage's folder in the workspace."""
        return f"{self.stage}-{self.input_hash}"


@dataclass(frozen=True)
class Plan:
    """What one generation of a Distillation asks for."""

    distillation: Distillation
    stages: tuple[PlannedStage, ...]

    @property
    def spec(self) -> DistillationSpec:
        """The spec that was planned."""
        return self.distillation.spec

    @property
    def name(self) -> str:
        """The Distillation's name."""
        return self.distillation.metadata.name

    @property
    def namespace(self) -> str:
        """The Distillation's namespace."""
        return self.distillation.metadata.namespace or "default"

    @property
    def uid(self) -> str:
        """The Distillation's UID; empty where there is no cluster."""
        return self.distillation.metadata.uid

    @property
    def generation(self) -> int:
        """The generation of the spec."""
        return self.distillation.metadata.generation

    @property
    def suspended(self) -> bool:
        """Whether stages must not run."""
        return self.spec.suspend

    @property
    def served(self) -> bool:
        """Whether the student is to be served."""
        return self.spec.serving.mode is ServingMode.DEPLOYMENT

    @property
    def retry_at(self) -> str | None:
        """The value of the annotation that asks for a failed stage to run again."""
        return self.distillation.metadata.annotations.get(RETRY_ANNOTATION)

    @property
    def claim_name(self) -> str:
        """The workspace claim: the given one, or ours."""
        return self.spec.storage.claim_name or names.claim_name(self.name, self.uid)

    @property
    def shared_volume(self) -> bool:
        """Whether the spec lets many nodes mount the workspace; of a given claim only the claim itself can tell."""
        return AccessMode.READ_WRITE_MANY in (self.spec.storage.access_modes or ())

    @property
    def model_path(self) -> str:
        """Folder of the trained student, relative to the workspace."""
        return str(Workspace(Path()).stage(self.stage(Stage.TRAIN).folder).model)

    @property
    def student_prompt_path(self) -> str:
        """File with the student's system prompt, relative to the workspace."""
        return str(Workspace(Path()).stage(self.stage(Stage.GENERATE).folder).student_prompt)

    def stage(self, stage: Stage) -> PlannedStage:
        """The planned stage of that kind."""
        return next(planned for planned in self.stages if planned.stage is stage)

    def earlier(self, stage: Stage) -> tuple[PlannedStage, ...]:
        """The stages before `stage`."""
        return tuple(planned for planned in self.stages if list(Stage).index(planned.stage) < list(Stage).index(stage))

    def options(self, stage: Stage) -> StageOptions:
        """Where and how `stage` runs."""
        options: Mapping[Stage, StageOptions] = {
            Stage.GENERATE: self.spec.generation,
            Stage.TRAIN: self.spec.training,
            Stage.EVALUATE: self.spec.evaluation,
        }
        return options[stage]


@dataclass(frozen=True)
class Placement:
    """Where a stage finds things: paths and addresses that differ between a Pod and a local process."""

    workspace: str
    """Path of the workspace."""
    base_path: str
    """Folder that plain paths in the manifest are relative to."""
    mounts: Mapping[str, str]
    """Folder of each claim and ConfigMap that the stage reads, by reference (`pvc://datasets`)."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """0 takes a free port."""
    termination_message_path: str | None = None

    @classmethod
    def in_pod(cls, spec: DistillationSpec, stage: Stage) -> Placement:
        """Where a stage's Pod finds things."""
        return cls(
            workspace=WORKSPACE_PATH,
            base_path=WORKSPACE_PATH,
            mounts={reference: mount_path(reference) for reference in references(spec, stage)},
            metrics_host="0.0.0.0",  # noqa: S104 - the operator reads it from another Pod
            metrics_port=METRICS_PORT,
            termination_message_path=TERMINATION_MESSAGE_PATH,
        )


def make_plan(distillation: Distillation, fingerprints: Mapping[str, str] | None = None) -> Plan:
    """The stages of `distillation`, in order.

    `fingerprints` holds a digest of the content by URI, where the content can be seen; such a stage runs again when the
    content changes.
    """
    spec, contents = distillation.spec, fingerprints or {}
    generate = digest(_rows_identity(spec, contents))
    train = digest({"generate": generate, **_student_identity(spec, contents)})
    evaluate = digest({"train": train, **_named("evaluation", _evaluation_identity(spec))})
    hashes = {Stage.GENERATE: generate, Stage.TRAIN: train, Stage.EVALUATE: evaluate}
    return Plan(distillation, tuple(PlannedStage(stage, input_hash) for stage, input_hash in hashes.items()))


def run_config(plan: Plan, planned: PlannedStage, placement: Placement) -> RunConfig:
    """Everything that the stage needs to know."""
    spec = plan.spec
    return RunConfig(
        stage=planned.stage,
        name=plan.name,
        folder=planned.folder,
        inputs={earlier.stage: earlier.folder for earlier in plan.earlier(planned.stage)},
        workspace=placement.workspace,
        base_path=placement.base_path,
        mounts=dict(placement.mounts),
        task=spec.task,
        data=spec.data,
        generation=_without_placement(spec.generation),
        student=spec.student,
        training=_without_placement(spec.training),
        labels=spec.labels,
        evaluation=_without_placement(spec.evaluation),
        request_timeout_seconds=spec.generation.seconds_a_call,
        api_key_variables={key.path: variable for variable, key in api_keys(spec, planned.stage).items()},
        metrics_host=placement.metrics_host,
        metrics_port=placement.metrics_port,
        termination_message_path=placement.termination_message_path,
    )


def api_keys(spec: DistillationSpec, stage: Stage) -> dict[str, SecretKeyReference]:
    """The API keys that `stage` needs, each by the environment variable that carries it."""
    judge = spec.generation.judge if stage is Stage.GENERATE else spec.evaluation.judge
    servers = [server for teacher in spec.generation.teachers for server in teacher.all_servers]
    asked: dict[Stage, list[Server | Judge | None]] = {Stage.GENERATE: [*servers, judge], Stage.EVALUATE: [judge]}
    keys = [each.api_key for each in asked.get(stage, []) if each is not None and each.api_key is not None]
    return {f"DISTILLERY_API_KEY_{number}": key for number, key in enumerate(dict.fromkeys(keys))}


def credentials(spec: DistillationSpec, stage: Stage) -> SecretReference | None:
    """The Secret whose keys become environment variables of `stage`: for reading rows, or for loading the model."""
    return spec.data.credentials if stage is Stage.GENERATE else spec.student.credentials


def references(spec: DistillationSpec, stage: Stage) -> tuple[str, ...]:
    """The claims and ConfigMaps that `stage` reads, such as `pvc://datasets`, sorted."""
    found = (_REFERENCE.match(uri) for uri in _uris(spec, stage))
    return tuple(sorted({match.group(1) for match in found if match}))


def mount_path(reference: str) -> str:
    """Where a Pod mounts `pvc://CLAIM` or `configmap://NAME`."""
    return "/data/" + reference.replace("://", "/")


def _uris(spec: DistillationSpec, stage: Stage) -> tuple[str, ...]:
    if stage is not Stage.GENERATE:
        return (spec.student.model.uri,)
    return tuple(source.uri for source in spec.data.sources.values())


def _rows_identity(spec: DistillationSpec, contents: Mapping[str, str]) -> dict[str, Any]:
    """What determines the rows: not who serves the teacher, nor how fast or at what cost it may answer."""
    usual = NLI_LABELS if spec.task is Task.NLI else ()
    labels = {} if spec.labels == usual else {"labels": list(spec.labels)}
    return {
        "task": spec.task,
        "data": {**_without(spec.data, _NOT_IN_DATA), **labels},
        "generation": {
            **_without(spec.generation, _NOT_IN_ROWS),
            **_named("sampling", _without(spec.generation.chosen_sampling, set())),
            **_named("judge", {"model": spec.generation.judge.model} if spec.generation.judge else {}),
            "teachers": [_teacher_identity(teacher) for teacher in spec.generation.teachers],
        },
        **_contents(spec, Stage.GENERATE, contents),
    }


def _teacher_identity(teacher: Teacher) -> dict[str, Any]:
    return {"name": teacher.name, "model": teacher.model, **({"reasoning": True} if teacher.reasoning else {})}


def _evaluation_identity(spec: DistillationSpec) -> dict[str, Any]:
    judge = spec.evaluation.judge
    options = _without(spec.evaluation, _PLACEMENT_FIELDS | {"judge"})
    return {**options, **_named("judge", {"model": judge.model} if judge else {})}


def _student_identity(spec: DistillationSpec, contents: Mapping[str, str]) -> dict[str, Any]:
    unused = set() if spec.training.method is TrainingMethod.LORA else {"lora"}
    return {
        "model": spec.student.model.uri,
        **_named("training", _without(spec.training, _PLACEMENT_FIELDS | unused)),
        **_contents(spec, Stage.TRAIN, contents),
    }


def _contents(spec: DistillationSpec, stage: Stage, contents: Mapping[str, str]) -> dict[str, Any]:
    return _named("contents", {uri: contents[uri] for uri in _uris(spec, stage) if uri in contents})


def _named(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is empty, so that a field added later changes no hash."""
    return {name: value} if value else {}


def _without(model: Any, fields: set[str]) -> dict[str, Any]:
    return without_defaults(model, exclude=fields)


def _without_placement(options: Options) -> Options:
    return options.model_copy(update=dict.fromkeys(_PLACEMENT_FIELDS))


def digest(identity: Any) -> str:
    """A short digest of JSON-ready data, the same in every release."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:HASH_LENGTH].decode().lower()
