"""Checks that the cluster's CRD has every field that this operator knows: the server silently drops the others.

The CRD may be older than the operator: Helm does not upgrade CRDs in `crds/`, and it may have been installed by hand.
The check reads the schema that the server publishes for its clients (OpenAPI v3). Every authenticated user may read it,
so no cluster role is needed, and no version number has to be kept up to date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distillery_api.resource import GROUP, KIND, PLURAL
from distillery_api.schema import structural
from distillery_api.spec import DistillationSpec
from distillery_api.status import DistillationStatus
from distillery_operator.errors import OutdatedSchema

Schema = Mapping[str, Any]

_LISTED_FIELDS = 5


def check_served_schema(document: Schema) -> None:
    """Raises OutdatedSchema where the served OpenAPI document lacks the kind or some of its fields."""
    served = _served_kind(document)
    if served is None:
        raise OutdatedSchema(
            f"the cluster does not serve {KIND} of {GROUP}: install the CRD {PLURAL}.{GROUP},"
            " which is part of the Helm chart"
        )
    known = {"spec": structural(DistillationSpec), "status": structural(DistillationStatus)}
    missing = sorted(_missing({"properties": known}, served))
    if missing:
        more = f" and {len(missing) - _LISTED_FIELDS} more" if len(missing) > _LISTED_FIELDS else ""
        raise OutdatedSchema(
            f"the cluster's CRD {PLURAL}.{GROUP} is older than this operator: it lacks"
            f" {', '.join(missing[:_LISTED_FIELDS])}{more}; upgrade the CRD, or install the operator"
            " of the same version"
        )


def _served_kind(document: Schema) -> Schema | None:
    schemas: Mapping[str, Schema] = document.get("components", {}).get("schemas", {})
    kinds = (schema for schema in schemas.values() if _is_our_kind(schema))
    return next(kinds, None)


def _is_our_kind(schema: Schema) -> bool:
    kinds = schema.get("x-kubernetes-group-version-kind", ())
    return any(kind.get("group") == GROUP and kind.get("kind") == KIND for kind in kinds)


def _missing(known: Schema, served: Schema, path: str = "") -> Iterator[str]:
    """Paths of the fields that `known` has and `served` lacks."""
    if "allOf" in served:  # the server wraps a schema in it to add a default
        served = {**served, **{key: value for part in served["allOf"] for key, value in part.items()}}
    for name, schema in known.get("properties", {}).items():
        where = f"{path}.{name}".lstrip(".")
        if name in served.get("properties", {}):
            yield from _missing(schema, served["properties"][name], where)
        elif not served.get("x-kubernetes-preserve-unknown-fields"):
            yield where
    for part in ("items", "additionalProperties"):
        if isinstance(known.get(part), Mapping) and isinstance(served.get(part), Mapping):
            yield from _missing(known[part], served[part], f"{path}[]")
