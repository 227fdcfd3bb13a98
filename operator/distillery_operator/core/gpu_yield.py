"""Whether the server gives its GPU to a stage for as long as the stage runs (`serving.yieldGPU`).

On one node with one GPU, a student cannot be trained beside the one that is served. What is decided here follows from
the present spec and the objects that are there, so the server comes back whatever ends the stage.
"""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_operator.core.observation import Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.container_resources import devices, has_accelerator
from distillery_operator.manifests.model_image import takes_image
from distillery_operator.planning.plan import PlannedStage
from distillery_operator.planning.queue import queue_labels, serving_queue_labels

_GPU_STAGES = frozenset({Stage.TRAIN, Stage.EVALUATE})
_ATTEMPT = frozenset({"PersistentVolumeClaim", "ConfigMap", "Job"})
"""Kinds of what an attempt needs."""
GPU_IN_USE = Problem(None, "waiting for the student's server to stop: this stage uses its GPU (serving.yieldGPU)")


def yields_gpu(situation: Situation, planned: PlannedStage) -> bool:
    """Whether the server is stopped for this stage."""
    if situation.plan.host:
        return False  # The server is not this Distillation's to stop.
    chosen = situation.plan.spec.serving.yield_gpu
    wanted = _shares_node(situation) if chosen is None else chosen
    return wanted and _compete(situation, planned)


def starts_beside_server(situation: Situation) -> bool:
    """Whether the stage's Job is created while the server runs, and the server stops once the Job may start: it may be
    refused, or wait in its queue, for hours. In a queue that the server is in as well, it waits for the server's
    share."""
    changed = situation.spec_changed or situation.retry_requested
    refused = () if changed else situation.previous.refused
    is_refused = any(each.kind in _ATTEMPT and each.verb != "delete" and each.field is None for each in refused)
    plan = situation.plan
    return is_refused or bool(queue_labels(plan) and not serving_queue_labels(plan))


def unreleased_gpu(situation: Situation, planned: PlannedStage) -> Problem | None:
    """Why the stage cannot have the server's GPU yet."""
    deployment = situation.observation.deployment
    if deployment is None or not yields_gpu(situation, planned):
        return None
    return GPU_IN_USE if deployment.desired or situation.observation.server_on_node else None


def is_servers_share(situation: Situation, problem: Problem) -> bool:
    """Whether a quota is full of what the server itself uses: a device."""
    used = devices(situation.plan.spec.serving)
    return problem.reason is Reason.QUEUED and any(name in problem.message for name in used)


def lacks_room(situation: Situation, planned: PlannedStage) -> bool:
    """Whether a stage that finds no room competes with the served student, so that waiting alone does not help."""
    bound = situation.observation.server_holds_workspace and not situation.volume_is_shared
    return bound or _compete(situation, planned)


def explained(situation: Situation, planned: PlannedStage, problem: Problem | None) -> Problem | None:
    """A problem in plain words where the served student takes the room."""
    if problem is None or problem.reason is not Reason.UNSCHEDULABLE or not situation.observation.server_on_node:
        return problem
    if yields_gpu(situation, planned) or not lacks_room(situation, planned):
        return problem
    of_host = f" of {situation.plan.host}" if situation.plan.host else ""
    remedy = (
        "set serving.yieldGPU to true, which stops the server for this stage, or add a GPU"
        if _compete(situation, planned)
        else f"lower the resources of the stage, or set serving.replicas{of_host} to 0 until it ends"
    )
    return Problem(problem.reason, f"there is no room beside the served student; {remedy}: {problem.message}")


def _shares_node(situation: Situation) -> bool:
    """Whether server and stage have to run on one node: that of a volume which both mount."""
    deployment = situation.observation.deployment
    template = deployment.manifest["spec"]["template"]["spec"] if deployment else {}
    return not situation.volume_is_shared and not takes_image(template)


def _compete(situation: Situation, planned: PlannedStage) -> bool:
    """Whether the stage and a server of ours both ask for a GPU."""
    plan, deployment = situation.plan, situation.observation.deployment
    serves = deployment is not None and deployment.ownership is Ownership.OURS and plan.spec.serving.replicas > 0
    asks = planned.stage in _GPU_STAGES and has_accelerator(plan.options(planned.stage))
    return plan.served and serves and asks and has_accelerator(plan.spec.serving)
