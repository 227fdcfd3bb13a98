"""The student's image as a volume of a serving Pod.

In the image, the model's files lie in `/models`, where KServe expects them, with the student prompt among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.paths import IMAGE_MODEL_FOLDER
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning.plan import Plan

_VOLUME = "model"


def image_volume(reference: str) -> Manifest:
    """The volume. Nodes keep the image, which never changes under its digest."""
    return {"name": _VOLUME, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


def image_mount(folder: str) -> Manifest:
    """The student's files at `folder`."""
    return {"name": _VOLUME, "mountPath": folder, "subPath": IMAGE_MODEL_FOLDER, "readOnly": True}


def takes_image(pod_spec: Mapping[str, Any]) -> bool:
    """Whether a serving Pod has the student from an image, and so no workspace."""
    volumes = pod_spec.get("volumes") or ()
    return any(volume["name"] == _VOLUME and "image" in volume for volume in volumes)


def pull_secrets(plan: Plan) -> Manifest:
    """The Pod's field with the Secrets that its node pulls with, if there are any."""
    image = plan.spec.serving.model_image
    secrets = [{"name": name} for name in image.node_secrets] if image else []
    return {"imagePullSecrets": secrets} if secrets else {}
