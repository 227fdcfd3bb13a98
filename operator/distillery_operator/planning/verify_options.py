"""How publish and verify run: with evaluate's image and Pod template, but without its node constraints and without a
device, since they load no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.spec import EvaluationOptions, JobOptions, PodTemplate
from distillery_operator.planning.names import STAGE_CONTAINER

Fields = Mapping[str, Any]

_OF_THE_NODE = frozenset(
    {
        "nodeSelector",
        "nodeName",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "runtimeClassName",
        "resources",
        "resourceClaims",
    }
)
"""Fields of a Pod's spec that choose its node, or ask the node for a device."""


def verify_options(evaluation: EvaluationOptions) -> JobOptions:
    """Evaluate's options without what they ask of a node."""
    template = evaluation.pod_template
    kept = template and PodTemplate.model_validate(_anywhere(template.to_manifest()))
    return evaluation.model_copy(update={"resources": None, "pod_template": kept})


def _anywhere(template: Fields) -> Fields:
    spec = {key: value for key, value in template.get("spec", {}).items() if key not in _OF_THE_NODE}
    if "containers" in spec:
        spec["containers"] = [_without_resources(container) for container in spec["containers"]]
    return {**template, "spec": spec}


def _without_resources(container: Fields) -> Fields:
    ours = container["name"] == STAGE_CONTAINER
    return {key: value for key, value in container.items() if not (ours and key == "resources")}
