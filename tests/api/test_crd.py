from pathlib import Path

from distillery_api.crd import to_yaml
from distillery_api.manifest_reference.page import to_markdown
from distillery_api.schema import structural
from distillery_api.spec import DistillationSpec, Lora, Storage, Teacher

REFERENCE = Path(__file__).parents[2] / "docs" / "manifest.md"
CRD = Path(__file__).parents[2] / "crds" / "distillations.yaml"


def test_the_committed_crd_is_what_the_models_generate():
    assert CRD.read_text() == to_yaml(), "run `make manifests`"


def test_the_committed_reference_is_what_the_models_generate():
    assert REFERENCE.read_text() == to_markdown(), "run `make manifests`"


def test_exclusive_bound_becomes_a_flag():
    assert structural(Lora)["properties"]["dropout"] == {
        "type": "number",
        "description": "Dropout probability of the adapters' inputs, from 0 to below 1. Default: 0.",
        "default": 0,
        "minimum": 0,
        "maximum": 1,
        "exclusiveMaximum": True,
    }


def test_optional_field_is_its_type_without_null():
    assert structural(Storage)["properties"]["retention"] == {
        "type": "string",
        "description": (
            "What happens to the created claim when the Distillation is deleted: Retain keeps it, with all paid"
            " replies; Delete deletes it. Default: Retain."
        ),
        "enum": ["Retain", "Delete"],
    }


def test_object_with_defaults_defaults_to_an_empty_object():
    assert structural(DistillationSpec)["properties"]["serving"]["default"] == {}


def _nodes(node):
    yield node
    for child in [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]:
        if isinstance(child, dict):
            yield from _nodes(child)


def test_every_field_is_described():
    undescribed = [
        name
        for node in _nodes(structural(DistillationSpec))
        for name, field in node.get("properties", {}).items()
        if not field.get("description")
    ]
    assert undescribed == []


def test_every_text_list_and_map_is_bounded():
    for node in _nodes(structural(DistillationSpec)):
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, node
        if node.get("type") == "array":
            assert "maxItems" in node, node
        if "additionalProperties" in node:
            assert "maxProperties" in node, node


def test_items_of_lists_have_no_defaults_so_that_a_stored_list_equals_the_manifests():
    lists = [node["items"] for node in _nodes(structural(DistillationSpec)) if "items" in node]
    assert [node for each in lists for node in _nodes(each) if "default" in node] == []
    assert structural(Teacher)["properties"]["reasoning"]["default"] is False
