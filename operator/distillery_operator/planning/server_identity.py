"""What makes a server another one: the student, and what the user's spec says of its Pods.

Neither the settings of an installation nor details of the generated Pod are part of it, so that a new release of this
software restarts no server. Fields that are not part of it are marked with `NotServerIdentity` where they are defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pydantic.fields import FieldInfo

from distillery_api.base import ApiModel, NotServerIdentity
from distillery_api.spec import Serving
from distillery_operator.planning.adapters import ServedAdapter
from distillery_operator.planning.identity import digest, is_first_default
from distillery_operator.planning.plan import Plan


def server_identity(
    plan: Plan,
    *,
    train_hash: str,
    model_path: str,
    precision: str,
    model_image: str | None,
    adapter: ServedAdapter | None = None,
) -> str:
    """The identity of the server that `plan` asks for, of the student in `model_path` of the workspace or in
    `model_image`, or as an adapter, computing in `precision`."""
    source = _of_image(plan, model_image) if model_image else {"model": model_path, "claim": plan.claim_name}
    of_adapter = {"adapter": asdict(adapter)} if adapter else {}
    student = {"train": train_hash, "precision": precision, **source, **of_adapter}
    return digest({**student, "serving": _serving_fields(plan.spec.serving)})


def base_server_identity(plan: Plan, *, base: str, max_rank: int, precision: str) -> str:
    """The identity of a server of adapters up to that rank on the base model `base`, whichever adapters these are:
    while it stays the same, a new student is loaded into the Pods that run."""
    of_base = {"base": base, "rank": max_rank, "precision": precision, "claim": plan.claim_name}
    return digest({**of_base, "serving": _serving_fields(plan.spec.serving)})


def _of_image(plan: Plan, model_image: str) -> dict[str, Any]:
    """What Pods that take the model from an image depend on. A student that is served from the workspace does not
    depend on it, so asking for an image restarts nothing before there is one."""
    wanted = plan.spec.serving.model_image
    secrets = list(wanted.node_secrets) if wanted and wanted.holds(model_image) else []
    return {"modelImage": model_image, "pullSecrets": secrets}


def _serving_fields(serving: Serving) -> dict[str, Any]:
    """What the user says of the server's Pods. First defaults are left out: neither a field added later nor a default
    that changes later makes it another server."""
    values = {field.alias or name: getattr(serving, name) for name, field in _members(serving)}
    return {alias: _plain(value) for alias, value in values.items()}


def _members(serving: Serving) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in type(serving).model_fields.items():
        beside = NotServerIdentity in field.metadata
        if not beside and not is_first_default(getattr(serving, name), field):
            yield name, field


def _plain(value: Any) -> Any:
    if isinstance(value, ApiModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return value
