"""The credentials of a registry in the Pod of the publish stage, as a file. The operator knows their Secret's name
alone."""

from __future__ import annotations

from distillery_api.run_config import REGISTRY_CREDENTIALS_VARIABLE
from distillery_api.stage import Stage
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning.plan import Plan

_VOLUME = "registry-credentials"
_FOLDER = "/etc/registry-credentials"
_SECRET_KEY, _FILE = ".dockerconfigjson", "config.json"


def credentials_volumes(plan: Plan, stage: Stage) -> tuple[Manifest, ...]:
    """The Secret as a volume."""
    secret = _secret(plan, stage)
    items = [{"key": _SECRET_KEY, "path": _FILE}]
    return ({"name": _VOLUME, "secret": {"secretName": secret, "items": items}},) if secret else ()


def credentials_mounts(plan: Plan, stage: Stage) -> tuple[Manifest, ...]:
    """Where the container finds it."""
    return ({"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True},) if _secret(plan, stage) else ()


def credentials_environment(plan: Plan, stage: Stage) -> tuple[Manifest, ...]:
    """The variable that says where."""
    return ({"name": REGISTRY_CREDENTIALS_VARIABLE, "value": _FOLDER},) if _secret(plan, stage) else ()


def _secret(plan: Plan, stage: Stage) -> str | None:
    image = plan.model_image
    return image.credentials.secret_name if stage is Stage.PUBLISH and image and image.credentials else None
