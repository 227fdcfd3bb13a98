"""A pod's status from the states of its containers: pure functions, in the kubelet's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from process_node.container import Container, Ended
from process_node.kube_api import Object


@dataclass
class PodState:
    """What the status is computed from; `over` says that no container will run again."""

    containers: Sequence[Container]
    restart_policy: str
    started_at: datetime
    pod_address: str
    node_address: str
    over: bool = False
    reason: str = ""
    message: str = ""
    disrupted: bool = False
    previous_conditions: dict[str, Object] = field(default_factory=dict)

    @property
    def mains(self) -> list[Container]:
        """The containers that make up the pod's result."""
        return [each for each in self.containers if each.kind == "main"]

    @property
    def inits(self) -> list[Container]:
        """Init containers and sidecars, in their order."""
        return [each for each in self.containers if each.kind != "main"]


def pod_status(state: PodState, now: datetime) -> Object:
    """The status as it is sent to the API server."""
    phase = _phase(state)
    return {
        "phase": phase,
        **({"reason": state.reason, "message": state.message} if state.reason else {}),
        "hostIP": state.node_address,
        "hostIPs": [{"ip": state.node_address}],
        "podIP": state.pod_address,
        "podIPs": [{"ip": state.pod_address}],
        "startTime": timestamp(state.started_at),
        "conditions": _conditions(state, phase, now),
        "initContainerStatuses": [_container_status(each, state) for each in state.inits],
        "containerStatuses": [_container_status(each, state) for each in state.mains],
    }


def timestamp(moment: datetime) -> str:
    """Kubernetes' way to write a moment, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phase(state: PodState) -> str:
    if state.over:
        failed = bool(state.reason) or not all(each.has_succeeded for each in state.mains)
        return "Failed" if failed else "Succeeded"
    if not _is_initialized(state) or any(each.run is None and not each.restarts for each in state.mains):
        return "Pending"
    return "Running"


def _is_initialized(state: PodState) -> bool:
    return all(each.has_succeeded if each.kind == "init" else each.started for each in state.inits)


def _conditions(state: PodState, phase: str, now: datetime) -> list[Object]:
    finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    unready = [each.name for each in state.mains if not each.ready]
    waiting_for = "" if finished else f"containers with unready status: [{' '.join(unready)}]"
    ready = not unready and not finished
    because = (finished or "ContainersNotReady", waiting_for)
    initialized = _is_initialized(state) or phase == "Succeeded"
    conditions = [
        _condition("PodReadyToStartContainers", not finished),
        _condition("Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
        _condition("ContainersReady", ready, *(() if ready else because)),
        _condition("Ready", ready, *(() if ready else because)),
    ]
    if state.disrupted:
        conditions.append(_condition("DisruptionTarget", True, "TerminationByKubelet", state.message))
    return [_with_transition(each, state.previous_conditions, now) for each in conditions]


def _condition(kind: str, value: bool, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": str(value), "reason": reason or None, "message": message or None}


def _with_transition(condition: Object, previous: dict[str, Object], now: datetime) -> Object:
    before = previous.get(condition["type"])
    changed = before is None or before["status"] != condition["status"]
    condition["lastTransitionTime"] = timestamp(now) if changed or before is None else before["lastTransitionTime"]
    previous[condition["type"]] = condition
    return condition


def _container_status(container: Container, state: PodState) -> Object:
    image = container.spec["image"]
    run = container.run
    return {
        "name": container.name,
        "image": image,
        "imageID": f"process://{image}" if run is not None or container.restarts else "",
        "containerID": run.id if run is not None else "",
        "ready": container.has_succeeded if container.kind == "init" else container.ready,
        "started": container.started,
        "restartCount": container.restarts,
        "state": _state(container, state),
        "lastState": {"terminated": _terminated(container.last_ended)} if container.last_ended else {},
    }


def _state(container: Container, state: PodState) -> Object:
    if container.ended is not None:
        return {"terminated": _terminated(container.ended)}
    if container.run is not None:
        return {"running": {"startedAt": timestamp(container.run.started_at)}}
    waiting = container.waiting
    reason = waiting.reason
    if container.kind == "main" and state.inits and not _is_initialized(state):
        reason = "PodInitializing"
    return {"waiting": {"reason": reason, **({"message": waiting.message} if waiting.message else {})}}


def _terminated(ended: Ended) -> Object:
    return {
        "exitCode": ended.code,
        "reason": ended.reason,
        **({"message": ended.message} if ended.message else {}),
        "startedAt": timestamp(ended.started_at),
        "finishedAt": timestamp(ended.finished_at),
        "containerID": ended.container_id,
    }
