"""The workspace volume."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule
from distillery_api.spec.fields import ObjectName, Quantity


class AccessMode(StrEnum):
    """The access modes of a volume that stages and server can share."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Retention(StrEnum):
    """What becomes of the workspace claim when the Distillation is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


def _claim_is_named_or_described(storage: Storage) -> bool:
    described = (storage.size, storage.storage_class_name, storage.access_modes, storage.retention)
    return storage.claim_name is None or all(value is None for value in described)


class Storage(ApiModel):
    """The workspace volume: every paid reply, the rows, the models. A ReadWriteOnce volume, the default, ties all
    stages and the server to one node, and a new student then replaces the old one with a short gap; ReadWriteMany
    does not."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim to use; excludes every other field."""
    size: Quantity | None = None
    """Size of the claim to create. Default: 50Gi."""
    storage_class_name: ObjectName | None = None
    """Storage class of the claim. Default: the cluster's."""
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=2)] | None = None
    """Access modes of the claim. Default: ReadWriteOnce."""
    retention: Retention | None = None
    """Retain keeps the claim, with all that was paid for, when the Distillation is deleted; Delete removes it.
    Default: Retain."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.claimName) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes)"
            " && !has(self.retention))",
            "claimName excludes size, storageClassName, accessModes and retention; give either an existing claim or the"
            " claim to create",
            _claim_is_named_or_described,
        ),
    )


DEFAULT_STORAGE_SIZE = "50Gi"
