"""Where one attempt at a stage is, as its Job and its Pod show it.

The `stage` container is the truth, not its Pod and not the Job: a sidecar (of Vault, of a service mesh) may outlive the
stage, and then neither of them ever ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_operator.core.lost_nodes import node_problem
from distillery_operator.core.observation import JobState, Raw
from distillery_operator.core.pod_problems import (
    ContainerEnd,
    container_end,
    is_active,
    is_disrupted,
    pending_problem,
    pods_of,
    stage_container_ended,
    timestamp,
)
from distillery_operator.core.problem import Problem
from distillery_operator.core.quota import frees_itself

_LOST_RESULT = Problem(None, "the Job completed, but its termination message with the result is missing or invalid")
_TOO_LONG = Problem(
    Reason.DEADLINE_EXCEEDED,
    "the attempt ran for longer than the stage's timeout; what it has saved is kept, so raise or remove timeout in the"
    " spec, and it goes on from there",
)
_DEADLINE = "DeadlineExceeded"


@dataclass(frozen=True)
class AttemptState:
    """The state of an attempt, and how it ended if it has."""

    state: JobState
    problem: Problem | None = None
    result: StageResult | None = None
    exit_code: int | None = None
    finished: datetime | None = None


def attempt_state(job: Raw, pod: Raw | None, events: tuple[Raw, ...], now: datetime) -> AttemptState:
    """The state of the attempt that `job` is, by its latest Pod."""
    return _ended_state(job, pod) or _unended_state(job, pod, events, now)


def job_has_finished(job: Raw) -> bool:
    """Whether the Job itself has ended, and all its Pods."""
    return _holds(job, "Complete") or _holds(job, "Failed")


def lacks_the_end_of_its_pod(job: Raw, pods: Iterable[Raw]) -> bool:
    """Whether the Job has ended while no Pod of its own is known to have: each kind has a watch of its own, and one may
    be behind the other."""
    return job_has_finished(job) and not any(stage_container_ended(pod) for pod in pods_of(job, pods))


def job_start(job: Raw) -> datetime | None:
    """When the Job began, or was last resumed."""
    return timestamp((job.get("status") or {}).get("startTime"))


def is_done(pod: Raw | None) -> bool:
    """Whether the stage is done. Its container counts, not the Pod: a sidecar may outlive it, or fail."""
    end = container_end(pod) if pod else None
    return end is not None and _succeeded(end)


def _succeeded(end: ContainerEnd) -> bool:
    return end.exit_code == 0 and end.result is not None and end.result.state is StageOutcome.DONE


def _ended_state(job: Raw, pod: Raw | None) -> AttemptState | None:
    """How the attempt ended, or None while it has not."""
    end = container_end(pod) if pod else None
    if end and _succeeded(end):
        return AttemptState(JobState.DONE, result=end.result, exit_code=0, finished=end.finished)
    if _holds(job, "Complete"):
        return AttemptState(JobState.FAILED, _LOST_RESULT, finished=_finished(job, "Complete"))
    if not _holds(job, "Failed"):
        return _failed_before_its_job(job, pod, end)
    finished = _finished(job, "Failed")
    if _is_past_deadline(job, end):
        return AttemptState(JobState.FAILED, _TOO_LONG, end.result if end else None, None, finished)
    if end is None:
        return AttemptState(JobState.FAILED, _job_failure(_conditions(job)["Failed"], pod), finished=finished)
    return AttemptState(JobState.FAILED, end.problem, end.result, end.exit_code, finished)


def _failed_before_its_job(job: Raw, pod: Raw | None, end: ContainerEnd | None) -> AttemptState | None:
    """How a stage failed whose Job goes on: for a moment, or for as long as a sidecar runs. A Pod that is removed
    through no fault of its own is replaced by its Job, and so is that of a suspended Job once it goes on."""
    if pod is None or end is None or not stage_container_ended(pod) or is_disrupted(pod) or job["spec"].get("suspend"):
        return None
    if _is_past_deadline(job, end):
        return AttemptState(JobState.FAILED, _TOO_LONG, end.result, None, end.finished)
    return AttemptState(JobState.FAILED, end.problem or _LOST_RESULT, end.result, end.exit_code, end.finished)


def _is_past_deadline(job: Raw, end: ContainerEnd | None) -> bool:
    """Whether the attempt was stopped because it ran for too long. The Job says so a moment after its Pod."""
    conditions = (_conditions(job).get(kind, {}) for kind in ("Failed", "FailureTarget"))
    if any(each.get("reason") == _DEADLINE for each in conditions):
        return True
    seconds, started = job["spec"].get("activeDeadlineSeconds"), job_start(job)
    if seconds is None or started is None or end is None or end.finished is None or end.exit_code == 0:
        return False
    return end.finished >= started + timedelta(seconds=seconds)


def _job_failure(failed: Raw, pod: Raw | None) -> Problem:
    """Why a Job failed whose Pod does not say why."""
    if pod is None and failed.get("reason") == "BackoffLimitExceeded":
        return Problem(None, "its Pod was deleted, and its last message with it")
    return Problem(None, f"the Job failed: {failed.get('message') or failed.get('reason')}")


def _conditions(raw: Raw) -> Mapping[str, Raw]:
    conditions: Iterable[Raw] = (raw.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in conditions}


def _holds(raw: Raw, condition: str) -> bool:
    return _conditions(raw).get(condition, {}).get("status") == "True"


def _finished(job: Raw, condition: str) -> datetime | None:
    return timestamp(_conditions(job)[condition].get("lastTransitionTime"))


def _unended_state(job: Raw, pod: Raw | None, events: tuple[Raw, ...], now: datetime) -> AttemptState:
    """The state of an attempt that has not ended."""
    if job["spec"].get("suspend"):
        return AttemptState(JobState.SUSPENDED)
    if pod is None:
        return AttemptState(JobState.PENDING, _job_problem(job, events))
    problem = node_problem(pod, now) or pending_problem(pod, events, now)
    running = problem is None and (pod.get("status") or {}).get("phase") == "Running" and is_active(pod)
    return AttemptState(JobState.RUNNING if running else JobState.PENDING, problem)


def _job_problem(job: Raw, events: tuple[Raw, ...]) -> Problem | None:
    """Why a Job has no Pod."""
    name = job["metadata"]["name"]
    refused = [e for e in events if e["involvedObject"].get("name") == name and e.get("reason") == "FailedCreate"]
    return refused_pod(refused[-1].get("message", "")) if refused else None


def refused_pod(message: str) -> Problem:
    """A quota, or the namespace's pod security, refused a Pod. A quota that others use up frees itself, so that is no
    more than a queue."""
    reason = Reason.QUEUED if frees_itself(message) else Reason.POD_REFUSED
    return Problem(reason, f"its Pod was refused: {message}")
