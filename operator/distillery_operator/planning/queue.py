"""The queue that a Distillation's Jobs wait in."""

from __future__ import annotations

from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


def queue_labels(plan: Plan) -> dict[str, str]:
    """Kueue's labels of a Job: the Distillation's own, and what the spec says over them; empty where there is no
    queue."""
    queue, of_resource = plan.spec.queue, plan.distillation.metadata.labels
    stated = {names.QUEUE_LABEL: queue.name, names.PRIORITY_CLASS_LABEL: queue.priority_class} if queue else {}
    known = {key: stated.get(key) or of_resource.get(key) for key in (names.QUEUE_LABEL, names.PRIORITY_CLASS_LABEL)}
    return {key: value for key, value in known.items() if value} if known[names.QUEUE_LABEL] else {}


def serving_queue_labels(plan: Plan) -> dict[str, str]:
    """Kueue's labels of the server's Deployment; empty unless the spec lets it wait in the queue."""
    return queue_labels(plan) if plan.spec.queue and plan.spec.queue.serving else {}
