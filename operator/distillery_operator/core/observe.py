"""From child objects, as the API server returns them, to a typed observation.

Everything that later code needs to know about Jobs, Pods and the Deployment is read here, once, so that nothing else
looks into raw objects. Causes are named as a person would name them: not "job failed" but the missing key of a Secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from distillery_api.reasons import Reason
from distillery_api.resource import KIND
from distillery_api.spec import RouteKind
from distillery_api.stage import Stage
from distillery_operator.core.attempt_state import (
    AttemptState,
    attempt_state,
    is_done,
    job_has_finished,
    job_start,
    refused_pod,
)
from distillery_operator.core.lost_nodes import lost_pod
from distillery_operator.core.observation import (
    Children,
    HostObjects,
    JobState,
    Observation,
    ObservedChild,
    ObservedClaim,
    ObservedConfigMap,
    ObservedDeployment,
    ObservedHost,
    ObservedJob,
    Ownership,
    Raw,
    ReadyPod,
)
from distillery_operator.core.observe_queue import observed_queueing
from distillery_operator.core.observe_route import observed_route
from distillery_operator.core.observe_shared_server import guests_deployment, observed_guest, observed_host
from distillery_operator.core.pod_problems import (
    created,
    is_active,
    is_ready,
    pending_problem,
    pods_of,
    scheduling_time,
    server_problem,
    stage_start,
)
from distillery_operator.core.problem import Problem
from distillery_operator.core.several_pods import is_on_several_nodes, telling_pod
from distillery_operator.core.unbound_claims import claim_problem, is_unbound
from distillery_operator.manifests.model_image import takes_image
from distillery_operator.manifests.pod_template import requires_server
from distillery_operator.manifests.server import server_from_annotation
from distillery_operator.planning import names

UNEXPLAINED_AFTER = timedelta(seconds=20)
"""A Pod that has not started by then, and does not say why, may have events that do."""


def observe(children: Children, *, owner_uid: str, now: datetime) -> Observation:
    """The observation of `children` by the Distillation with the UID `owner_uid`."""
    stage_pods = [pod for pod in children.pods if _component(pod) in tuple(Stage)]
    servers_pods = children.host.pods if children.host else children.pods
    serving_pods = [pod for pod in servers_pods if _component(pod) == names.SERVING_COMPONENT]
    stable_pods = [pod for pod in serving_pods if names.TRACK_LABEL not in _labels(pod)]
    candidate_pods = [pod for pod in serving_pods if names.TRACK_LABEL in _labels(pod)]
    server = partial(_server_ownership, owner_uid=owner_uid, name_of=names.serving_name)
    candidate = partial(_server_ownership, owner_uid=owner_uid, name_of=names.candidate_name)
    host = _observed_host(children.host, stable_pods, children.events, now) if children.host else None
    unbound = claim_problem(children.claim, children.events)
    jobs = tuple(
        _waiting_for_volume(_observed_job(job, stage_pods, children, owner_uid, now), unbound) for job in children.jobs
    )
    return Observation(
        claim=_observed_claim(children.claim, owner_uid),
        jobs=jobs,
        orphaned_pods=_orphaned_pods([*_without_those_of_several_nodes(stage_pods, children.jobs)], jobs),
        lost_pod=lost_pod(stage_pods, now),
        deployment=(
            _guests_deployment(children, owner_uid, host)
            if host
            else _observed_deployment(children.deployment, stable_pods, children.events, server, now)
        ),
        host=host,
        guests=tuple(observed_guest(each) for each in children.guests),
        service=_observed_child(children.service, server),
        candidate=_observed_deployment(children.candidate, candidate_pods, children.events, candidate, now),
        candidate_service=_observed_child(children.candidate_service, candidate),
        config_maps=tuple(_observed_config_map(each, owner_uid) for each in children.config_maps),
        disruption_budget=_observed_child(children.disruption_budget, server),
        routes={
            RouteKind(each["kind"]): observed_route(each, _ownership(each, owner_uid))
            for each in (children.http_route, children.ingress)
            if each
        },
        server_on_node=any(_is_on_node(pod, now) for pod in serving_pods),
        server_holds_workspace=any(_is_on_node(pod, now) and not takes_image(pod["spec"]) for pod in serving_pods),
        unexplained=(
            *_unexplained_jobs(jobs, now),
            *_unexplained_servers(serving_pods, now),
            *_unexplained_claims(children.claim, jobs, now),
        ),
    )


def _is_on_node(pod: Raw, now: datetime) -> bool:
    """Whether a Pod uses its node. One that is lost with its node is not waited for: nobody knows for how long."""
    return bool(pod["spec"].get("nodeName")) and is_active(pod) and lost_pod([pod], now) is None


def _labels(raw: Raw) -> Mapping[str, str]:
    labels: Mapping[str, str] = raw["metadata"].get("labels") or {}
    return labels


def _component(raw: Raw) -> str | None:
    return _labels(raw).get(names.COMPONENT_LABEL)


def _conditions(raw: Raw) -> dict[str, Raw]:
    conditions: Iterable[Raw] = (raw.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in conditions}


def _ownership(raw: Raw, owner_uid: str) -> Ownership:
    owners = [owner for owner in raw["metadata"].get("ownerReferences") or () if owner.get("kind") == KIND]
    if any(owner["uid"] == owner_uid for owner in owners):
        return Ownership.TERMINATING if raw["metadata"].get("deletionTimestamp") else Ownership.OURS
    # Its owner was an earlier resource of this name: the garbage collector has not deleted it yet.
    if any(owner["name"] == _labels(raw).get(names.NAME_LABEL) for owner in owners):
        return Ownership.TERMINATING
    return Ownership.FOREIGN


def _server_ownership(raw: Raw, owner_uid: str, name_of: Callable[[str], str]) -> Ownership:
    """Whose a child of a server is. The candidate of `x` and the server of a Distillation `x-candidate` have the same
    name: to either one, what is the other's is foreign."""
    owner = _labels(raw).get(names.NAME_LABEL)
    ours = any(each["uid"] == owner_uid for each in raw["metadata"].get("ownerReferences") or ())
    of_another = owner is not None and raw["metadata"]["name"] != name_of(owner)
    return Ownership.FOREIGN if of_another and not ours else _ownership(raw, owner_uid)


def _observed_claim(raw: Raw | None, owner_uid: str) -> ObservedClaim | None:
    if raw is None:
        return None
    ours = _labels(raw).get(names.UID_LABEL) == owner_uid
    terminating = bool(raw["metadata"].get("deletionTimestamp"))
    ownership = Ownership.TERMINATING if terminating else Ownership.OURS if ours else Ownership.FOREIGN
    shared = "ReadWriteMany" in raw["spec"].get("accessModes", ())
    status = raw.get("status") or {}
    holding = {kind: each for kind, each in _conditions(raw).items() if each.get("status") == "True"}
    return ObservedClaim(
        ownership,
        shared,
        lost=status.get("phase") == "Lost",
        uid=raw["metadata"].get("uid") or "",
        bound=status.get("phase") == "Bound",
        requested=((raw["spec"].get("resources") or {}).get("requests") or {}).get("storage"),
        capacity=(status.get("capacity") or {}).get("storage"),
        conditions={kind: each.get("message") or kind for kind, each in holding.items()},
        manifest=raw,
    )


def _observed_child(raw: Raw | None, ownership: Callable[[Raw], Ownership]) -> ObservedChild | None:
    return ObservedChild(ownership(raw), raw) if raw else None


def _observed_config_map(raw: Raw, owner_uid: str) -> ObservedConfigMap:
    return ObservedConfigMap(raw["metadata"]["name"], _ownership(raw, owner_uid), raw)


def _observed_job(job: Raw, pods: list[Raw], children: Children, owner_uid: str, now: datetime) -> ObservedJob:
    ownership = _ownership(job, owner_uid)
    if ownership is Ownership.FOREIGN:
        return ObservedJob(name=job["metadata"]["name"], created=created(job), state=JobState.FOREIGN)
    pod = _latest_pod(job, pods, children.events, now)
    terminating = AttemptState(JobState.TERMINATING) if ownership is Ownership.TERMINATING else None
    attempt = terminating or attempt_state(job, pod, children.events, now)
    return ObservedJob(
        name=job["metadata"]["name"],
        stage=_stage(job),
        input_hash=_labels(job).get(names.HASH_LABEL, ""),
        attempt=_attempt_number(job),
        state=attempt.state,
        created=created(job),
        started=job_start(job),
        stage_started=stage_start(pod) if pod else None,
        waits_since=_waits_since(job, pod),
        deadline_seconds=job["spec"].get("activeDeadlineSeconds"),
        finished=attempt.finished,
        exit_code=attempt.exit_code,
        result=attempt.result,
        problem=attempt.problem,
        image=_image(job),
        pod=pod["metadata"]["name"] if pod else None,
        pod_ip=(pod.get("status") or {}).get("podIP") if pod else None,
        is_active=pod is not None and is_active(pod),
        queueing=observed_queueing(job, children.workloads),
        beside_server=requires_server(job),
        has_finished=job_has_finished(job),
        ttl_seconds=job["spec"].get("ttlSecondsAfterFinished"),
    )


def _waiting_for_volume(job: ObservedJob, unbound: Problem | None) -> ObservedJob:
    """The Job, with what keeps its claim from getting a volume where the scheduler cannot say more."""
    unexplained = job.problem is None or job.problem.reason is Reason.UNSCHEDULABLE
    return replace(job, problem=unbound) if unbound and unexplained and job.state is JobState.PENDING else job


def _stage(job: Raw) -> Stage | None:
    component = _component(job)
    return Stage(component) if component in tuple(Stage) else None


def _attempt_number(job: Raw) -> int:
    attempt = _labels(job).get(names.ATTEMPT_LABEL, "")
    return int(attempt) if attempt.isdigit() else 0


def _latest_pod(job: Raw, pods: list[Raw], events: tuple[Raw, ...], now: datetime) -> Raw | None:
    of_job = pods_of(job, pods)
    if is_on_several_nodes(job):
        return telling_pod(of_job, events, now)
    # A Pod that ended well counts before a later one.
    return max(of_job, key=lambda pod: (is_done(pod), _creation(pod)), default=None)


def _waits_since(job: Raw, pod: Raw | None) -> datetime | None:
    """Of the moments at which a Job gets further until its stage begins, the last one."""
    of_pod = (created(pod), scheduling_time(pod)) if pod else ()
    return max((each for each in (created(job), job_start(job), *of_pod) if each), default=None)


def _creation(raw: Raw) -> str:
    return str(raw["metadata"].get("creationTimestamp") or "")


def _replica_problem(deployment: Raw) -> Problem | None:
    """Why a Deployment has no Pod."""
    failure = _conditions(deployment).get("ReplicaFailure", {})
    return refused_pod(failure.get("message", "")) if failure.get("status") == "True" else None


def _without_those_of_several_nodes(stage_pods: list[Raw], jobs: Iterable[Raw]) -> Iterable[Raw]:
    """The Pods without those of Jobs that have several at a time."""
    several = {pod["metadata"]["name"] for job in jobs if is_on_several_nodes(job) for pod in pods_of(job, stage_pods)}
    return (pod for pod in stage_pods if pod["metadata"]["name"] not in several)


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


def _unexplained_claims(claim: Raw | None, jobs: tuple[ObservedJob, ...], now: datetime) -> Iterable[str]:
    waiting = any(job.state is JobState.PENDING and _is_overdue(job.created, now) for job in jobs)
    return (claim["metadata"]["name"],) if claim and waiting and is_unbound(claim) else ()


def _is_overdue(since: datetime | None, now: datetime) -> bool:
    return since is not None and now - since > UNEXPLAINED_AFTER


def _observed_host(objects: HostObjects, pods: list[Raw], events: tuple[Raw, ...], now: datetime) -> ObservedHost:
    ownership = partial(_server_ownership, owner_uid=objects.uid, name_of=names.serving_name)
    return observed_host(objects, _observed_deployment(objects.deployment, pods, events, ownership, now))


def _guests_deployment(children: Children, owner_uid: str, host: ObservedHost) -> ObservedDeployment | None:
    kept = next((each for each in children.config_maps if _component(each) == names.SERVING_COMPONENT), None)
    return guests_deployment(kept, _ownership(kept, owner_uid), host) if kept else None


def _observed_deployment(
    raw: Raw | None,
    pods: list[Raw],
    events: tuple[Raw, ...],
    ownership: Callable[[Raw], Ownership],
    now: datetime,
) -> ObservedDeployment | None:
    if raw is None:
        return None
    status, metadata = raw.get("status") or {}, raw["metadata"]
    annotations = metadata.get("annotations") or {}
    train_hash = _labels(raw).get(names.HASH_LABEL, "")
    newest = [pod for pod in pods if _is_newest(pod, raw)]
    return ObservedDeployment(
        ownership=ownership(raw),
        train_hash=train_hash,
        model_path=annotations.get(names.MODEL_PATH_ANNOTATION, ""),
        student_prompt=annotations.get(names.STUDENT_PROMPT_ANNOTATION, ""),
        precision=annotations.get(names.PRECISION_ANNOTATION, ""),
        digest=annotations.get(names.DIGEST_ANNOTATION, ""),
        server=server_from_annotation(annotations.get(names.SERVER_ANNOTATION, "")),
        fallback=server_from_annotation(annotations.get(names.FALLBACK_ANNOTATION, "")),
        ready_pods=tuple(_ready_pod(pod) for pod in pods if is_ready(pod)),
        image=_image(raw),
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


def _image(raw: Raw) -> str | None:
    """The image of the generated container in the template of a Job or Deployment."""
    containers = (raw["spec"].get("template") or {}).get("spec", {}).get("containers", ())
    return next((each["image"] for each in containers if each["name"] == names.STAGE_CONTAINER), None)


def _is_newest(pod: Raw, deployment: Raw) -> bool:
    """Whether a serving Pod is of the Deployment's present template."""
    template = (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return all(_labels(pod).get(name) == template.get(name) for name in (names.HASH_LABEL, names.SERVER_LABEL))


def _ready_pod(pod: Raw) -> ReadyPod:
    ip = (pod.get("status") or {}).get("podIP") or ""
    return ReadyPod(_labels(pod).get(names.SERVER_LABEL, ""), _labels(pod).get(names.HASH_LABEL, ""), ip)
