"""JSON schemas of answers: what is accepted, and their plain form."""

import pytest

from distillery_api.answer_schema import InvalidSchema, written_out

NAME = {"type": "object", "properties": {"name": {"type": "string"}}}


def with_field(field, **more):
    return {"type": "object", "properties": {"a": field}, **more}


def test_references_are_written_out_and_keys_sorted():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/Invoice",
        "definitions": {
            "Invoice": {
                "type": "object",
                "title": "Invoice",
                "properties": {"seller": {"$ref": "#/definitions/Party", "description": "Who sells"}, "buyer": NAME},
            },
            "Party": NAME,
        },
    }
    assert list(written_out(schema)) == ["properties", "title", "type"]
    assert written_out(schema) == {
        "type": "object",
        "title": "Invoice",
        "properties": {"buyer": NAME, "seller": {**NAME, "description": "Who sells"}},
    }


def test_a_reference_with_rules_beside_it_keeps_both():
    schema = with_field(
        {"$ref": "#/$defs/Text", "type": "string"}, **{"$defs": {"Text": {"type": "string", "minLength": 2}}}
    )
    assert written_out(schema)["properties"]["a"] == {"allOf": [{"type": "string", "minLength": 2}], "type": "string"}


def test_the_given_schema_stays_as_it_is():
    schema = with_field({"$ref": "#/$defs/N"}, **{"$defs": {"N": NAME}})
    written_out(schema)
    assert schema == with_field({"$ref": "#/$defs/N"}, **{"$defs": {"N": NAME}})


def nested(levels):
    field = {"type": "string"}
    for _ in range(levels):
        field = with_field(field)
    return field


DOUBLING = {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(15)}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "not a JSON object"),
        ({}, "the root is not an object with fields"),
        ({"type": "object"}, "the root is not an object with fields"),
        ({"type": "array", "items": NAME}, "the root is not an object with fields"),
        (with_field({"type": "strin"}), "$.properties.a.type: 'strin' is not valid"),
        (with_field({"minLength": -1}), "$.properties.a.minLength: -1 is less than the minimum of 0"),
        (with_field({"items": [NAME]}), "$.properties.a.items: [{'type'"),
        (with_field({"$ref": "https://example.com/s.json"}), "only parts of this schema are supported"),
        (with_field({"$ref": "other.json#/a"}), "only parts of this schema are supported"),
        (with_field({"$ref": "#name"}), "only parts of this schema are supported"),
        (with_field({"$ref": "#/$defs/B"}), '$.properties.a: "#/$defs/B" does not exist'),
        (with_field({"$ref": "#"}), "refers to itself"),
        (with_field({"$ref": "#/$defs/B"}, **{"$defs": {"B": {"$ref": "#/$defs/B"}}}), "refers to itself"),
        (with_field({"$ref": "#/$defs/B"}, **{"$defs": {"B": with_field({"$ref": "#/$defs/B"})}}), "refers to itself"),
        (with_field({"$ref": "#/$defs/d0"}, **{"$defs": {**DOUBLING, "d15": {}}}), "more than 1,000 schemas"),
        (nested(30), "more than 20 schemas within each other"),
        (nested(3000), "not JSON"),
        (with_field({"description": "x" * 70_000}), "more than the 65,536 that are supported"),
        (with_field({"pattern": "(?=a)b"}), '$.properties.a: the pattern "(?=a)b" is not supported'),
        (with_field({"pattern": "(a"}), '$.properties.a: the pattern "(a" is not supported'),
        (with_field({"patternProperties": {"(a+)+$": {}}}), "$.properties.a: patternProperties is not supported"),
        (with_field({"$dynamicRef": "#a"}), "$.properties.a: $dynamicRef is not supported"),
        (with_field({"const": None}), "$.properties.a: const has no value; write type: 'null'"),
        (with_field({"const": float("nan")}), "not JSON"),
    ],
)
def test_schema_that_cannot_be_used_is_refused_with_a_sentence(schema, problem):
    with pytest.raises(InvalidSchema) as refused:
        written_out(schema)
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "field", [True, {}, {"pattern": "^(a+)+$"}, {"enum": ["x", None]}, {"default": None}, nested(15)]
)
def test_schema_that_is_accepted(field):
    assert written_out(with_field(field))["properties"]["a"] == field
