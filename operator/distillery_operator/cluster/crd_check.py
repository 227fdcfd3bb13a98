"""Does the cluster's CRD know every field that this operator knows? The server drops the others in silence.

Helm never upgrades a CRD that lies in `crds/`, and somebody may have installed it by hand. Compared is what the server
publishes for its clients (OpenAPI v3): every authenticated user may read it, so no cluster role is needed, and a
forgotten version number cannot deceive.
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

_NAMED_AT_MOST = 5


def check_served_schema(document: Schema) -> None:
    """Raises OutdatedSchema where the served OpenAPI document lacks the kind or some of its fields."""
    served = _served_kind(document)
    if served is None:
        raise OutdatedSchema(
            f"the cluster does not serve {KIND} of {GROUP}: install the CRD {PLURAL}.{GROUP} (the chart brings it)"
        )
    wanted = {"spec": structural(DistillationSpec), "status": structural(DistillationStatus)}
    lacking = sorted(_lacking({"properties": wanted}, served))
    if lacking:
        more = f" and {len(lacking) - _NAMED_AT_MOST} more" if len(lacking) > _NAMED_AT_MOST else ""
        raise OutdatedSchema(
            f"the cluster's CRD {PLURAL}.{GROUP} is older than this operator: it lacks"
            f" {', '.join(lacking[:_NAMED_AT_MOST])}{more}; upgrade the CRD, or run an operator of its age"
        )


def _served_kind(document: Schema) -> Schema | None:
    schemas: Mapping[str, Schema] = document.get("components", {}).get("schemas", {})
    kinds = (schema for schema in schemas.values() if _is_our_kind(schema))
    return next(kinds, None)


def _is_our_kind(schema: Schema) -> bool:
    kinds = schema.get("x-kubernetes-group-version-kind", ())
    return any(kind.get("group") == GROUP and kind.get("kind") == KIND for kind in kinds)


def _lacking(wanted: Schema, served: Schema, path: str = "") -> Iterator[str]:
    """Paths of the fields that `wanted` has and `served` lacks."""
    if "allOf" in served:  # the server wraps a schema in it to add a default
        served = {**served, **{key: value for part in served["allOf"] for key, value in part.items()}}
    for name, schema in wanted.get("properties", {}).items():
        where = f"{path}.{name}".lstrip(".")
        if name in served.get("properties", {}):
            yield from _lacking(schema, served["properties"][name], where)
        elif not served.get("x-kubernetes-preserve-unknown-fields"):
            yield where
    for part in ("items", "additionalProperties"):
        if isinstance(wanted.get(part), Mapping) and isinstance(served.get(part), Mapping):
            yield from _lacking(wanted[part], served[part], f"{path}[]")
