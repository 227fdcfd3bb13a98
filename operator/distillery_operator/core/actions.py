"""From what is wanted and what is seen to the writes that bring them together, in the order in which they are safe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from distillery_api.stage import Stage
from distillery_api.status import DistillationStatus
from distillery_operator.core.observation import JobState, Observation, Ownership, SeenJob
from distillery_operator.core.serving_rollout import Rollout, pending_writes, roll_out, volume_use
from distillery_operator.core.situation import Settings, Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, advance
from distillery_operator.manifests.common import Manifest
from distillery_operator.manifests.job import stage_config_map, stage_job, stage_pod
from distillery_operator.manifests.serving import ServedModel, serving_pod
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.planning.names import config_map_name
from distillery_operator.planning.plan import Plan, PlannedStage


@dataclass(frozen=True)
class Check:
    """Ask the server whether it would accept this (a dry run, strict). Comes before anything is written."""

    manifest: Manifest


@dataclass(frozen=True)
class Create:
    """Create this; if the name is taken, look at who has it."""

    manifest: Manifest


@dataclass(frozen=True)
class Apply:
    """Bring an object of ours to this (server-side apply)."""

    manifest: Manifest


@dataclass(frozen=True)
class Delete:
    """Delete this, and let it go only after its Pods; gone already is well."""

    kind: str
    name: str


@dataclass(frozen=True)
class Suspend:
    """Stop a Job, or let it go on."""

    job: str
    suspended: bool


Action = Check | Create | Apply | Delete | Suspend


def decide(
    plan: Plan, observation: Observation, previous: DistillationStatus, now: datetime, settings: Settings
) -> tuple[Action, ...]:
    """The writes of this moment: checks first, then what goes, then what comes."""
    scene = Situation(plan, observation, previous, now.replace(microsecond=0), settings)
    ledger = advance(scene)
    rollout = roll_out(scene, ledger)
    return (
        *_checks(scene, ledger, rollout),
        *_discards(scene, ledger),
        *_pauses(scene, ledger),
        *_starts(scene, ledger.current),
        *_claim_changes(scene),
        *_serving_writes(scene, rollout),
    )


def _checks(scene: Situation, ledger: StageStates, rollout: Rollout) -> Iterable[Action]:
    """Before the first paid stage, the Pods of every stage to come: a spec that cannot end well should not begin."""
    view = ledger.current
    if view.phase is StagePhase.STARTING and not view.checked:
        yield from (Check(pod) for pod in _pods_to_come(scene, view))
    elif rollout.model and any(manifest["kind"] == "Deployment" for manifest, _ in pending_writes(scene, rollout)):
        yield Check(serving_pod(scene.plan, scene.settings.manifests, rollout.model))


def _pods_to_come(scene: Situation, view: StageState) -> Iterable[Manifest]:
    plan, settings = scene.plan, scene.settings.manifests
    yield from (stage_pod(plan, planned, settings) for planned in plan.stages[plan.stages.index(view.planned) :])
    if plan.served:
        yield serving_pod(plan, settings, ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash))


def _discards(scene: Situation, ledger: StageStates) -> Iterable[Action]:
    for job in ledger.discarded:
        yield Delete("Job", job.name)
        if job.stage and not any(_folder_of(job) == planned.folder for planned in scene.plan.stages):
            yield Delete("ConfigMap", config_map_name(scene.plan.name, _folder_of(job)))
    if ledger.current.phase is StagePhase.REPLACING and ledger.current.job:
        yield Delete("Job", ledger.current.job.name)
    if not scene.plan.served:
        yield from _server_removal(scene)


def _folder_of(job: SeenJob) -> str:
    return PlannedStage(job.stage, job.input_hash).folder if job.stage else ""


def _server_removal(scene: Situation) -> Iterable[Action]:
    children = {"Deployment": scene.observation.deployment, "Service": scene.observation.service}
    for kind, child in children.items():
        if child and child.ownership is Ownership.OURS:
            yield Delete(kind, child.manifest["metadata"]["name"])


def _pauses(scene: Situation, ledger: StageStates) -> Iterable[Action]:
    job = ledger.current.job
    if job is None or ledger.current.phase is not StagePhase.UNDER_WAY:
        return
    if scene.plan.suspended and job.state in (JobState.PENDING, JobState.RUNNING):
        yield Suspend(job.name, suspended=True)
    elif not scene.plan.suspended and job.state is JobState.SUSPENDED:
        yield Suspend(job.name, suspended=False)


def _starts(scene: Situation, view: StageState) -> Iterable[Action]:
    if view.phase is not StagePhase.STARTING or view.record is None:
        return
    if scene.observation.claim is None and scene.plan.spec.storage.claim_name is None:
        yield Create(workspace_claim(scene.plan))
    settings = scene.settings.manifests
    yield Apply(stage_config_map(scene.plan, view.planned))
    yield Create(stage_job(scene.plan, view.planned, view.record.attempts, settings, volume_use(scene)))


def _claim_changes(scene: Situation) -> Iterable[Action]:
    """Who owns the claim may change; nothing else may: a bigger size is for a person to ask of the claim."""
    claim = scene.observation.claim
    if claim is None or claim.ownership is not Ownership.OURS or scene.plan.spec.storage.claim_name is not None:
        return
    wanted = workspace_claim(scene.plan)
    if bool(wanted["metadata"].get("ownerReferences")) != bool(claim.manifest["metadata"].get("ownerReferences")):
        yield Apply(wanted)


def _serving_writes(scene: Situation, rollout: Rollout) -> Iterable[Action]:
    for manifest, new in pending_writes(scene, rollout):
        yield Create(manifest) if new else Apply(manifest)
