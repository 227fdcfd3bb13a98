"""The plan of a Distillation in a cluster: the stages of a run, and where the student is served, publish (if from an
image) and verify."""

from __future__ import annotations

from dataclasses import replace

from distillery_api.resource import Distillation
from distillery_api.stage import Stage
from distillery_operator.manifests.server import ServedModel, Server
from distillery_operator.manifests.serving import rendered_server
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.shared_server import guests_server
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan, PlannedStage, make_plan


def cluster_plan(distillation: Distillation, settings: ManifestSettings, rows_revision: str | None = None) -> Plan:
    """The stages of `distillation` in a cluster, in order, for rows of this revision. Verify is planned for the server
    that would be made now."""
    plan = make_plan(distillation, rows_revision=rows_revision).with_publish()
    return plan_with_verify(plan, planned_server(plan, settings)) if plan.served else plan


def planned_server(plan: Plan, settings: ManifestSettings) -> Server:
    """The server of the student that `plan` results in, before its evaluation."""
    train_hash, image = plan.stage(Stage.TRAIN).input_hash, plan.spec.serving.model_image
    if plan.host:
        return guests_server(plan, None, ServedModel.planned(plan, train_hash))
    # The digest is known once the image is pushed.
    reference = image.reference(train_hash) if image else None
    return rendered_server(plan, settings, ServedModel.planned(plan, train_hash, image=reference))


def plan_with_verify(plan: Plan, server: Server, inputs: tuple[PlannedStage, ...] = ()) -> Plan:
    """`plan` with verify for `server`, whose student `inputs` made if not the plan's own stages. Its hash is over the
    evaluation and the Pod template that serves: whatever changes the server may change its answers. The number of Pods
    does not."""
    evaluate = plan.evaluation_before(PlannedStage(Stage.VERIFY, "", inputs)).input_hash
    input_hash = server.verify_hashes.get(evaluate) or digest({"evaluate": evaluate, "server": server.digest})
    others = (planned for planned in plan.stages if planned.stage is not Stage.VERIFY)
    stages = (*others, PlannedStage(Stage.VERIFY, input_hash, inputs))
    return replace(plan, stages=stages, verified_adapter=server.model.adapter)
