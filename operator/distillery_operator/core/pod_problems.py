"""What a Pod's state says about its generated container: how it ended, or what keeps it from starting."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_api.stage import ExitCode
from distillery_api.stage_result import StageResult
from distillery_operator.core.observation import Raw
from distillery_operator.core.problem import Problem
from distillery_operator.planning.names import STAGE_CONTAINER

VOLUMES_SHOULD_BE_READY_AFTER = timedelta(seconds=60)

_MESSAGE_LIMIT = 600
_PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CREATION_REASONS = ("CreateContainerError", "RunContainerError")
_MOUNT_REASONS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_LOST_WITH_NODE = ("ContainerStatusUnknown", "Unknown")
_MISSING_OBJECT = re.compile(
    r"""(configmap|secret|persistentvolumeclaim|storageclass[.a-z0-9]*) ["'].+["'] not found"""
    r"|non-existent (?:config|secret) key"
)


@dataclass(frozen=True)
class ContainerEnd:
    """How the generated container ended."""

    exit_code: int | None
    finished: datetime | None
    result: StageResult | None
    problem: Problem | None
    """None where it succeeded."""


def timestamp(text: str | None) -> datetime | None:
    """A time in the format of the API server."""
    return datetime.fromisoformat(text) if text else None


def created(raw: Raw) -> datetime | None:
    """When an object was created."""
    return timestamp(raw["metadata"].get("creationTimestamp"))


def is_active(pod: Raw) -> bool:
    """Whether the generated container may still run; a sidecar that outlives it does not count."""
    if _status(pod).get("phase") in ("Succeeded", "Failed"):
        return False
    return not stage_container_ended(pod)


def pods_of(job: Raw, pods: Iterable[Raw]) -> list[Raw]:
    """The Pods that a Job has made."""
    uid = job["metadata"].get("uid")
    return [pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())]


def stage_container_ended(pod: Raw) -> bool:
    """Whether the generated container has ended, whatever its Pod does."""
    return "terminated" in (_stage_status(pod).get("state") or {})


def stage_start(pod: Raw) -> datetime | None:
    """When the generated container began, where it runs."""
    return timestamp(((_stage_status(pod).get("state") or {}).get("running") or {}).get("startedAt"))


def scheduling_time(pod: Raw) -> datetime | None:
    """When the scheduler last found a node for the Pod, or none."""
    return timestamp(pod_condition(pod, "PodScheduled").get("lastTransitionTime"))


def is_disrupted(pod: Raw) -> bool:
    """Whether the Pod is removed through no fault of its own: its Job creates another one afterwards."""
    return pod_condition(pod, "DisruptionTarget").get("status") == "True"


def is_ready(pod: Raw) -> bool:
    """Whether a serving Pod answers: it receives the requests to its Service."""
    return pod_condition(pod, "Ready").get("status") == "True" and not _is_terminating(pod)


def container_end(pod: Raw) -> ContainerEnd | None:
    """How the generated container ended, or the Pod without it; None while it has not."""
    terminated = (_stage_status(pod).get("state") or {}).get("terminated")
    if terminated:
        return _end(pod, terminated)
    if _status(pod).get("phase") == "Failed":
        return ContainerEnd(None, None, None, _pod_failure(pod))
    return None


def pending_problem(pod: Raw, events: Iterable[Raw], now: datetime) -> Problem | None:
    """What keeps the Pod from starting; None where it runs or nothing is wrong."""
    return (
        _disruption(pod)
        or _unschedulable(pod)
        or _waiting_problem(pod)
        or _mount_problem(pod, events)
        or _volumes_not_ready(pod, now)
    )


def server_problem(pods: Iterable[Raw], events: tuple[Raw, ...], now: datetime) -> Problem | None:
    """The first thing that keeps one of the serving Pods from answering."""
    problems = (pending_problem(pod, events, now) or _crash_loop(pod) for pod in pods if not _is_terminating(pod))
    return next((problem for problem in problems if problem), None)


def _status(pod: Raw) -> Raw:
    status: Raw = pod.get("status") or {}
    return status


def _is_terminating(pod: Raw) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def pod_condition(pod: Raw, kind: str) -> Raw:
    """The Pod's condition of that kind; empty where it has none."""
    conditions: Iterable[Raw] = _status(pod).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _container_statuses(pod: Raw) -> list[Raw]:
    status = _status(pod)
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _stage_status(pod: Raw) -> Raw:
    statuses: Iterable[Raw] = _status(pod).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == STAGE_CONTAINER), {})


def _end(pod: Raw, terminated: Raw) -> ContainerEnd:
    result = _result(terminated.get("message"))
    exit_code = terminated.get("exitCode")
    return ContainerEnd(
        exit_code=exit_code,
        finished=timestamp(terminated.get("finishedAt")),
        result=result,
        problem=None if exit_code == ExitCode.DONE else _failure(pod, terminated, result),
    )


def _result(message: str | None) -> StageResult | None:
    """The stage's result, or None where the message is the end of a log, truncated or missing."""
    try:
        return StageResult.model_validate_json(message or "")
    except ValidationError:
        return None


def _failure(pod: Raw, terminated: Raw, result: StageResult | None) -> Problem:
    if terminated.get("reason") == "OOMKilled":
        return _out_of_memory(pod)
    if _status(pod).get("reason") == "Evicted":
        return _pod_failure(pod)
    if terminated.get("reason") in _LOST_WITH_NODE:
        node = pod["spec"].get("nodeName", "its node")
        return Problem(Reason.POD_EVICTED, f"the container was lost when {node} restarted")
    if result:
        return Problem(result.reason, result.message)
    output = _last_line(terminated.get("message"))
    exit_code = terminated.get("exitCode")
    return Problem(None, f"exit code {exit_code}: {output}" if output else f"exit code {exit_code} with no output")


def _out_of_memory(pod: Raw) -> Problem:
    containers = [each for each in pod["spec"].get("containers", ()) if each["name"] == STAGE_CONTAINER]
    limits = [(each.get("resources") or {}).get("limits") or {} for each in containers]
    memory = next((limit["memory"] for limit in limits if "memory" in limit), None)
    if memory:
        message = f"the container exceeded its memory limit of {memory} (OOMKilled); raise resources.limits.memory"
    else:
        message = (
            "the container was killed because its node ran out of memory (OOMKilled); set resources.requests.memory"
        )
    return Problem(Reason.CONTAINER_OOM_KILLED, message)


def _last_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return cleaned(lines[-1], _MESSAGE_LIMIT) if lines else ""


def _said(source: Raw) -> str:
    """The message of a status or a condition, else its reason."""
    return cleaned(source.get("message") or source.get("reason") or "", _MESSAGE_LIMIT)


def _pod_failure(pod: Raw) -> Problem:
    """Why a Pod failed as a whole, or by another of its containers."""
    status = _status(pod)
    if status.get("reason") == "Evicted":
        return Problem(Reason.POD_EVICTED, f"the Pod was evicted: {_said(status)}")
    ended = ((each["name"], (each.get("state") or {}).get("terminated") or {}) for each in _container_statuses(pod))
    for name, terminated in ended:
        if terminated.get("exitCode"):
            code, output = terminated["exitCode"], _last_line(terminated.get("message"))
            return Problem(None, f"the container {name} exited with code {code}{': ' if output else ''}{output}")
    return Problem(None, f"the Pod failed: {_said(status) or 'no reason was reported'}")


def _disruption(pod: Raw) -> Problem | None:
    if not is_disrupted(pod):
        return None
    node, condition = pod["spec"].get("nodeName", "its node"), pod_condition(pod, "DisruptionTarget")
    return Problem(Reason.POD_EVICTED, f"the Pod is being evicted from {node}: {_said(condition)}")


def _unschedulable(pod: Raw) -> Problem | None:
    condition = pod_condition(pod, "PodScheduled")
    if condition.get("status") != "False" or condition.get("reason") not in ("Unschedulable", "SchedulerError"):
        return None
    message = _said(condition)
    missing = _MISSING_OBJECT.search(message)
    return Problem(Reason.CONFIGURATION_MISSING if missing else Reason.UNSCHEDULABLE, message)


def _waiting_problem(pod: Raw) -> Problem | None:
    for status in _container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        message = waiting.get("message") or ""
        image = _image_of_volume(pod, message) or status.get("image")
        problem = _waiting(waiting.get("reason", ""), message, status["name"], image)
        if problem:
            return problem
    return None


def _image_of_volume(pod: Raw, message: str) -> str | None:
    """The image of a volume that the message is about, rather than about the container's."""
    volumes = pod["spec"].get("volumes") or ()
    references = (str(volume["image"].get("reference")) for volume in volumes if volume.get("image"))
    return next((reference for reference in references if reference in message), None)


def _waiting(reason: str, message: str, container: str, image: str | None) -> Problem | None:
    if reason in _PULL_REASONS:
        detail = cleaned(message or reason, _MESSAGE_LIMIT)
        return Problem(Reason.IMAGE_PULL_ERROR, f"the image {image} cannot be pulled: {detail}")
    if reason == "CreateContainerConfigError":
        return Problem(Reason.CONFIGURATION_MISSING, cleaned(message or reason, _MESSAGE_LIMIT))
    if reason in _CREATION_REASONS:
        detail = cleaned(message or reason, _MESSAGE_LIMIT)
        return Problem(Reason.INVALID_SPEC, f"the container {container} cannot be created: {detail}")
    return None


def _crash_loop(pod: Raw) -> Problem | None:
    """A server that stops each time it is started. Between two starts, only `lastState` says so."""
    status = _stage_status(pod)
    ended = (status.get("lastState") or {}).get("terminated")
    if status.get("ready") or not ended or not status.get("restartCount"):
        return None
    problem = _failure(pod, ended, None)
    return Problem(problem.reason or Reason.ROLLOUT_FAILED, f"the server stopped: {problem.message}")


def _mount_problem(pod: Raw, events: Iterable[Raw]) -> Problem | None:
    """Volumes that cannot be mounted: only events say so."""
    if _stage_status(pod).get("started") or "running" in (_stage_status(pod).get("state") or {}):
        return None
    name = pod["metadata"]["name"]
    messages = [
        event.get("message", "")
        for event in events
        if event["involvedObject"].get("name") == name and event.get("reason") in _MOUNT_REASONS
    ]
    if not messages:
        return None
    missing = _MISSING_OBJECT.search(messages[-1])
    reason = Reason.CONFIGURATION_MISSING if missing else Reason.VOLUME_UNAVAILABLE
    return Problem(reason, cleaned(messages[-1], _MESSAGE_LIMIT))


def _volumes_not_ready(pod: Raw, now: datetime) -> Problem | None:
    """What the Pod's own state says where no event does: its volumes are mounted before its images are pulled."""
    scheduled, ready = pod_condition(pod, "PodScheduled"), pod_condition(pod, "PodReadyToStartContainers")
    since = scheduling_time(pod)
    waits = scheduled.get("status") == "True" and ready.get("status") == "False"
    if not waits or _status(pod).get("phase") != "Pending" or since is None:
        return None
    if now - since < VOLUMES_SHOULD_BE_READY_AFTER:
        return None
    name = pod["metadata"]["name"]
    return Problem(
        Reason.VOLUME_UNAVAILABLE,
        f"the volumes of Pod {name} are not ready; run kubectl describe pod {name} for the cause",
    )
