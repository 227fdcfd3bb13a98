"""All children that a Distillation would have in a cluster, without a cluster: for `distillery plan --manifests`."""

from __future__ import annotations

from dataclasses import replace

from distillery_api import __version__
from distillery_api.resource import Distillation
from distillery_api.stage import Stage
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.cluster_plan import cluster_plan, planned_server
from distillery_operator.manifests.job import stage_config_map, stage_job
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.route import serving_route
from distillery_operator.manifests.serving import (
    adapters_config_map,
    disruption_budget,
    serving_deployment,
    serving_service,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.manifests.training_nodes import node_count, training_service
from distillery_operator.planning.plan import Plan

SETTINGS = ManifestSettings(
    trainer_image=f"distillery-trainer:{__version__}",
    vllm_image="vllm/vllm-openai:v0.32.0",
    vllm_cpu_image="vllm/vllm-openai-cpu:v0.32.0",
)
"""Each installation sets its own images; these are the names that `make images` and the chart use by default."""


def preview_plan(distillation: Distillation) -> Plan:
    """The plan that an installation with these images makes."""
    return cluster_plan(distillation, SETTINGS)


def preview(plan: Plan) -> list[Manifest]:
    """The children in the order of their creation, each stage's first attempt."""
    volume = VolumeUse(plan.shared_volume)
    children = [] if plan.spec.storage.claim_name else [workspace_claim(plan)]
    for planned in plan.stages:
        if planned.stage is Stage.VERIFY:
            server = planned_server(plan, SETTINGS)
            children += [] if plan.host else [serving_deployment(plan, SETTINGS, server, volume)]
            children += [adapters_config_map(plan, server.model.adapter)] if server.model.adapter else []
            children += [serving_service(plan)]
            children += [disruption_budget(plan)] if plan.has_several_servers else []
            route = serving_route(plan)
            children += [route] if route else []
            volume = replace(volume, beside_server=server.uses_workspace)
        children += [stage_config_map(plan, planned)]
        children += [training_service(plan)] if node_count(plan, planned.stage) > 1 else []
        children += [stage_job(plan, planned, 1, SETTINGS, volume)]
    return children
