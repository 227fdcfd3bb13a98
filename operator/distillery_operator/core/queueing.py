"""Jobs that others stop and start: Kueue in its queues, or a person. Only what this operator stopped, it starts again.

A Job in a queue is Kueue's to suspend and to resume, so this operator stops it by the `active` of its Workload.
"""

from __future__ import annotations

from datetime import timedelta

from distillery_api.reasons import Reason
from distillery_api.status import ConditionType
from distillery_operator.core.observation import JobState, ObservedJob, ObservedWorkload
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation, find_condition
from distillery_operator.planning.plan import PlannedStage
from distillery_operator.planning.user_configuration import user_configuration

QUEUE_REQUEUE = timedelta(minutes=1)
"""How often to read why a Job waits in its queue: Kueue's objects are not watched."""

FIRST_QUEUE_REQUEUE = timedelta(seconds=2)
"""How soon to read it while Kueue has not said anything yet, or is about to start or to stop the Job."""

_TRAVELLING = (
    "sends its Jobs to other clusters (MultiKueue), where the workspace volume does not exist; choose a queue of this"
    " cluster in spec.queue"
)


def is_held(situation: Situation, job: ObservedJob) -> bool:
    """Whether the Job waits for somebody else to resume it, or to give it back."""
    elsewhere = job.queueing.other_controller is not None
    return elsewhere or (job.state is JobState.SUSPENDED and not stopped_by_us(situation, job))


def stopped_by_us(situation: Situation, job: ObservedJob) -> bool:
    """Whether this operator stopped the Job."""
    workload = job.queueing.workload
    if workload:
        return workload.stopped_by_us and not workload.active
    return job.queueing.stopped_by_us or _by_earlier_release(situation, job)


def _by_earlier_release(situation: Situation, job: ObservedJob) -> bool:
    """Whether a release that did not mark what it suspended suspended the Job: after the Distillation was."""
    suspended, since = find_condition(situation.previous, ConditionType.SUSPENDED), job.queueing.suspended_since
    if suspended is None or since is None or job.queueing.queue or job.state is not JobState.SUSPENDED:
        return False
    return since >= suspended.last_transition_time


def is_outdated_in_queue(situation: Situation, planned: PlannedStage, job: ObservedJob) -> bool:
    """Whether the user has changed what a held Job was made from. Nothing else costs it its turn."""
    made_from = job.queueing.configuration
    return made_from is not None and made_from != user_configuration(situation.plan, planned.stage)


def holding_problem(situation: Situation, job: ObservedJob | None) -> Problem | None:
    """Why somebody else does not resume the Job."""
    if job is None or situation.plan.suspended or not is_held(situation, job):
        return None
    queueing = job.queueing
    if queueing.other_controller:
        where = f"the queue {queueing.queue}" if queueing.queue else queueing.other_controller
        return Problem(Reason.INVALID_SPEC, f"{where} {_TRAVELLING}")
    if queueing.queue is None:
        return Problem(
            Reason.QUEUED,
            f"the Job {job.name} is suspended, and not by this operator; it goes on once spec.suspend of the Job is"
            " false again",
        )
    return _in_queue(job, queueing.queue, queueing.workload)


def _in_queue(job: ObservedJob, queue: str, workload: ObservedWorkload | None) -> Problem:
    waits = f"the Job {job.name} waits in the queue {queue}"
    if job.queueing.unreadable:
        return Problem(Reason.QUEUED, f"{waits}, but {job.queueing.unreadable}")
    if workload is None:
        return Problem(Reason.QUEUED, f"{waits}; Kueue has no Workload for it yet")
    if workload.given_up:
        return Problem(
            Reason.UNSCHEDULABLE,
            f"Kueue has given up the Job {job.name} in the queue {queue}: {workload.message}; delete the Job to"
            " queue it again",
        )
    return Problem(Reason.QUEUED, f"{waits}: {workload.message}" if workload.message else waits)


def is_out_of_reach(job: ObservedJob) -> bool:
    """Whether only Kueue can stop the Job, and this operator may not ask it to."""
    return job.queueing.queue is not None and job.queueing.forbidden


def only_a_person_can_resume(job: ObservedJob | None) -> bool:
    """Whether no time will resume a held Job."""
    workload = job.queueing.workload if job else None
    return job is not None and (bool(job.queueing.other_controller) or bool(workload and workload.given_up))


def queue_requeue(situation: Situation, job: ObservedJob | None) -> timedelta | None:
    """When to read again why the Job waits in its queue; None where it does not."""
    if job is None or job.queueing.queue is None or job.state is not JobState.SUSPENDED:
        return None
    workload = job.queueing.workload
    reported = job.queueing.unreadable or (workload and workload.message)
    young = job.created is not None and situation.now - job.created < QUEUE_REQUEUE
    changing = workload is not None and workload.changing
    return FIRST_QUEUE_REQUEUE if changing or (young and not reported) else QUEUE_REQUEUE
