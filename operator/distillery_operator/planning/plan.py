"""From a spec to its stages. The operator and the local run both follow this plan, so the same manifest leads to the
same folders everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from distillery_api.paths import Workspace
from distillery_api.resource import (
    PROMOTE_ANNOTATION,
    RESTART_ANNOTATION,
    RETRY_ANNOTATION,
    RETRY_REJECTED_ANNOTATION,
    Distillation,
)
from distillery_api.spec import (
    AccessMode,
    DistillationSpec,
    JobOptions,
    ModelImage,
    RolloutStrategy,
    ServingMode,
)
from distillery_api.stage import Stage
from distillery_operator.planning import names
from distillery_operator.planning.adapters import ServedAdapter
from distillery_operator.planning.evaluate_options import evaluate_options
from distillery_operator.planning.gpus import with_gpus
from distillery_operator.planning.identity import input_hashes, publish_hash, revised
from distillery_operator.planning.verify_options import verify_options

Derived = TypeVar("Derived")


@dataclass(frozen=True)
class PlannedStage:
    """One stage with the identity of its inputs."""

    stage: Stage
    input_hash: str
    inputs: tuple[PlannedStage, ...] = ()
    """The stages before it, where they are not those of the plan: verify may ask the student of an earlier run."""

    @property
    def folder(self) -> str:
        """The stage's folder in the workspace."""
        return f"{self.stage}-{self.input_hash}"


@dataclass(frozen=True)
class Plan:
    """The stages and settings of one generation of a Distillation."""

    distillation: Distillation
    stages: tuple[PlannedStage, ...]
    """In order. Verify is among them only in a cluster (`manifests/cluster_plan.py`)."""
    rows_revision: str | None = None
    """Of the rows that the stages after generate are planned for; None for those that generate first finished with."""
    asks_candidate: bool = False
    """Whether verify asks a candidate, through its own Service."""
    verified_adapter: ServedAdapter | None = None
    """The adapter whose answers verify asks for; None where a merged model is served."""
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, derive: Callable[[], Derived]) -> Derived:
        """What follows from this plan, which never changes: derived at the first request, and remembered by `key`."""
        if key not in self._derived:
            self._derived[key] = derive()
        derived: Derived = self._derived[key]
        return derived

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
        """Whether the student has to be served."""
        return self.spec.serving.mode is ServingMode.DEPLOYMENT

    @property
    def host(self) -> str | None:
        """The Distillation whose server serves the student, too; None where it has its own."""
        return self.spec.serving.shared_server if self.served else None

    @property
    def server_owner(self) -> str:
        """The Distillation whose Pods serve the student."""
        return self.host or self.name

    @property
    def has_several_servers(self) -> bool:
        """Whether more than one Pod serves the student, so that one may be missing for a moment."""
        return self.served and self.spec.serving.replicas > 1

    @property
    def has_candidates(self) -> bool:
        """Whether a new server takes over by a canary, where the volume lets two run."""
        return self.served and self.spec.serving.rollout.strategy is RolloutStrategy.CANARY

    @property
    def retry_at(self) -> str | None:
        """The value of the annotation that requests a retry of a failed stage."""
        return self.distillation.metadata.annotations.get(RETRY_ANNOTATION)

    @property
    def retry_rejected(self) -> str | None:
        """The value of the annotation that requests that rejected rows are asked again. The status holds 1,024
        characters of it."""
        value = self.distillation.metadata.annotations.get(RETRY_REJECTED_ANNOTATION)
        return value and value[:1024]

    @property
    def restart_at(self) -> str | None:
        """The value of the annotation that requests the server's restart with the present settings."""
        return self.distillation.metadata.annotations.get(RESTART_ANNOTATION)

    @property
    def promoted(self) -> str | None:
        """What a person has promoted: the hash of a run's training, or a step of a canary. Longer values than the
        status holds are no names of ours."""
        value = self.distillation.metadata.annotations.get(PROMOTE_ANNOTATION)
        return value and value[:1024]

    @property
    def claim_name(self) -> str:
        """The workspace claim: the given one, or ours."""
        return self.spec.storage.claim_name or names.claim_name(self.name, self.uid)

    @property
    def shared_volume(self) -> bool:
        """Whether the spec lets many nodes mount the workspace. Of an existing claim it says nothing."""
        return AccessMode.READ_WRITE_MANY in (self.spec.storage.access_modes or ())

    @property
    def model_path(self) -> str:
        """Folder of the trained student, relative to the workspace."""
        return str(Workspace(Path()).stage(self.stage(Stage.TRAIN).folder).model)

    @property
    def student_prompt_path(self) -> str:
        """File with the student's system prompt, relative to the workspace."""
        return str(Workspace(Path()).stage(self.stage(Stage.GENERATE).folder).student_prompt)

    def with_rows(self, revision: str | None) -> Plan:
        """The plan for rows of another revision, with stages of their own for them. Only a plan without one has it."""
        if revision is None:
            return self
        stages = (
            each if each.stage is Stage.GENERATE else PlannedStage(each.stage, revised(each.input_hash, revision))
            for each in self.stages
            if each.stage is not Stage.PUBLISH
        )
        plan = replace(self, stages=tuple(stages), rows_revision=revision)
        return plan if len(plan.stages) == len(self.stages) else plan.with_publish()

    def stage(self, stage: Stage) -> PlannedStage:
        """The planned stage of that kind."""
        return next(planned for planned in self.stages if planned.stage is stage)

    def earlier(self, planned: PlannedStage) -> tuple[PlannedStage, ...]:
        """The stages before `planned`."""
        return planned.inputs or tuple(each for each in self.stages if each.stage in planned.stage.earlier)

    def evaluation_before(self, planned: PlannedStage) -> PlannedStage:
        """The evaluate stage that publish or verify follows."""
        return next(each for each in self.earlier(planned) if each.stage is Stage.EVALUATE)

    @property
    def model_image(self) -> ModelImage | None:
        """Where the student is to be served from as an image in a registry; None where it is not."""
        return self.spec.serving.model_image if self.served else None

    @property
    def publishes(self) -> bool:
        """Whether the student is to be signed, or pushed anywhere: to a registry as an image, or to a model hub."""
        publication = self.spec.publication
        return bool(self.model_image or publication.hub or publication.signing_key)

    def with_publish(self) -> Plan:
        """The plan with publish after its stages, where there is something for it to do."""
        if not self.publishes:
            return self
        train, evaluate = self.stage(Stage.TRAIN).input_hash, self.stage(Stage.EVALUATE).input_hash
        input_hash = publish_hash(train, evaluate, self.model_image, self.spec.publication)
        return replace(self, stages=(*self.stages, PlannedStage(Stage.PUBLISH, input_hash)))

    def options(self, stage: Stage) -> JobOptions:
        """Where and how `stage` runs."""
        options: Mapping[Stage, Callable[[], JobOptions]] = {
            Stage.GENERATE: lambda: self.spec.generation,
            Stage.TRAIN: lambda: with_gpus(self.spec.training, self.spec.training.gpus_per_node),
            Stage.EVALUATE: lambda: evaluate_options(self.spec.evaluation, self.spec.training),
            Stage.PUBLISH: lambda: verify_options(self.spec.evaluation),
            Stage.VERIFY: lambda: verify_options(self.spec.evaluation),
        }
        return self.once(("options", stage), options[stage])


def make_plan(
    distillation: Distillation, fingerprints: Mapping[str, str] | None = None, rows_revision: str | None = None
) -> Plan:
    """The stages of `distillation` that need no server, in order.

    `fingerprints` holds a digest of the content behind a URI, if it can be read; a stage that reads it runs again when
    the content changes. `rows_revision` is that of the rows of a finished generate stage.
    """
    hashes = input_hashes(distillation.spec, fingerprints or {})
    stages = tuple(PlannedStage(stage, input_hash) for stage, input_hash in hashes.items())
    return Plan(distillation, stages).with_rows(rows_revision)
