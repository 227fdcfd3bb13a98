"""Repairs the ConfigMap of the stage under way: without it a Pod that is created again would never start."""

from __future__ import annotations

from distillery_api.stage import Stage
from distillery_api.status import StageStatus
from distillery_operator.core.drift import includes
from distillery_operator.core.observation import Ownership
from distillery_operator.core.pruning import folders_to_prune
from distillery_operator.core.serving_student import compared_hash, serving_student
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.job import stage_config_map
from distillery_operator.planning.plan import PlannedStage
from distillery_operator.planning.retry_rejected import annotated_retry


def config_map_of_attempt(situation: Situation, planned: PlannedStage, record: StageStatus) -> Manifest:
    """What the attempt that `record` names is given."""
    student, prune = serving_student(situation), folders_to_prune(situation, planned)
    retry = annotated_retry(record.retry_rejected) if planned.stage is Stage.GENERATE else None
    return stage_config_map(situation.plan, planned, student, record.micro_batches or 1, prune, retry_rejected=retry)


def config_map_to_restore(situation: Situation, state: StageState) -> Manifest | None:
    """The manifest of a ConfigMap that was deleted or edited; None where the attempt under way has what it was given.

    What a changed spec would give it is for the next attempt: a running one is never disturbed.
    """
    record = state.record
    if state.phase is not StagePhase.UNDER_WAY or record is None:
        return None
    if record.configuration != situation.configuration(state.planned):
        return None
    if record.compared_with != compared_hash(situation, state.planned):
        return None
    manifest = config_map_of_attempt(situation, state.planned, record)
    seen = situation.observation.config_map_named(manifest["metadata"]["name"])
    if seen is not None and (seen.ownership is not Ownership.OURS or includes(seen.manifest, manifest)):
        return None
    return manifest
