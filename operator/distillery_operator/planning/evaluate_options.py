"""How evaluate runs: on the device and the nodes of the training, which the student fits, unless the user says
otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.spec import EvaluationOptions, JobOptions, PodTemplate, StageOptions, Training
from distillery_operator.planning.gpus import with_gpus
from distillery_operator.planning.names import STAGE_CONTAINER

Fields = Mapping[str, Any]

_OF_THE_DEVICE = ("resourceClaims", "runtimeClassName")
"""Fields of a Pod's spec that a device may need beside the container's resources."""
_OF_THE_NODE = ("nodeSelector", "tolerations", "affinity")


def evaluate_options(evaluation: EvaluationOptions, training: Training) -> JobOptions:
    """Evaluate's options. Where they name no resources, the training's resources and node constraints apply, each
    constraint unless evaluate has one of its own."""
    if _has_own_resources(evaluation):
        return evaluation
    training = with_gpus(training, training.gpus_per_node)
    own, others = _pod_spec(evaluation), _pod_spec(training)
    inherited = {key: others[key] for key in (*_OF_THE_DEVICE, *_OF_THE_NODE) if key in others}
    spec = {**inherited, **own, **_containers(own, _container(others).get("resources"))}
    return evaluation.model_copy(
        update={"resources": training.resources, "pod_template": _template(evaluation.pod_template, spec)}
    )


def evaluation_processes(evaluation: EvaluationOptions, training: Training) -> int | None:
    """Number of processes that answer the held-out rows, with the training's GPUs; None for one."""
    processes = training.gpus_per_node or 1
    return None if processes == 1 or _has_own_resources(evaluation) else processes


def _has_own_resources(evaluation: EvaluationOptions) -> bool:
    return evaluation.resources is not None or bool(_container(_pod_spec(evaluation)).get("resources"))


def _template(own: PodTemplate | None, spec: Fields) -> PodTemplate | None:
    if not spec:
        return own
    return PodTemplate.model_validate({**(own.to_manifest() if own else {}), "spec": spec})


def _containers(own: Fields, resources: Fields | None) -> Fields:
    """The containers of evaluate's own template, and the training's resources on the generated one."""
    if not resources:
        return {}
    others = [each for each in own.get("containers", []) if each["name"] != STAGE_CONTAINER]
    return {"containers": [*others, {"name": STAGE_CONTAINER, **_container(own), "resources": resources}]}


def _pod_spec(options: StageOptions) -> Fields:
    template = options.pod_template.to_manifest() if options.pod_template else {}
    spec: Fields = template.get("spec") or {}
    return spec


def _container(spec: Fields) -> Fields:
    """The generated container in a user's template."""
    containers = spec.get("containers") or ()
    return next((each for each in containers if each["name"] == STAGE_CONTAINER), {})
