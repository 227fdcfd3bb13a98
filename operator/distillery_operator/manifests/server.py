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

from distillery_api.stage import Stage
from distillery_api.status import Run
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning import names
from distillery_operator.planning.adapters import ServedAdapter, planned_adapter
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
    adapter: ServedAdapter | None = None
    """The adapter that is served in place of the merged model."""

    @property
    def folder(self) -> str:
        """The folder of its training in the workspace."""
        return self.model_path.partition("/")[0]

    @classmethod
    def planned(
        cls, plan: Plan, train_hash: str, precision: str | None = None, image: str | None = None
    ) -> ServedModel:
        """The student that `plan` results in."""
        adapter = planned_adapter(plan.spec, f"{Stage.TRAIN}-{train_hash}")
        return cls(
            train_hash, plan.model_path, plan.student_prompt_path, precision or UNKNOWN_PRECISION, image, adapter
        )


def adapter_of(run: Run) -> ServedAdapter | None:
    """The adapter of a run, where it was trained for a server of adapters."""
    return ServedAdapter(run.adapter.path, run.adapter.base, run.adapter.rank) if run.adapter else None


@dataclass(frozen=True)
class Server:
    """One student with the Pod template that serves it."""

    model: ServedModel
    identity: str
    """What the user asked for when its template was made (`planning/server_identity.py`)."""
    template: Manifest
    """Its Pod template."""
    digest: str
    """Of the template, and of the adapter where one is served: what is verified."""
    restarted_at: str | None = None
    """The value of the annotation that its restart was requested with."""
    fleet: str | None = None
    """The rollout of the fleet that it was last part of."""
    verify_hashes: Mapping[str, str] = field(default_factory=dict)
    """The input hash of verify by that of evaluate, where an earlier release determined it."""
    base_identity: str | None = None
    """What the user asked for apart from the adapter, where one is served: another one needs no other Pods."""

    @property
    def pod_label(self) -> str:
        """What its Pods are labelled with; empty for a server that an earlier release deployed."""
        return self._label(names.SERVER_LABEL)

    @property
    def pods(self) -> tuple[str, str]:
        """What tells its Pods from those of other servers: two adapters on one base model have the same Pods."""
        return self.pod_label, self._label(names.HASH_LABEL)

    def _label(self, name: str) -> str:
        return str((self.template["metadata"].get("labels") or {}).get(name, ""))

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
        fields = {name: value for name, value in asdict(self).items() if name != "base_identity" or value}
        model = {name: value for name, value in fields["model"].items() if name != "adapter" or value}
        text = json.dumps({**fields, "model": model}, sort_keys=True, separators=(",", ":"))
        return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def server_from_annotation(text: str) -> Server | None:
    """The server in an annotation; None where the text is none."""
    try:
        stored: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        adapter = stored["model"].get("adapter")
        model = {**stored["model"], "adapter": ServedAdapter(**adapter) if adapter else None}
        return Server(**{**stored, "model": ServedModel(**model)})
    except (ValueError, TypeError, KeyError, zlib.error):
        return None


def with_servers(deployment: Manifest, server: Server, fallback: Server | None) -> Manifest:
    """The Deployment with what is needed to keep its server, and to go back to the one that answered well before."""
    metadata = deployment["metadata"]
    stored = {names.SERVER_ANNOTATION: server, names.FALLBACK_ANNOTATION: fallback}
    texts = {annotation: each.to_annotation() for annotation, each in stored.items() if each}
    return {**deployment, "metadata": {**metadata, "annotations": {**metadata["annotations"], **texts}}}
