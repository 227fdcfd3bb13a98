"""What the user says about an attempt, as a digest. A Job that waits in a queue would lose its turn, so it is replaced
only when this changes, and not for a new release or another setting of the installation."""

from __future__ import annotations

from typing import Any

from distillery_api.base import ApiModel
from distillery_api.spec import JobOptions, StageOptions
from distillery_api.stage import Stage
from distillery_operator.planning.identity import digest, is_first_default
from distillery_operator.planning.plan import Plan
from distillery_operator.planning.queue import queue_labels
from distillery_operator.planning.stage_config import without_job_options


def user_configuration(plan: Plan, stage: Stage) -> str:
    """A digest of the fields that an attempt at `stage` depends on, the same in every release and installation."""
    spec = plan.spec
    options: tuple[JobOptions, ...] = (spec.generation, spec.training.with_preset, spec.evaluation)
    of_the_node = spec.serving if stage is Stage.VERIFY else spec.training
    return digest(
        {
            "task": spec.task,
            "data": _stated(spec.data),
            "student": _stated(spec.student),
            "stages": [_stated(without_job_options(each)) for each in options],
            "pod": _stated(StageOptions(**_pod_options(plan.options(stage)))),
            "node": _stated(of_the_node.pod_template) if of_the_node.pod_template else {},
            "claim": spec.storage.claim_name,
            "queue": queue_labels(plan),
            **_published(plan, stage),
        }
    )


def _published(plan: Plan, stage: Stage) -> dict[str, Any]:
    publication = plan.spec.publication
    given = {"modelImage": plan.model_image, "hub": publication.hub, "signingKey": publication.signing_key}
    return {name: _stated(part) for name, part in given.items() if part and stage is Stage.PUBLISH}


def _pod_options(options: StageOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in StageOptions.model_fields}


def _stated(model: ApiModel) -> dict[str, Any]:
    """The fields of `model` without defaults, which a release may add or change."""
    return _without_first_defaults(model).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _without_first_defaults(model: ApiModel) -> ApiModel:
    """The model with today's default in place of each first one, which the API server may have stored."""
    changes: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if is_first_default(value, field):
            changes[name] = field.default
        elif isinstance(value, ApiModel):
            changes[name] = _without_first_defaults(value)
    return model.model_copy(update=changes)
