"""From child objects, as the API server returns them, to a typed observation.

Everything that later code needs to know about Jobs, Pods and the Deployment is read here, once, so that nothing else
looks into raw objects. Causes are named as a person would name them: not "job failed" but the missing key of a Secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_api.resource import KIND
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_operator.core.observation import (
    Children,
    JobState,
    Observation,
    ObservedBudget,
    ObservedClaim,
    ObservedConfigMap,
    ObservedDeployment,
    ObservedJob,
    ObservedService,
    Ownership,
    Raw,
)
from distillery_operator.core.pod_problems import (
    container_end,
    created,
    is_active,
    pending_problem,
    server_problem,
    timestamp,
)
from distillery_operator.core.problem import Problem
from distillery_operator.core.quota import frees_itself
from distillery_operator.manifests.pod_template import requires_server
from distillery_operator.manifests.server import server_from_annotation
from distillery_operator.planning import names

UNEXPLAINED_AFTER = timedelta(seconds=20)
"""A Pod that has not started by then, and does not say why, may have events that do."""


def observe(children: Children, *, owner_uid: str, now: datetime) -> Observation:
    """The observation of `children` by the Distillation with the UID `owner_uid`."""
    stage_pods = [pod for pod in children.pods if _component(pod) in tuple(Stage)]
    serving_pods = [pod for pod in children.pods if _component(pod) == names.SERVING_COMPONENT]
    jobs = tuple(_observed_job(job, stage_pods, children.events, owner_uid, now) for job in children.jobs)
    return Observation(
        claim=_observed_claim(children.claim, owner_uid),
        jobs=jobs,
        orphaned_pods=_orphaned_pods(stage_pods, jobs),
        deployment=_observed_deployment(children.deployment, serving_pods, children.events, owner_uid, now),
        service=_observed_service(children.service, owner_uid),
        config_maps=tuple(_observed_config_map(each, owner_uid) for each in children.config_maps),
        disruption_budget=_observed_budget(children.disruption_budget, owner_uid),
        server_on_node=any(pod["spec"].get("nodeName") and is_active(pod) for pod in serving_pods),
        unexplained=(*_unexplained_jobs(jobs, now), *_unexplained_servers(serving_pods, now)),
    )


def _labels(raw: Raw) -> Mapping[str, str]:
    labels: Mapping[str, str] = raw["metadata"].get("labels") or {}
    return labels


def _component(raw: Raw) -> str | None:
    return _labels(raw).get(names.COMPONENT_LABEL)


def _conditions(raw: Raw) -> dict[str, Raw]:
    conditions: Iterable[Raw] = (raw.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in conditions}


def _holds(raw: Raw, condition: str) -> bool:
    return _conditions(raw).get(condition, {}).get("status") == "True"


def _ownership(raw: Raw, owner_uid: str) -> Ownership:
    owners = [owner for owner in raw["metadata"].get("ownerReferences") or () if owner.get("kind") == KIND]
    if any(owner["uid"] == owner_uid for owner in owners):
        return Ownership.TERMINATING if raw["metadata"].get("deletionTimestamp") else Ownership.OURS
    # Its owner was an earlier resource of this name: the garbage collector has not deleted it yet.
    if any(owner["name"] == _labels(raw).get(names.NAME_LABEL) for owner in owners):
        return Ownership.TERMINATING
    return Ownership.FOREIGN


def _observed_claim(raw: Raw | None, owner_uid: str) -> ObservedClaim | None:
    if raw is None:
        return None
    ours = _labels(raw).get(names.UID_LABEL) == owner_uid
    terminating = bool(raw["metadata"].get("deletionTimestamp"))
    ownership = Ownership.TERMINATING if terminating else Ownership.OURS if ours else Ownership.FOREIGN
    shared = "ReadWriteMany" in raw["spec"].get("accessModes", ())
    return ObservedClaim(ownership, shared, (raw.get("status") or {}).get("phase") == "Lost", raw)


def _observed_service(raw: Raw | None, owner_uid: str) -> ObservedService | None:
    return ObservedService(_ownership(raw, owner_uid), raw) if raw else None


def _observed_config_map(raw: Raw, owner_uid: str) -> ObservedConfigMap:
    return ObservedConfigMap(raw["metadata"]["name"], _ownership(raw, owner_uid), raw)


def _observed_budget(raw: Raw | None, owner_uid: str) -> ObservedBudget | None:
    return ObservedBudget(_ownership(raw, owner_uid), raw) if raw else None


@dataclass(frozen=True)
class _AttemptState:
    """The state of an attempt, and how it ended if it has."""

    state: JobState
    problem: Problem | None = None
    result: StageResult | None = None
    exit_code: int | None = None
    finished: datetime | None = None


def _observed_job(job: Raw, pods: list[Raw], events: tuple[Raw, ...], owner_uid: str, now: datetime) -> ObservedJob:
    ownership = _ownership(job, owner_uid)
    if ownership is Ownership.FOREIGN:
        return ObservedJob(name=job["metadata"]["name"], created=created(job), state=JobState.FOREIGN)
    pod = _latest_pod(job, pods)
    terminating = _AttemptState(JobState.TERMINATING) if ownership is Ownership.TERMINATING else None
    attempt = terminating or _ended_state(job, pod) or _unended_state(job, pod, events, now)
    return ObservedJob(
        name=job["metadata"]["name"],
        stage=_stage(job),
        input_hash=_labels(job).get(names.HASH_LABEL, ""),
        attempt=_attempt_number(job),
        state=attempt.state,
        created=created(job),
        finished=attempt.finished,
        exit_code=attempt.exit_code,
        result=attempt.result,
        problem=attempt.problem,
        pod=pod["metadata"]["name"] if pod else None,
        pod_ip=(pod.get("status") or {}).get("podIP") if pod else None,
        is_active=pod is not None and is_active(pod),
        beside_server=requires_server(job),
    )


def _stage(job: Raw) -> Stage | None:
    component = _component(job)
    return Stage(component) if component in tuple(Stage) else None


def _attempt_number(job: Raw) -> int:
    attempt = _labels(job).get(names.ATTEMPT_LABEL, "")
    return int(attempt) if attempt.isdigit() else 0


def _latest_pod(job: Raw, pods: list[Raw]) -> Raw | None:
    uid = job["metadata"].get("uid")
    own = [pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())]
    # A Pod that ended well counts before a later one.
    return max(own, key=lambda pod: (_done_result(pod) is not None, _creation(pod)), default=None)


def _creation(raw: Raw) -> str:
    return str(raw["metadata"].get("creationTimestamp") or "")


def _done_result(pod: Raw | None) -> StageResult | None:
    """The result of a stage that is done. Its container counts, not the Pod: a sidecar may outlive it, or fail."""
    end = container_end(pod) if pod else None
    done = end and end.exit_code == 0 and end.result and end.result.state is StageOutcome.DONE
    return end.result if end and done else None


def _ended_state(job: Raw, pod: Raw | None) -> _AttemptState | None:
    """How the attempt ended, or None while it has not."""
    end = container_end(pod) if pod else None
    if end and _done_result(pod):
        return _AttemptState(JobState.DONE, result=end.result, exit_code=0, finished=end.finished)
    if _holds(job, "Complete"):
        return _AttemptState(JobState.FAILED, _LOST_RESULT, finished=_finished(job, "Complete"))
    if not _holds(job, "Failed"):
        return None
    finished = _finished(job, "Failed")
    if end is None:
        return _AttemptState(JobState.FAILED, _job_failure(_conditions(job)["Failed"], pod), finished=finished)
    return _AttemptState(JobState.FAILED, end.problem, end.result, end.exit_code, finished)


def _job_failure(failed: Raw, pod: Raw | None) -> Problem:
    """Why a Job failed whose Pod does not say why."""
    if pod is None and failed.get("reason") == "BackoffLimitExceeded":
        return Problem(None, "its Pod was deleted, and its last message with it")
    return Problem(None, f"the Job failed: {failed.get('message') or failed.get('reason')}")


_LOST_RESULT = Problem(None, "the Job completed, but its termination message with the result is missing or invalid")


def _finished(job: Raw, condition: str) -> datetime | None:
    return timestamp(_conditions(job)[condition].get("lastTransitionTime"))


def _unended_state(job: Raw, pod: Raw | None, events: tuple[Raw, ...], now: datetime) -> _AttemptState:
    """The state of an attempt that has not ended."""
    if job["spec"].get("suspend"):
        return _AttemptState(JobState.SUSPENDED)
    if pod is None:
        return _AttemptState(JobState.PENDING, _job_problem(job, events))
    problem = pending_problem(pod, events, now)
    running = problem is None and (pod.get("status") or {}).get("phase") == "Running" and is_active(pod)
    return _AttemptState(JobState.RUNNING if running else JobState.PENDING, problem)


def _job_problem(job: Raw, events: tuple[Raw, ...]) -> Problem | None:
    """Why a Job has no Pod."""
    name = job["metadata"]["name"]
    refused = [e for e in events if e["involvedObject"].get("name") == name and e.get("reason") == "FailedCreate"]
    return _pod_refused(refused[-1].get("message", "")) if refused else None


def _replica_problem(deployment: Raw) -> Problem | None:
    """Why a Deployment has no Pod."""
    if not _holds(deployment, "ReplicaFailure"):
        return None
    return _pod_refused(_conditions(deployment)["ReplicaFailure"].get("message", ""))


def _pod_refused(message: str) -> Problem:
    """A quota, or the namespace's pod security, refused a Pod. A quota that others use up frees itself, so that is no
    more than a queue."""
    reason = Reason.QUEUED if frees_itself(message) else Reason.POD_REFUSED
    return Problem(reason, f"its Pod was refused: {message}")


def _orphaned_pods(stage_pods: list[Raw], jobs: tuple[ObservedJob, ...]) -> tuple[str, ...]:
    known = {job.pod for job in jobs}
    return tuple(
        sorted(pod["metadata"]["name"] for pod in stage_pods if is_active(pod) and pod["metadata"]["name"] not in known)
    )


def _unexplained_jobs(jobs: tuple[ObservedJob, ...], now: datetime) -> Iterable[str]:
    unexplained = (job for job in jobs if job.state is JobState.PENDING and not job.problem)
    return (job.pod or job.name for job in unexplained if _is_overdue(job.created, now))


def _unexplained_servers(pods: list[Raw], now: datetime) -> Iterable[str]:
    pending = (pod for pod in pods if (pod.get("status") or {}).get("phase") == "Pending")
    unexplained = (pod for pod in pending if not pending_problem(pod, (), now))
    return (pod["metadata"]["name"] for pod in unexplained if _is_overdue(created(pod), now))


def _is_overdue(since: datetime | None, now: datetime) -> bool:
    return since is not None and now - since > UNEXPLAINED_AFTER


def _observed_deployment(
    raw: Raw | None, pods: list[Raw], events: tuple[Raw, ...], owner_uid: str, now: datetime
) -> ObservedDeployment | None:
    if raw is None:
        return None
    status, metadata = raw.get("status") or {}, raw["metadata"]
    annotations = metadata.get("annotations") or {}
    train_hash = _labels(raw).get(names.HASH_LABEL, "")
    newest = [pod for pod in pods if _labels(pod).get(names.HASH_LABEL) == train_hash]
    return ObservedDeployment(
        ownership=_ownership(raw, owner_uid),
        train_hash=train_hash,
        model_path=annotations.get(names.MODEL_PATH_ANNOTATION, ""),
        student_prompt=annotations.get(names.STUDENT_PROMPT_ANNOTATION, ""),
        precision=annotations.get(names.PRECISION_ANNOTATION, ""),
        digest=annotations.get(names.DIGEST_ANNOTATION, ""),
        server=server_from_annotation(annotations.get(names.SERVER_ANNOTATION, "")),
        image=_served_image(raw),
        desired=raw["spec"].get("replicas", 1),
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("availableReplicas", 0),
        current=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        deadline_exceeded=_conditions(raw).get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded",
        problem=server_problem(newest, events, now) or _replica_problem(raw),
        manifest=raw,
    )


def _served_image(raw: Raw) -> str | None:
    containers = raw["spec"]["template"]["spec"]["containers"]
    return next((each["image"] for each in containers if each["name"] == names.STAGE_CONTAINER), None)
