"""Whether the server is scaled to zero at this moment, for a stage that needs its GPU."""

from __future__ import annotations

import copy

from distillery_operator.core.gpu_yield import GPU_IN_USE, is_servers_share, starts_beside_server, yields_gpu
from distillery_operator.core.observation import JobState
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates
from distillery_operator.manifests.child_metadata import Manifest

_AT_WORK = frozenset({StagePhase.STARTING, StagePhase.UNDER_WAY, StagePhase.REPLACING, StagePhase.BACKING_OFF})


def is_yielded(situation: Situation, states: StageStates) -> bool:
    """Whether the stage to come has, or is to have, the server's GPU. Once it is stalled or suspended, it has not."""
    state = states.current
    if situation.plan.suspended or state.stalled or not yields_gpu(situation, state.planned):
        return False
    if state.problem == GPU_IN_USE:
        return True
    if starts_beside_server(situation):
        return _may_have_pod(state)
    if state.phase is StagePhase.WAITING and state.problem:
        # Between two Jobs of the stage, or where others took the server's share, it would only start in vain.
        in_vain = state.problem.reason is None or is_servers_share(situation, state.problem)
        return in_vain and _is_down(situation)
    return state.phase in _AT_WORK


def _may_have_pod(state: StageState) -> bool:
    """Whether the stage's Job may start."""
    may_start = state.job is not None and state.job.state in (JobState.PENDING, JobState.RUNNING)
    return may_start and state.phase is StagePhase.UNDER_WAY


def without_pods(deployment: Manifest) -> Manifest:
    """The manifest of a Deployment, with no Pods."""
    stopped = copy.deepcopy(deployment)
    stopped["spec"]["replicas"] = 0
    return stopped


def _is_down(situation: Situation) -> bool:
    deployment = situation.observation.deployment
    return deployment is not None and deployment.desired == 0
