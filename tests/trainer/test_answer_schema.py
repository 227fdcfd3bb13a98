"""Whether objects fit a schema, in bounded time, and the forms of a schema for prompts and servers."""

import json
from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.data.schema_validation import BoundedValidator
from distillery_trainer.parsing.answer_schema import AnswerSchema
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.tasks import task_for
from linear_time import linear_time
from task_definitions import run_config

SIZE = 64 * 1024


def schema(**fields):
    return AnswerSchema({"type": "object", "properties": fields})


def test_a_pattern_is_read_in_linear_time():
    slow = schema(a={"type": "string", "pattern": "^(a+)+$"})
    with linear_time():
        assert slow.problem({"a": "a" * SIZE + "b"}).startswith('at $.a: "aaaa')


@pytest.mark.parametrize("items", [[{"n": number} for number in range(900)], [[number] for number in range(900)]])
def test_different_items_of_a_list_are_distinguished_in_linear_time(items):
    unique = schema(a={"type": "array", "uniqueItems": True})
    with linear_time():
        assert unique.problem({"a": items}) is None
        assert unique.problem({"a": [*items, items[0]]}) == "at $.a: the list has an item twice"


def test_many_alternatives_of_many_items_are_read_in_bounded_time():
    wide = schema(a={"type": "array", "items": {"anyOf": [{"const": number} for number in range(900)]}})
    with linear_time():
        assert wide.problem({"a": [899] * 50}) is None


def test_an_answer_with_too_many_values_is_not_read():
    assert schema(a={}).problem({"a": [1] * 2000}) == "it has 2,002 values, more than the 2,000 that are read"


def test_a_long_value_does_not_hide_what_is_wrong_with_it():
    problem = schema(a={"type": "number"}).problem({"a": "x" * 5000})
    assert problem.startswith('at $.a: "xxx')
    assert problem.endswith("is not of type 'number'")
    assert len(problem) < 150


def test_fields_of_alternatives_and_of_lists_in_lists():
    one = schema(
        a={"anyOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"type": "null"}]},
        b={"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        c={},
        d={"type": "object"},
    )
    assert one.fields() == ["a.x", "b[][]", "c", "d"]
    assert one.short() == "a (object: x (string)), b (list of list of integer), c (anything), d (object)"


def test_an_object_that_is_described_in_parts_is_not_closed():
    parts = {"type": "object", "properties": {"x": {}}, "anyOf": [{"required": ["x"]}, {"required": ["y"]}]}
    assert schema(a=parts).strict["properties"]["a"] == {"anyOf": [parts, {"type": "null"}]}


def config_with(folder: Path, uri: str, stage: str = "generate", **changes):
    config = run_config("Extraction", schemaUri=uri).model_dump(mode="json", by_alias=True)
    return RunConfig.model_validate(
        {**config, "stage": stage, "workspace": str(folder), "basePath": str(folder), **changes}
    )


def test_schema_of_a_configmap(tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {"b": {}, "a": {}}}))
    config = config_with(tmp_path, "configmap://forms/schema.json", mounts={"configmap://forms": str(tmp_path)})
    assert task_for(config).fields == ["a", "b"]


def test_later_stages_take_the_schema_that_generate_has_kept(tmp_path):
    kept = tmp_path / "generate-0" / "answer-schema.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"type": "object", "properties": {"a": {}}}))
    assert task_for(config_with(tmp_path, "schema.json", "evaluate", inputs={"generate": "generate-0"})).fields == ["a"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "generation.schemaUri: s.json: the file is not JSON (line 1: Expecting property name"),
        (b"\xff\xfe", "generation.schemaUri: s.json: the file is not JSON: it is not UTF-8 text."),
        (b"[" * 100_000, "generation.schemaUri: s.json: the file is not JSON: it is too deep."),
        (b"[]", "generation.schemaUri: s.json: not a JSON object; write a JSON schema"),
        (b" " * 600_000, "generation.schemaUri: s.json: the file is larger than 524,288 bytes"),
        (b'{"type": "array"}', "generation.schemaUri: s.json: the root is not an object with fields"),
        (None, "generation.schemaUri: s.json: the file cannot be read (No such file or directory, path"),
    ],
)
def test_file_without_a_usable_schema_ends_the_stage_with_a_sentence(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        task_for(config_with(tmp_path, "s.json"))
    assert error.value.message.startswith(problem)
    assert error.value.message.endswith(".")


SLOW = {"type": "object", "properties": {"x": {}}, "patternProperties": {"^(a+)+$": {"type": "integer"}}}


def test_names_of_arguments_are_matched_in_linear_time():
    closed = BoundedValidator({**SLOW, "additionalProperties": False})
    with linear_time():
        assert not closed.is_valid({"a" * SIZE + "b": 1})
    assert closed.is_valid({"x": "any", "aa": 1})
    assert [error.message for error in closed.iter_errors({"aa": "1", "b": 2})] == [
        "'1' is not of type 'integer'",
        "Additional properties are not allowed ('b' was unexpected)",
    ]


def test_a_pattern_that_the_bounded_engine_does_not_know_allows_every_text():
    assert BoundedValidator({"pattern": "(?=a)b"}).is_valid("c")
