"""A Job that has a Pod on each of several nodes: which of them says where the attempt is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from distillery_operator.core.observation import Raw
from distillery_operator.core.pod_problems import container_end, is_disrupted, pending_problem

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def is_on_several_nodes(job: Raw) -> bool:
    """Whether the Job has several Pods at a time."""
    return bool(job["spec"].get("parallelism", 1) > 1)


def telling_pod(pods: Iterable[Raw], events: tuple[Raw, ...], now: datetime) -> Raw | None:
    """Of the newest Pods of all nodes, the one that says where the attempt is: one that is taken away, else one that
    has failed, first with a result, else one that does not start, else that of the first node, which has the result of
    all and serves their progress."""
    newest = {_index(pod): pod for pod in sorted(pods, key=_creation)}
    in_order = [newest[index] for index in sorted(newest)]
    return min(in_order, key=lambda pod: _rank(pod, events, now), default=None)


def _rank(pod: Raw, events: tuple[Raw, ...], now: datetime) -> int:
    end = container_end(pod)
    if is_disrupted(pod):
        return 0
    if end is not None and end.problem:
        return 1 if end.result else 2
    if end is None and pending_problem(pod, events, now):
        return 3
    return 4


def _index(pod: Raw) -> int:
    return int((pod["metadata"].get("labels") or {}).get(_INDEX_LABEL, "0"))


def _creation(pod: Raw) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")
