"""From an assessment to the requests that bring the cluster nearer to the spec, in the order in which they are safe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import dropwhile

from distillery_operator.core.assessment import Assessment
from distillery_operator.core.attempt_deadline import deadline_patch
from distillery_operator.core.claim_changes import claim_patches
from distillery_operator.core.config_repair import config_map_of_attempt, config_map_to_restore
from distillery_operator.core.drift import PendingWrites, added_selectors, identity_of, includes, pending_writes
from distillery_operator.core.ended_jobs import jobs_to_expire, outlived_jobs
from distillery_operator.core.gpu_yield import GPU_IN_USE
from distillery_operator.core.observation import ObservedJob, Ownership
from distillery_operator.core.placement import volume_use_of_stage
from distillery_operator.core.routes import unwanted_routes
from distillery_operator.core.served_adapters import is_obsolete
from distillery_operator.core.servers import candidate_server, deployed_server, routed_percent
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates
from distillery_operator.core.suspension import suspension_patches
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.cluster_plan import planned_server
from distillery_operator.manifests.job import stage_job, stage_pod
from distillery_operator.manifests.serving import serving_pod
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.manifests.training_nodes import node_count, training_service
from distillery_operator.planning.names import adapters_name, candidate_name, config_map_name, serving_name
from distillery_operator.planning.plan import PlannedStage


@dataclass(frozen=True)
class DryRun:
    """Ask the server whether it would accept this (a dry run, strict). Comes before anything is written."""

    manifest: Manifest
    replaces_equal: bool = False
    """Whether Pods that ask for as much end before, so that it matters little that they fill a quota now."""


@dataclass(frozen=True)
class Create:
    """Create this; where an object of that name exists, see whose it is."""

    manifest: Manifest


@dataclass(frozen=True)
class Apply:
    """Apply the manifest of an object of ours (server-side apply)."""

    manifest: Manifest


@dataclass(frozen=True)
class Merge:
    """Change some fields of an object (JSON merge patch)."""

    kind: str
    name: str
    patch: Manifest


@dataclass(frozen=True)
class Delete:
    """Delete this, its Pods first (foreground propagation); one that does not exist is no error."""

    kind: str
    name: str


Action = DryRun | Create | Apply | Merge | Delete


def decide(assessment: Assessment) -> tuple[Action, ...]:
    """The requests to send now: dry runs first, then what is to be deleted, then what is to be created."""
    situation, states, rollout = assessment.situation, assessment.stages, assessment.rollout
    writes = pending_writes(situation, rollout)
    return (
        *_checks(situation, states, rollout, writes),
        *_discards(situation, states, rollout),
        *_pauses(situation, states),
        *_deadlines(situation, states.current),
        *_starts(situation, states.current),
        *_config_repairs(situation, states.current),
        *_claim_changes(situation),
        *_serving_writes(situation, rollout, writes),
        *_farewells(situation, states),
    )


def _checks(situation: Situation, states: StageStates, rollout: Rollout, writes: PendingWrites) -> Iterable[Action]:
    """Before the first stage that costs something, the Pods of every stage to come: a spec that must fail later should
    not start."""
    state = states.current
    if state.phase is StagePhase.STARTING and not state.checked:
        yield from (DryRun(pod) for pod in _pods_to_come(situation, state))
    elif state.problem == GPU_IN_USE and _server_is_up(situation):
        # The server is not stopped for a stage that would be refused.
        yield from (DryRun(pod) for pod in _pods_to_come(situation, state))
    else:
        yield from _server_checks(situation, rollout, writes)


def _server_checks(situation: Situation, rollout: Rollout, writes: PendingWrites) -> Iterable[Action]:
    """The Pods of another template that are to be created: what is deployed was checked when it was."""
    written = {each["metadata"]["name"] for each, _ in writes if each["kind"] == "Deployment"}
    name, candidate = serving_name(situation.plan.name), candidate_name(situation.plan.name)
    deployed = deployed_server(situation)
    if rollout.server and name in written and (deployed is None or deployed.template != rollout.server.template):
        pod = serving_pod(situation.plan, rollout.server)
        yield DryRun(pod, replaces_equal=_replaces_equal(situation, rollout, pod))
    if rollout.canary and candidate in written and rollout.canary.candidate != candidate_server(situation):
        yield DryRun(serving_pod(situation.plan, rollout.canary.candidate, candidate))


def _replaces_equal(situation: Situation, rollout: Rollout, pod: Manifest) -> bool:
    """Whether the Pod is created once one that asks for as much has ended."""
    deployment = situation.observation.deployment
    written = next(each for each in rollout.manifests if each["kind"] == "Deployment")  # The server's own.
    if deployment is None or not deployment.desired or _adds_pod(written["spec"]["strategy"]):
        return False
    return includes(_resources(deployment.manifest["spec"]["template"]), _resources(pod))


def _adds_pod(strategy: Manifest) -> bool:
    """Whether a new Pod comes before an old one goes."""
    return strategy["type"] == "RollingUpdate" and bool(strategy["rollingUpdate"]["maxSurge"])


def _resources(pod: Manifest) -> list[Manifest]:
    return [container.get("resources") or {} for container in pod["spec"]["containers"]]


def _server_is_up(situation: Situation) -> bool:
    deployment = situation.observation.deployment
    return deployment is not None and deployment.desired > 0


def _pods_to_come(situation: Situation, state: StageState) -> Iterable[Manifest]:
    plan, settings = situation.plan, situation.settings.manifests
    to_come = dropwhile(lambda planned: planned != state.planned, plan.stages)
    yield from (stage_pod(plan, planned, settings) for planned in to_come)
    if plan.served and plan.host is None:
        yield serving_pod(plan, planned_server(plan, settings))


def _discards(situation: Situation, states: StageStates, rollout: Rollout) -> Iterable[Action]:
    planned_folders = {planned.folder for planned in situation.plan.stages}
    for job in states.discarded:
        yield Delete("Job", job.name)
        if job.stage and _folder_of(job) not in planned_folders:
            yield Delete("ConfigMap", config_map_name(situation.plan.name, _folder_of(job)))
    if states.current.phase is StagePhase.REPLACING and states.current.job:
        yield Delete("Job", states.current.job.name)
    yield from _server_removals(situation, rollout)
    if situation.plan.served:
        yield from (Delete(kind, serving_name(situation.plan.name)) for kind in unwanted_routes(situation))
    settled = rollout.phase in (RolloutPhase.OFF, RolloutPhase.SERVING)
    if is_obsolete(situation, rollout.manifests, settled=settled):
        yield Delete("ConfigMap", adapters_name(situation.plan.name))


def _folder_of(job: ObservedJob) -> str:
    return PlannedStage(job.stage, job.input_hash).folder if job.stage else ""


def _server_removals(situation: Situation, rollout: Rollout) -> Iterable[Action]:
    """All of the server where none is asked for, and a candidate that has taken over, or is not to, once the route
    leads no requests to it."""
    observation = situation.observation
    goes = rollout.drops_candidate and not routed_percent(observation)
    children = (observation.candidate, observation.candidate_service) if goes else ()
    for child in children if situation.plan.served else observation.server_children:
        if child and child.ownership is Ownership.OURS:
            yield Delete(*identity_of(child.manifest))


def _pauses(situation: Situation, states: StageStates) -> Iterable[Action]:
    job = states.current.job
    if job is not None and states.current.phase is StagePhase.UNDER_WAY:
        yield from (Merge(*patch) for patch in suspension_patches(situation, job))


def _deadlines(situation: Situation, state: StageState) -> Iterable[Action]:
    patch = deadline_patch(situation, state)
    if patch and state.job and state.phase is StagePhase.UNDER_WAY and not situation.plan.suspended:
        yield Merge("Job", state.job.name, patch)


def _starts(situation: Situation, state: StageState) -> Iterable[Action]:
    if state.phase is not StagePhase.STARTING or state.record is None:
        return
    if situation.observation.claim is None and situation.plan.spec.storage.claim_name is None:
        yield Create(workspace_claim(situation.plan))
    settings = situation.settings.manifests
    yield _written(situation, config_map_of_attempt(situation, state.planned, state.record))
    if node_count(situation.plan, state.planned.stage) > 1:
        yield Apply(training_service(situation.plan))
    volume = volume_use_of_stage(situation, state.planned)
    yield Create(stage_job(situation.plan, state.planned, state.record.attempts, settings, volume))


def _config_repairs(situation: Situation, state: StageState) -> Iterable[Action]:
    manifest = config_map_to_restore(situation, state)
    if manifest:
        yield _written(situation, manifest)


def _written(situation: Situation, config_map: Manifest) -> Action:
    """A ConfigMap that is not known is created, so that one which is not ours is found and left alone."""
    known = situation.observation.config_map_named(config_map["metadata"]["name"])
    return Apply(config_map) if known else Create(config_map)


def _claim_changes(situation: Situation) -> Iterable[Action]:
    claim = situation.observation.claim
    if claim is None or claim.ownership is not Ownership.OURS or situation.plan.spec.storage.claim_name is not None:
        return
    for patch in claim_patches(situation.plan, claim):
        yield Merge("PersistentVolumeClaim", situation.plan.claim_name, patch)


def _serving_writes(situation: Situation, rollout: Rollout, writes: PendingWrites) -> Iterable[Action]:
    """A Service that selected one server alone selects all before that server's Pods go."""
    yield from (Merge("Service", name, patch) for name, patch in added_selectors(situation, rollout))
    for manifest, new in writes:
        yield Create(manifest) if new else Apply(manifest)


def _farewells(situation: Situation, states: StageStates) -> Iterable[Action]:
    """Last, since nothing depends on it."""
    lifetime = {"spec": {"ttlSecondsAfterFinished": round(situation.settings.job_ttl.total_seconds())}}
    yield from (Delete("Job", job.name) for job in outlived_jobs(situation, states))
    yield from (Merge("Job", job.name, lifetime) for job in jobs_to_expire(situation, states))
