"""With an older CRD the server silently drops fields, so the CRD is checked before anything else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from distillery_api.schema import structural
from distillery_api.spec import DistillationSpec
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.crd_check import check_served_schema
from distillery_operator.errors import OutdatedSchema


def served() -> dict[str, Any]:
    """The document that the API server publishes for the current CRD."""
    kind = {"group": "distillery.dev", "kind": "Distillation", "version": "v1alpha1"}
    spec, status = structural(DistillationSpec), structural(DistillationStatus)
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    schemas = {
        "dev.distillery.v1alpha1.DistillationList": {"properties": {}},
        "dev.distillery.v1alpha1.Distillation": {**schema, "x-kubernetes-group-version-kind": [kind]},
    }
    return copy.deepcopy({"components": {"schemas": schemas}})


def properties(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["dev.distillery.v1alpha1.Distillation"]["properties"]
    return found


def test_the_current_crd_is_accepted() -> None:
    check_served_schema(served())


def test_a_newer_crd_is_accepted() -> None:
    document = served()
    properties(document)["spec"]["properties"]["gate"] = {"type": "object"}
    check_served_schema(document)


def test_an_older_crd_is_refused_with_the_fields_it_lacks() -> None:
    document = served()
    del properties(document)["spec"]["properties"]["serving"]["properties"]["replicas"]
    del properties(document)["status"]["properties"]["stages"]["items"]["properties"]["retryTime"]
    with pytest.raises(OutdatedSchema) as error:
        check_served_schema(document)
    assert "is older than this operator: it lacks spec.serving.replicas, status.stages[].retryTime;" in str(error.value)


def test_of_many_fields_a_few_are_named() -> None:
    document = served()
    properties(document)["spec"]["properties"] = {}
    with pytest.raises(OutdatedSchema, match=r"lacks (spec\.[a-zA-Z]+,? ){5}and [0-9]+ more;"):
        check_served_schema(document)


def test_for_a_cluster_without_the_crd_it_says_what_to_install() -> None:
    with pytest.raises(OutdatedSchema, match=r"install the CRD distillations\.distillery\.dev"):
        check_served_schema({"components": {"schemas": {}}})
