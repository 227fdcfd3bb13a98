"""The workspace volume."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule
from distillery_api.spec.fields import ObjectName, Quantity


class AccessMode(StrEnum):
    """Access modes of the workspace volume."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Retention(StrEnum):
    """What happens to the workspace claim when the Distillation is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


def _claim_is_named_or_described(storage: Storage) -> bool:
    described = (storage.size, storage.storage_class_name, storage.access_modes, storage.retention)
    return storage.claim_name is None or all(value is None for value in described)


class Storage(ApiModel):
    """The workspace volume, which holds replies, rows and models. With ReadWriteOnce (the default), all stages and the
    server run on one node, and replacing the served student causes a short downtime; with ReadWriteMany, neither is the
    case."""

    claim_name: ObjectName | None = None
    """Name of an existing PersistentVolumeClaim to use. Cannot be combined with the other fields."""
    size: Quantity | None = None
    """Size of the claim to create. Default: 50Gi."""
    storage_class_name: ObjectName | None = None
    """Storage class of the claim to create. Default: the cluster's default class."""
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=2)] | None = None
    """Access modes of the claim to create. Default: ReadWriteOnce."""
    retention: Retention | None = None
    """What happens to the created claim when the Distillation is deleted: Retain keeps it, with all paid replies;
    Delete deletes it. Default: Retain."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.claimName) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes)"
            " && !has(self.retention))",
            "claimName cannot be combined with size, storageClassName, accessModes or retention; set either claimName"
            " (an existing claim) or the others (a claim to create)",
            _claim_is_named_or_described,
        ),
    )


DEFAULT_STORAGE_SIZE = "50Gi"
