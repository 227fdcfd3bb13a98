"""The workspace volume."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule, transition
from distillery_api.spec.fields import ObjectName, Quantity


class AccessMode(StrEnum):
    """Access modes of the workspace volume."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    """One node can mount the volume."""
    READ_WRITE_MANY = "ReadWriteMany"
    """Any number of nodes can mount it at the same time."""


class Retention(StrEnum):
    """What happens to the workspace claim when the Distillation is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


def _claim_is_named_or_described(storage: Storage) -> bool:
    described = (storage.size, storage.storage_class_name, storage.access_modes, storage.retention)
    return storage.claim_name is None or all(value is None for value in described)


_NEW_CLAIM = "to use another volume, apply a Distillation of another name"
_TRANSITIONS = (
    transition(
        "has(self.claimName) == has(oldSelf.claimName)"
        " && (!has(self.claimName) || self.claimName == oldSelf.claimName)",
        f"claimName cannot be changed: the present claim holds what finished stages left; {_NEW_CLAIM}",
    ),
    transition(
        "has(self.storageClassName) == has(oldSelf.storageClassName)"
        " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        f"storageClassName cannot be changed, as that of a claim cannot; {_NEW_CLAIM}",
    ),
    transition(
        "(has(self.accessModes) ? self.accessModes : ['ReadWriteOnce'])"
        " == (has(oldSelf.accessModes) ? oldSelf.accessModes : ['ReadWriteOnce'])",
        f"accessModes cannot be changed, as those of a claim cannot; {_NEW_CLAIM}",
    ),
    transition(
        "quantity(has(self.size) ? string(self.size) : '50Gi')"
        ".compareTo(quantity(has(oldSelf.size) ? string(oldSelf.size) : '50Gi')) >= 0",
        "size can only grow (without one, it is 50Gi): no volume can shrink; set the former size or a larger one",
    ),
)


class Storage(ApiModel):
    """The workspace volume, which holds replies, rows and models. With ReadWriteOnce (the default), all stages and the
    server run on one node, and replacing the served student causes a short downtime; with ReadWriteMany, neither is the
    case."""

    claim_name: ObjectName | None = None
    """Name of an existing PersistentVolumeClaim to use. Cannot be changed, or combined with size, storageClassName,
    accessModes or retention. Default: a claim of the Distillation's own, which the operator creates."""
    size: Quantity | None = None
    """Size of the claim to create. Raise it to enlarge the volume, where its storage class allows that. Default:
    50Gi."""
    storage_class_name: ObjectName | None = None
    """Storage class of the claim to create; cannot be changed. Default: the cluster's default class."""
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=2)] | None = None
    """Access modes of the claim to create; cannot be changed. Default: ReadWriteOnce."""
    retention: Retention | None = None
    """What happens to the created claim when the Distillation is deleted: Retain keeps it, with all paid replies;
    Delete deletes it. Default: Retain."""
    history: Annotated[int, Field(strict=True, ge=1, le=5)] = 5
    """Number of finished runs whose models are kept. Older ones are deleted once a later run is trained, but never the
    model that is served or may be served again by itself, and no reply. Default: 5."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.claimName) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes)"
            " && !has(self.retention))",
            "claimName cannot be combined with size, storageClassName, accessModes or retention; set either claimName"
            " (an existing claim) or the others (a claim to create)",
            _claim_is_named_or_described,
        ),
        *_TRANSITIONS,
    )


DEFAULT_STORAGE_SIZE = "50Gi"
