"""The deadline of a running attempt: `timeout` of its stage, counted from the start of its container.

A Job's own deadline counts from the Job's start, and so would count the wait for a node. It is therefore set once the
container runs, and follows a changed `timeout`. A Pod that replaces a removed one has the whole time anew, and none
runs out while it waits.
"""

from __future__ import annotations

from distillery_api.spec import parse_duration
from distillery_operator.core.observation import JobState, ObservedJob
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageState
from distillery_operator.manifests.child_metadata import Manifest


def deadline_patch(situation: Situation, state: StageState) -> Manifest | None:
    """What to change in the Job of a stage, so that it ends in time; None where nothing is to be changed."""
    job = state.job
    if job is None or job.state not in (JobState.RUNNING, JobState.PENDING):
        return None
    seconds = _seconds(situation, state, job)
    return None if seconds == job.deadline_seconds else {"spec": {"activeDeadlineSeconds": seconds}}


def _seconds(situation: Situation, state: StageState, job: ObservedJob) -> int | None:
    timeout = situation.plan.options(state.planned.stage).timeout
    if timeout is None or job.started is None or job.stage_started is None:
        return None
    waited = max(0, round((job.stage_started - job.started).total_seconds()))
    return waited + round(parse_duration(timeout).total_seconds())
