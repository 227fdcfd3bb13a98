"""The plan of a Distillation in a cluster: the stages of a run, and where the student is served, verify."""

from __future__ import annotations

from dataclasses import replace

from distillery_api.resource import Distillation
from distillery_api.stage import Stage
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.serving import ServedModel, server_digest, serving_deployment
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan, PlannedStage, make_plan


def cluster_plan(distillation: Distillation, settings: ManifestSettings, rows_revision: str | None = None) -> Plan:
    """The stages of `distillation` in a cluster, in order, for rows of this revision."""
    plan = make_plan(distillation, rows_revision=rows_revision)
    return replace(plan, stages=(*plan.stages, _verify(plan, settings))) if plan.served else plan


def _verify(plan: Plan, settings: ManifestSettings) -> PlannedStage:
    """Verify with its hash over the evaluation and the server's Pod template: whatever changes the server, be it a new
    release of this software, may change its answers. The number of Pods does not."""
    served = ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash)
    server = server_digest(serving_deployment(plan, settings, served, VolumeUse(plan.shared_volume)))
    return PlannedStage(Stage.VERIFY, digest({"evaluate": plan.stage(Stage.EVALUATE).input_hash, "server": server}))
