"""docs/manifest.md is complete, true and readable; that it is current is tested beside the CRD."""

import re
from enum import Enum
from typing import get_args

import pytest

from distillery_api.crd import custom_resource_definition
from distillery_api.manifest_reference.models import all_places, models_in, own_fields
from distillery_api.manifest_reference.page import to_markdown
from distillery_api.manifest_reference.sections import SECTIONS
from distillery_api.manifest_reference.words import as_markdown, explained_members, kind_of, split_default
from distillery_api.schema import structural
from distillery_api.spec import DataFormat, DistillationSpec, Training

MODELS = [DistillationSpec, *all_places(DistillationSpec)]
FIELDS = [pytest.param(field, id=f"{model.__name__}.{name}") for model in MODELS for name, field in own_fields(model)]
PAGE = to_markdown()


def names(node):
    """The name of every field of a schema, at any depth."""
    for name, child in node.get("properties", {}).items():
        yield name
        yield from names(child)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from names(node[key])


def test_every_field_of_the_crd_has_a_row():
    spec = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert {name for name in names(spec) if f"\n| `{name}`" not in PAGE} == set()


def test_every_row_has_as_many_cells_as_its_table_has_columns():
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(rows)) == 1, table


def test_nothing_in_the_text_is_taken_for_html():
    code = r"```.*?```|<!--.*?-->|`[^`\n]*`|<br>"
    assert re.findall(r"(?<!\\)<", re.sub(code, "", PAGE, flags=re.DOTALL)) == []


def test_every_field_that_holds_an_object_has_an_example():
    with_object = {name for name, field in own_fields(DistillationSpec) if list(models_in(field.annotation))}
    assert with_object == set(SECTIONS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_default_that_is_a_plain_value_is_the_one_that_is_stated(field):
    stated = split_default(field.description)[1]
    if not isinstance(field.default, str | int | float) or stated is None:
        return
    value = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
    assert stated.replace(",", "").split(" ")[0].rstrip(",") in (value, value.removesuffix(".0"))


def enums_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield annotation
    for inner in get_args(annotation):
        yield from enums_in(inner)


@pytest.mark.parametrize("field", FIELDS)
def test_every_member_of_an_enum_is_explained(field):
    said = field.description + " " + " ".join(explained_members(field.annotation))
    if "Values as in" in said or "Dialect of SQL" in said:
        return
    members = [member.value for enum in enums_in(field.annotation) for member in enum]
    assert [value for value in members if not re.search(rf"\b{value}\b", said)] == []


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("set storage.accessModes to [ReadWriteMany]", "set `storage.accessModes` to [ReadWriteMany]"),
        ("between <think> and </think>", "between `<think>` and `</think>`"),
        ("a text with {column}; {{ and }} are braces", "a text with `{column}`; `{{ and }}` are braces"),
        ("for example {a: {b: false}}.", "for example `{a: {b: false}}`."),
        ("use hf://ORG/NAME, or a path.", "use `hf://ORG/NAME`, or a path."),
        ("a pattern with * or a | or p < 0.05", r"a pattern with \* or a \| or p \< 0.05"),
        ("*.example.com is one of vLLM, HF_TOKEN and `a|b`", r"`*.example.com` is one of vLLM, `HF_TOKEN` and `a\|b`"),
        ("set teachers[0].pricing in distillery.dev/", "set `teachers[0].pricing` in `distillery.dev/`"),
    ],
)
def test_names_in_a_text_are_code_and_nothing_else_is_markup(text, markdown):
    assert as_markdown(text) == markdown


@pytest.mark.parametrize(
    ("docstring", "said", "default"),
    [
        ("A key. Default: none.", "A key.", "none"),
        ("Share. Default: 0.2, or 0.7\nwith samples.", "Share.", "0.2, or 0.7 with samples"),
        ("Labels. Default for NLI: a, b; for Math: none.", "Labels.", "for NLI: a, b; for Math: none"),
        ("With storage (the default), all is well.", "With storage (the default), all is well.", None),
    ],
)
def test_the_default_is_what_the_docstring_says_last(docstring, said, default):
    assert split_default(docstring) == (said, default)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("preset", "`Auto`, `Azure`"),
        ("epochs", "integer (1 to 100)"),
        ("learningRate", "number (above 0 to 1)"),
        ("timeout", "text (at most 24 characters)"),
        ("lora", "object"),
    ],
)
def test_the_type_has_its_bounds(name, kind):
    assert kind_of(structural(Training)["properties"][name]) == kind


def test_a_member_of_an_enum_may_have_a_docstring():
    assert explained_members(DataFormat)["Alpaca"] == "JSON Lines with instruction, input and output."
