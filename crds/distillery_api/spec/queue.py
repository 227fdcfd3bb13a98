"""The queue of Kueue that a Distillation's Jobs wait in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, matches
from distillery_api.spec.fields import Flag

QueueName = Annotated[
    str,
    Field(max_length=63),
    matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "not a valid name of a queue or priority class; use lowercase letters, digits, - and ., at most 63 characters",
    ),
]
ManagedBy = Annotated[
    str,
    Field(max_length=63),
    matches(
        "^distillery.dev/operator$",
        "no other controller can run a Distillation, and MultiKueue (kueue.x-k8s.io/multikueue) no Job of it: the"
        " workspace volume does not travel to another cluster; remove managedBy, and name a queue of this cluster in"
        " queue",
    ),
]


class Queue(ApiModel):
    """A queue of Kueue. The Jobs of all stages wait there until Kueue admits them, may be preempted, and then wait
    again without using up an attempt."""

    name: QueueName
    """Name of a LocalQueue in the Distillation's namespace."""
    priority_class: QueueName | None = None
    """Name of a WorkloadPriorityClass. Default: none."""
    serving: Flag = False
    """Whether the servers' Pods wait in the queue as well. Kueue does not let a server leave its queue again while it
    is ready. Default: false."""
