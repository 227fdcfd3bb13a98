"""Pods on a node that no longer answers. Nobody knows whether they still run, and two stages must never write to one
workspace: the next attempt starts only once the Pod is gone, and who can make it go is told how."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_operator.core.observation import LostPod, Raw
from distillery_operator.core.pod_problems import is_active, pod_condition, stage_start, timestamp
from distillery_operator.core.problem import Problem

_MARGIN = timedelta(minutes=1)
"""How late a node may be to say that a Pod has ended."""


def lost_pod(pods: Iterable[Raw], now: datetime) -> LostPod | None:
    """The first of the Pods that is lost with its node."""
    lost = (_lost(pod, now) for pod in pods if is_active(pod))
    return next((each for each in lost if each), None)


def node_problem(pod: Raw, now: datetime) -> Problem | None:
    """What is wrong with the Pod's node; None where it answers."""
    lost = lost_pod([pod], now)
    return lost.problem if lost else _silent_node(pod)


def _lost(pod: Raw, now: datetime) -> LostPod | None:
    deadline, node = timestamp(pod["metadata"].get("deletionTimestamp")), pod["spec"].get("nodeName")
    if deadline is None or node is None or now < deadline + _MARGIN:
        return None
    name = pod["metadata"]["name"]
    message = (
        f"the node {node} does not confirm that the Pod {name} has ended, so it may still write to the workspace. If"
        " the node comes back, this ends by itself. If its machine is off or gone for good, run kubectl delete node"
        f" {node}, or kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; the stage"
        " then goes on"
    )
    return LostPod(Problem(Reason.NODE_LOST, message), deadline)


def _silent_node(pod: Raw) -> Problem | None:
    """A node that has just stopped answering: only then is a Pod not ready although its containers are."""
    ready, containers = pod_condition(pod, "Ready"), pod_condition(pod, "ContainersReady")
    silent = ready.get("status") == "False" and containers.get("status") == "True"
    if not silent or stage_start(pod) is None or pod["spec"].get("readinessGates"):
        return None
    node = pod["spec"].get("nodeName", "its node")
    message = (
        f"the node {node} does not answer; unless it comes back, the Pod is removed once its tolerations end, which is"
        " after 5 minutes by default"
    )
    return Problem(Reason.NODE_LOST, message)
