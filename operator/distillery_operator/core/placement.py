"""Where a stage's Pod may run, by what uses the workspace at this moment.

A volume that only one node can mount binds a stage to the server's node while there is a server. A Job is immutable, so
one that was created beside a server that has gone, or before there was one, waits for ever and is replaced.
"""

from __future__ import annotations

from dataclasses import replace

from distillery_api.reasons import Reason
from distillery_operator.core.gpu_yield import yields_gpu
from distillery_operator.core.observation import JobState, ObservedJob
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.job import stage_job
from distillery_operator.manifests.pod_template import VolumeUse, requires_server
from distillery_operator.planning.plan import PlannedStage

_BY_PLACEMENT = frozenset({Reason.UNSCHEDULABLE, Reason.VOLUME_UNAVAILABLE})


def volume_use(situation: Situation) -> VolumeUse:
    """What a new Pod needs to know about the workspace."""
    return VolumeUse(situation.volume_is_shared, beside_server=situation.observation.server_holds_workspace)


def volume_use_of_stage(situation: Situation, planned: PlannedStage) -> VolumeUse:
    """What a new Pod of a stage needs to know about the workspace: a server that stops for it binds it to no node."""
    use = volume_use(situation)
    return replace(use, beside_server=use.beside_server and not yields_gpu(situation, planned))


def is_misplaced(situation: Situation, planned: PlannedStage, job: ObservedJob) -> bool:
    """Whether a Job's Pod cannot start, and its template was made for another use of the workspace than today's."""
    if situation.plan.suspended or job.state is not JobState.PENDING or job.problem is None:
        return False
    plan, settings = situation.plan, situation.settings.manifests
    today = stage_job(plan, planned, job.attempt, settings, volume_use_of_stage(situation, planned))
    return job.problem.reason in _BY_PLACEMENT and job.beside_server is not requires_server(today)
