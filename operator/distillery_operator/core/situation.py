"""Everything known about one Distillation at one moment; all decisions are pure functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_api.resource import Distillation
from distillery_api.stage import Stage
from distillery_api.status import Condition, ConditionType, DistillationStatus, Refusal, StageStatus
from distillery_operator.core.observation import CanaryCounters, Observation
from distillery_operator.core.problem import Problem
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.manifests.cluster_plan import cluster_plan
from distillery_operator.manifests.job import configuration_digest, stage_image
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning import names
from distillery_operator.planning.adapters import base_folder
from distillery_operator.planning.plan import Plan, PlannedStage


@dataclass(frozen=True)
class Settings:
    """Settings of the installation (Helm values)."""

    manifests: ManifestSettings
    retry: RetrySettings = field(default_factory=RetrySettings)
    job_ttl: timedelta = timedelta(days=1)
    """How long a finished Job, with its logs, is kept once its result is in the status."""
    sidecar_grace: timedelta = timedelta(minutes=1)
    """How long the other containers of a Pod may run after its stage."""
    fleet_rollout: str | None = None
    """The rollout of the fleet that is asked for, by any name; None for none."""


@dataclass(frozen=True)
class Situation:
    """Everything known at one moment."""

    plan: Plan
    observation: Observation
    previous: DistillationStatus
    now: datetime
    """In whole seconds, as the status stores times."""
    settings: Settings
    refusals: tuple[Refusal, ...] = ()
    """What the server refuses of what is to be done."""
    unserved: Problem | None = None
    """Set for verify while the newest student is not served."""

    counters: CanaryCounters | None = None
    """What the Pods of a canary have counted until now; None where that is not known."""
    fleet_turn: bool = False
    """Whether it is this Distillation's turn in the rollout of the fleet."""

    @property
    def retry_requested(self) -> bool:
        """Whether the retry annotation asks for a retry that has not happened yet."""
        return self.plan.retry_at is not None and self.plan.retry_at != self.previous.last_handled_retry_at

    @property
    def replicas(self) -> int:
        """How many Pods are to serve the student; those of a shared server are its host's."""
        host = self.observation.host
        return (host.plan if host and host.plan else self.plan).spec.serving.replicas

    @property
    def volume_is_shared(self) -> bool:
        """Whether many nodes can mount the workspace."""
        claim = self.observation.claim
        return claim.shared if claim else self.plan.shared_volume

    @property
    def spec_changed(self) -> bool:
        """Whether somebody has changed the spec since the previous status."""
        return self.plan.generation != self.previous.observed_generation

    def configuration(self, planned: PlannedStage) -> str:
        """Digest of what the spec would give an attempt now."""
        return self.plan.once(("configuration", planned), lambda: configuration_digest(self.plan, planned))

    def image(self, planned: PlannedStage) -> str:
        """The image that an attempt would run now."""
        return stage_image(self.plan, planned, self.settings.manifests)

    def recorded(self, planned: PlannedStage) -> StageStatus | None:
        """The stage's record in the previous status, if it is about the same inputs."""
        records = (record for record in self.previous.stages if record.name is planned.stage)
        return next((record for record in records if record.input_hash == planned.input_hash), None)

    def blocked_too_long(self, since: datetime | None) -> bool:
        """Whether something has kept a Pod from starting for too long."""
        return self.settings.retry.blocked_too_long(since, self.now)


def plan_for(distillation: Distillation, settings: Settings, previous: DistillationStatus) -> Plan:
    """The plan of a Distillation, for the rows that its generate stage finished with."""
    plan = cluster_plan(distillation, settings.manifests)
    generate = plan.stage(Stage.GENERATE)
    records = (
        each for each in previous.stages if (each.name, each.input_hash) == (generate.stage, generate.input_hash)
    )
    revision = next((record.rows_revision for record in records), None)
    return cluster_plan(distillation, settings.manifests, revision) if revision else plan


def names_to_read(plan: Plan, previous: DistillationStatus) -> tuple[tuple[str, str], ...]:
    """Kind and name of the objects to read by name, because the watches do not report what is not ours: those of the
    server before anything is paid, and all of them while one is taken."""
    serving, candidate = names.serving_name(plan.name), names.candidate_name(plan.name)
    route, kinds = plan.spec.serving.route, ("Service",) if plan.host else ("Deployment", "Service")
    of_server = (*kinds, *([str(route.kind)] if route else [])) if plan.served else ()
    of_candidate = kinds if plan.has_candidates else ()
    adapters = (("ConfigMap", names.adapters_name(plan.name)),) if plan.served and base_folder(plan.spec) else ()
    of_both = (*((kind, serving) for kind in of_server), *((kind, candidate) for kind in of_candidate))
    server = (*of_both, *adapters)
    stalled = find_condition(previous, ConditionType.STALLED)
    if stalled is None or stalled.reason != Reason.NAME_CONFLICT:
        return () if previous.stages else server
    jobs = tuple(("Job", record.job) for record in previous.stages if record.job and not record.completion_time)
    claim = () if plan.spec.storage.claim_name else (("PersistentVolumeClaim", plan.claim_name),)
    done = {record.name for record in previous.stages if record.completion_time}
    to_come = (planned.folder for planned in plan.stages if planned.stage not in done)
    config_maps = tuple(("ConfigMap", names.config_map_name(plan.name, folder)) for folder in to_come)
    return (*jobs, *claim, *config_maps, *server)


def find_condition(status: DistillationStatus, kind: ConditionType) -> Condition | None:
    """The condition of that kind."""
    return next((condition for condition in status.conditions if condition.type is kind), None)
