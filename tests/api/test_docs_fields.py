"""The fields of a Distillation, and the values of the chart, that the pages name exist."""

import re
from pathlib import Path

import pytest
import yaml

from distillery_api.crd import custom_resource_definition
from distillery_api.resource import (
    PROMOTE_ANNOTATION,
    RESTART_ANNOTATION,
    RETRY_ANNOTATION,
    RETRY_REJECTED_ANNOTATION,
)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]  # the changelog names fields of the past
VALUES = yaml.safe_load((ROOT / "helm" / "distillery" / "values.yaml").read_text())
SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
FIRST = "|".join(["spec", "status", *SCHEMA["spec"]["properties"]])
FIELD = rf"(?<![\w./-])(?:{FIRST})(?:\[\S*?\])?(?:\.[a-zA-Z]\w*(?:\[\S*?\])?)+"
QUERY = r"(?<=['{])\.(?=status|spec)"  # what kubectl's jsonpath and jq begin a field with
OTHER_ENDS = ("md", "py", "com", "yaml", "gguf")  # files and hosts
OF_OTHERS = {
    "spec.healthCheckExprs": "a field of Flux's Kustomization",
    "spec.holderIdentity": "a field of a Lease",
    "spec.DataFormat": "a class",
}


def dotted_fields(text):
    """Each field that is named with the one that it is part of, such as `serving.route` or `status.history`."""
    for name in re.findall(FIELD, re.sub(QUERY, "", text)):
        path = re.sub(r"\[.*?\]", "", name).split(".")
        if path[-1] not in OTHER_ENDS and name not in OF_OTHERS:
            yield path


def exists(path):
    """Whether the CRD has the field; one that is named without `spec` is a part of it."""
    schema = {"properties": SCHEMA if path[0] in ("spec", "status") else SCHEMA["spec"]["properties"]}
    for name in path:
        schema = schema.get("items", schema)
        schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if not schema:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_field_that_a_page_names_exists(page):
    assert [".".join(path) for path in dotted_fields(page.read_text()) if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_value_of_the_chart_that_a_page_sets_exists(page):
    names = re.findall(r"--set(?:-string)? ([a-zA-Z.]+)=", page.read_text())
    assert [name for name in names if not is_value(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_annotation_that_a_page_sets_is_read(page):
    set_by_hand = re.findall(r"kubectl annotate distill \S+ ([^\s=]+)=", page.read_text())
    read = {PROMOTE_ANNOTATION, RESTART_ANNOTATION, RETRY_ANNOTATION, RETRY_REJECTED_ANNOTATION}
    assert set(set_by_hand) <= read


def is_value(name):
    """Whether the chart's values have it."""
    value = VALUES
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value is not None


def test_what_does_not_exist_is_found():
    text = (
        "`status.serving.canry`, `serving.rollout.steps[].percent`, [status](status.md), -o jsonpath='{.status.histry}'"
    )
    found = list(dotted_fields(text))
    assert [(path, exists(path)) for path in found] == [
        (["status", "serving", "canry"], False),
        (["serving", "rollout", "steps", "percent"], True),
        (["status", "histry"], False),
    ]
    assert not is_value("crd.instal")
