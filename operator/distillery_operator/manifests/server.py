"""A server: one student with the Pod template that serves it, and how its Deployment keeps it.

The Deployment of a server carries the server, compressed, in an annotation. So what serves keeps its Pod template while
later releases would generate another one, and what somebody edits by hand can still be repaired.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

UNKNOWN_PRECISION = "auto"
"""Before the evaluation: the server chooses."""


@dataclass(frozen=True)
class ServedModel:
    """The student that is served: the newest, or an earlier one until the newest is trained."""

    train_hash: str
    model_path: str
    """Folder of the model, relative to the workspace."""
    student_prompt: str
    """File with its system prompt, relative to the workspace."""
    precision: str = UNKNOWN_PRECISION
    """Arithmetic in which it was evaluated, such as bfloat16."""
    image: str | None = None
    """The image in a registry that it is served from, by its digest; None where it is served from the workspace."""

    @property
    def folder(self) -> str:
        """The folder of its training in the workspace."""
        return self.model_path.partition("/")[0]

    @classmethod
    def planned(
        cls, plan: Plan, train_hash: str, precision: str | None = None, image: str | None = None
    ) -> ServedModel:
        """The student that `plan` results in."""
        return cls(train_hash, plan.model_path, plan.student_prompt_path, precision or UNKNOWN_PRECISION, image)


@dataclass(frozen=True)
class Server:
    """One student with the Pod template that serves it."""

    model: ServedModel
    identity: str
    """What the user asked for when its template was made (`planning/server_identity.py`)."""
    template: Manifest
    """Its Pod template."""
    digest: str
    """Of the template: what is verified."""
    restarted_at: str | None = None
    """The value of the annotation that its restart was requested with."""
    fleet: str | None = None
    """The rollout of the fleet that it was last part of."""
    verify_hashes: Mapping[str, str] = field(default_factory=dict)
    """The input hash of verify by that of evaluate, where an earlier release determined it."""

    @property
    def pod_label(self) -> str:
        """What its Pods are labelled with; empty for a server that an earlier release deployed."""
        return str(self.template["metadata"].get("labels", {}).get(names.SERVER_LABEL, ""))

    @property
    def image(self) -> str | None:
        """The image of its container."""
        containers = self.template["spec"]["containers"]
        return next((each.get("image") for each in containers if each["name"] == names.STAGE_CONTAINER), None)

    @property
    def uses_workspace(self) -> bool:
        """Whether its Pods mount the workspace volume."""
        return self.model.image is None

    def to_annotation(self) -> str:
        """The server as text."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def server_from_annotation(text: str) -> Server | None:
    """The server in an annotation; None where the text is none."""
    try:
        stored: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return Server(**{**stored, "model": ServedModel(**stored["model"])})
    except (ValueError, TypeError, KeyError, zlib.error):
        return None


def with_servers(deployment: Manifest, server: Server, fallback: Server | None) -> Manifest:
    """The Deployment with what is needed to keep its server, and to go back to the one that answered well before."""
    metadata = deployment["metadata"]
    stored = {names.SERVER_ANNOTATION: server, names.FALLBACK_ANNOTATION: fallback}
    texts = {annotation: each.to_annotation() for annotation, each in stored.items() if each}
    return {**deployment, "metadata": {**metadata, "annotations": {**metadata["annotations"], **texts}}}
