"""The plan of a run on this machine: that of a cluster, without what only a cluster has."""

from __future__ import annotations

from collections.abc import Mapping

from distillery_api.resource import Distillation
from distillery_api.stage import Stage, stages_until
from distillery_operator.planning.plan import Plan, make_plan


def local_plan(distillation: Distillation, fingerprints: Mapping[str, str]) -> Plan:
    """The stages up to evaluate, and publish where the student goes to a model hub. No image is pushed: the server of
    this machine takes the student from its folder."""
    serving = distillation.spec.serving.model_copy(update={"model_image": None})
    spec = distillation.spec.model_copy(update={"serving": serving})
    return make_plan(distillation.model_copy(update={"spec": spec}), fingerprints).with_publish()


def stages_to_run(plan: Plan, until: Stage | None) -> tuple[Stage, ...]:
    """The stages up to and including `until`; for None, all of the plan."""
    return stages_until(until) if until else tuple(planned.stage for planned in plan.stages)
