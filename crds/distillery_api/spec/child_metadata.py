"""Labels and annotations of everything that the operator creates for a Distillation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule, matches
from distillery_api.spec.stage_options import RESERVED_LABEL_PREFIXES

_OWN_PREFIX = "distillery.dev/"
_QUEUE_PREFIX = "kueue.x-k8s.io/"
_RESERVED = (*RESERVED_LABEL_PREFIXES, _QUEUE_PREFIX)

_LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "not a value of a label; use letters, digits, - _ and ., and begin and end with a letter or a digit",
    ),
]


def _no_label_is_reserved(metadata: ChildMetadata) -> bool:
    return not any(key.startswith(_RESERVED) for key in metadata.labels or {})


def _no_annotation_is_reserved(metadata: ChildMetadata) -> bool:
    return not any(key.startswith(_OWN_PREFIX) for key in metadata.annotations or {})


class ChildMetadata(ApiModel):
    """Labels and annotations of all children: Jobs, Pods, ConfigMaps, the claim, the Deployment, the Service, the
    PodDisruptionBudget and the route. A change reaches Jobs, Pods and ConfigMaps when they are next created, and the
    others at once; no stage runs again, and no server restarts, for it."""

    labels: Annotated[dict[str, _LabelValue], Field(max_length=50)] | None = None
    """Labels to add. Keys under app.kubernetes.io/, distillery.dev/, batch.kubernetes.io/ and kueue.x-k8s.io/ are
    reserved. A label of a podTemplate comes before one of the same key here."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=50)] | None = None
    """Annotations to add. Keys under distillery.dev/ are reserved."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/')"
            " && !k.startsWith('distillery.dev/') && !k.startsWith('batch.kubernetes.io/')"
            " && !k.startsWith('kueue.x-k8s.io/'))",
            "labels: keys under app.kubernetes.io/, distillery.dev/, batch.kubernetes.io/ and"
            " kueue.x-k8s.io/ are reserved; use a prefix of your own, and spec.queue for a queue",
            _no_label_is_reserved,
        ),
        Rule(
            "!has(self.annotations) || self.annotations.all(k, !k.startsWith('distillery.dev/'))",
            "annotations: keys under distillery.dev/ are reserved; use a prefix of your own",
            _no_annotation_is_reserved,
        ),
    )
