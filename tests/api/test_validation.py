import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from distillery_api.base import RULES_KEYWORD
from distillery_api.crd import custom_resource_definition
from distillery_api.resource import Distillation
from manifest_cases import ManifestCase, manifest_cases

CASES = manifest_cases()


@pytest.mark.parametrize("case", [c for c in CASES if c.refused is None], ids=lambda c: c.say)
def test_good_manifest_is_accepted(case: ManifestCase):
    assert Distillation.model_validate(case.manifest).metadata.name == case.manifest["metadata"]["name"]


@pytest.mark.parametrize("case", [c for c in CASES if c.refused is not None], ids=lambda c: c.say)
def test_bad_manifest_is_refused_with_its_remedy(case: ManifestCase):
    with pytest.raises(ValidationError) as refusal:
        Distillation.model_validate(case.manifest)
    assert case.refused in str(refusal.value)


def test_the_table_holds_at_least_a_hundred_and_fifty_manifests():
    assert len(CASES) >= 150


def _rule_messages(node: Any) -> Iterator[str]:
    """The message of every rule in a schema."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        yield from _rule_messages(child)
    if isinstance(node, dict):
        # Rules of a change are tested with two manifests, by the API server (tests/cluster).
        yield from (rule["message"] for rule in node.get(RULES_KEYWORD, []) if "oldSelf" not in rule["rule"])


def _broken_rules(case: ManifestCase) -> list[str]:
    """The messages of the rules that the manifest breaks, as Python checks them."""
    try:
        Distillation.model_validate(case.manifest)
    except ValidationError as refusal:
        return [error["msg"] for error in refusal.errors() if error["type"] == "rule"]
    return []


def test_every_rule_is_broken_by_a_manifest_of_the_table():
    broken = {message for case in CASES for message in _broken_rules(case)}
    assert set(_rule_messages(custom_resource_definition())) - broken == set()


def test_the_field_that_a_rule_names_first_is_one_of_its_model():
    """Both judges write the path of the model before the message."""
    named = [
        (schema["properties"], match[1])
        for schema in _schemas(custom_resource_definition())
        for rule in schema.get(RULES_KEYWORD, [])
        if "properties" in schema and (match := re.match(r"([a-z][a-zA-Z]*)[.a-zA-Z]*: ", rule["message"]))
    ]
    assert [name for properties, name in named if name not in properties] == []
    assert len(named) >= 15


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the CRD."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        yield from _schemas(child)
    if isinstance(node, dict):
        yield node
