"""Extraction: prompts, replies with objects, their canonical form, scores, rules of rows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.data.canonical_json import canonical_json
from distillery_trainer.parsing.written_json import parsed_as_written
from distillery_trainer.tasks import Unreadable
from task_definitions import new_row, task_definition

INVOICE = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "currency": {"enum": ["EUR", "USD"]},
        "date": {"type": "string", "format": "date"},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}},
        },
        "seller": {"type": "object", "properties": {"city": {"type": ["string", "null"]}}, "required": ["city"]},
    },
    "required": ["total"],
    "additionalProperties": False,
}
TEXT = "Invoice of 5 March 2026: two lamps, 24.50 euros."
PLAIN = task_definition("Extraction", schema=INVOICE)
REASONED = task_definition("Extraction", schema=INVOICE, chainOfThought=True)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ('{"total": 24.5}', '{"total":24.5}'),
        ('{"total": 24.50, "currency": "EUR"}', '{"currency":"EUR","total":24.50}'),
        ('{"total": 2.45e1}', '{"total":2.45e1}'),
        ('```json\n{"total": 1}\n```', '{"total":1}'),
        ('Here you are: {"total": 1}. Anything else?', '{"total":1}'),
        ('<think>{"total": 2}?</think>{"total": 1}', '{"total":1}'),
        ('[{"total": 1}]', '{"total":1}'),
        ('{"total": 1, "date": null, "items": null}', '{"total":1}'),
        ('{"total": 1, "seller": {"city": null}}', '{"seller":{"city":null},"total":1}'),
        (
            '{"total": 1, "items": [{"price": 2, "name": "L\\u00fcster"}]}',
            '{"items":[{"name":"L\u00fcster","price":2}],"total":1}',
        ),
        ('{"total": 1, "items": [{"price": null}]}', '{"items":[{}],"total":1}'),
        ("{'total': 1,}", '{"total":1}'),
        ('{"total": 1}\n{"total": 1}', '{"total":1}'),
        ('{"note": "a first try"}\n{"total": 1}', '{"total":1}'),
        ('{"total": 1, "total": 1}', '{"total":1}'),
    ],
)
def test_object_in_a_reply_is_kept_as_canonical_json(reply, answer):
    assert PLAIN.read_answer(reply, TEXT) == answer


@pytest.mark.parametrize(
    ("reply", "reason", "message"),
    [
        ("", "empty", "The reply is empty."),
        ("The total is 24.5.", "bad_json", "The reply has no JSON object."),
        ('{"total": 24.5', "bad_json", "The reply is not valid JSON."),
        ('{"total": 1} or {"total": 2}', "bad_json", "The reply has 2 different objects that fit generation.schema."),
        ('{"total": 1, "total": 2}', "bad_json", "The reply has a key more than once, with other values."),
        ('[{"total": 1}, {"total": 2}]', "bad_json", "The reply is not valid JSON."),
        (
            '{"total": "24.5"}',
            "schema_mismatch",
            "The object does not fit generation.schema: at $.total: \"24.5\" is not of type 'number'.",
        ),
        ("{}", "schema_mismatch", "The object does not fit generation.schema: at $: 'total' is a required property."),
        (
            '{"total": 1, "date": "5 March"}',
            "schema_mismatch",
            "The object does not fit generation.schema: at $.date: \"5 March\" is not a 'date'.",
        ),
        (
            '{"total": 1, "items": [{"name": "a"}, {"name": 1}]}',
            "schema_mismatch",
            "The object does not fit generation.schema: at $.items[1].name: 1 is not of type 'string'.",
        ),
        (
            '{"total": 1, "vat": 2}',
            "schema_mismatch",
            "The object does not fit generation.schema: at $: Additional properties are not allowed ('vat' was"
            " unexpected).",
        ),
        (
            '{"total": null}',
            "schema_mismatch",
            "The object does not fit generation.schema: at $.total: null is not of type 'number'.",
        ),
        ('{"total": NaN}', "schema_mismatch", None),
        ('{"total": 1e999}', "bad_json", None),
        ('{"total": ' + "9" * 5000 + "}", "schema_mismatch", None),
        ('{"total": ' + "9" * 500 + "}", "bad_json", "The reply has a number of more than 100 digits."),
        ('{"total": 1, "items": [' + ",".join(["{}"] * 3000) + "]}", "schema_mismatch", None),
    ],
)
def test_reply_without_one_object_of_the_schema(reply, reason, message):
    answer = PLAIN.read_answer(reply, TEXT)
    assert isinstance(answer, Unreadable)
    assert answer.reason == reason
    assert message is None or answer.message == message


def test_object_is_taken_from_beside_the_reasoning():
    reply = '{"reason": "24.50 is the sum.", "object": {"total": 24.50, "currency": null}}'
    assert REASONED.read_answer(reply, TEXT) == '{"total":24.50}'
    assert REASONED.read_reasoning(reply) == "24.50 is the sum."
    assert REASONED.read_answer('{"total": 1}', TEXT) == '{"total":1}'


def test_own_fields_named_as_those_of_chain_of_thought_are_an_answer_without_it():
    fields = {"type": "object", "properties": {"reason": {"type": "string"}, "object": {"type": "object"}}}
    task = task_definition("Extraction", schema=fields)
    assert task.read_answer('{"reason": "late", "object": {}}', TEXT) == '{"object":{},"reason":"late"}'
    assert task.read_reasoning('{"reason": "late", "object": {}}') is None


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_canonical_json_of_canonical_json_is_the_same(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(parsed_as_written(text)) == text


@given(st.text(alphabet='0123456789.e-,:"{}[] totalnm\\\n'))
def test_any_reply_is_an_object_that_reads_the_same_or_unreadable(reply):
    answer = PLAIN.read_answer(reply, TEXT)
    assert isinstance(answer, Unreadable) or PLAIN.read_answer(answer, TEXT) == answer


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        ('{"total":24.5}', '{"total": 24.50}', 1),
        ('{"total":24.5}', '{"total": 24.50, "currency": null, "items": [], "date": ""}', 1),
        ('{"total":24.5}', '{"total": 24.50, "currency": "EUR"}', 2 / 3),
        ('{"total":24.5,"currency":"USD"}', '{"total": 24.50, "currency": "EUR"}', 1 / 2),
        ('{"total":1}', '{"total":2}', 0),
        ('{"total":1}', ['{"total":2}', '{"total":1.0}'], 1),
        (
            '{"items":[{"name":"a","price":1},{"name":"b","price":2}],"total":3}',
            '{"items":[{"name":"b","price":2},{"name":"a","price":1}],"total":3}',
            1,
        ),
        (
            '{"items":[{"name":"a","price":2},{"name":"b","price":1}],"total":3}',
            '{"items":[{"name":"a","price":1},{"name":"b","price":2}],"total":3}',
            3 / 5,
        ),
    ],
)
def test_score_is_f1_of_the_fields(answer, gold, score):
    assert PLAIN.score(answer, gold) == pytest.approx(score)
    assert PLAIN.correct(answer, gold) is (score == 1)


def test_objects_that_say_the_same_have_one_vote_key():
    assert PLAIN.vote_key('{"date":"2026-03-05","total":1}') == PLAIN.vote_key('{"date":"5 March 2026","total":1.0}')
    assert PLAIN.vote_key('{"total":1}') != PLAIN.vote_key('{"total":2}')
    assert PLAIN.vote_key("{}") == "{}"


def test_prompts():
    system, user = PLAIN.teacher_messages(new_row(TEXT))
    assert "Reply with a single JSON object that fits this JSON schema:\n{" in system["content"]
    assert '"currency": {"enum": ["EUR", "USD"]}' in system["content"]
    assert user["content"] == f"<item>\n{TEXT}\n</item>"
    assert PLAIN.student_messages(new_row(TEXT))[0]["content"] == (
        "Extract these fields from the text: currency (one of EUR, USD), date (date), items (list of object: name"
        " (string), price (number)), seller (object: city (string)), total (number). Leave out what the text does not"
        " say. Reply with one JSON object and nothing else."
    )
    assert "step by step" in REASONED.teacher_messages(new_row(TEXT))[0]["content"]


def test_own_teacher_prompt_is_followed_by_the_schema():
    task = task_definition("Extraction", schema=INVOICE, prompts={"teacher": "Read the invoice."})
    system, user = task.teacher_messages(new_row(TEXT, system="Be exact."))
    assert system["content"].startswith(
        "Read the invoice.\n\nReply with a single JSON object that fits this JSON schema"
    )
    assert user["content"] == TEXT


def test_own_student_prompt_is_kept():
    task = task_definition("Extraction", schema=INVOICE, prompts={"student": "Total as JSON."})
    assert task.student_messages(new_row(TEXT))[0]["content"] == "Total as JSON."
    assert PLAIN.student_messages(new_row(TEXT, system="Be exact."))[0]["content"] == "Be exact."


def test_response_format_has_all_fields_of_every_object():
    assert PLAIN.request_parameters()["response_format"]["json_schema"] == {
        "name": "reply",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "currency": {"anyOf": [{"enum": ["EUR", "USD"]}, {"type": "null"}]},
                "date": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                "items": {
                    "anyOf": [
                        {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                                    "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                                },
                                "required": ["name", "price"],
                                "additionalProperties": False,
                            },
                        },
                        {"type": "null"},
                    ]
                },
                "seller": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {"city": {"type": ["string", "null"]}},
                            "required": ["city"],
                            "additionalProperties": False,
                        },
                        {"type": "null"},
                    ]
                },
                "total": {"type": "number"},
            },
            "required": ["currency", "date", "items", "seller", "total"],
            "additionalProperties": False,
        },
    }
    assert REASONED.reply_schema()["required"] == ["reason", "object"]


def test_rules_of_rows():
    assert PLAIN.row_problem(new_row(TEXT, gold='{"total": 24.5, "date": null}')) is None
    assert PLAIN.row_problem(new_row(TEXT, gold="24.5")) == (
        'the gold answer "24.5" is not a JSON object; write one, such as {"field": "value"}'
    )
    assert PLAIN.row_problem(new_row(TEXT, gold=['{"total": 1}', '{"total": "1"}'])) == (
        "the gold answer does not fit generation.schema: at $.total: \"1\" is not of type 'number'; correct it, or the"
        " schema"
    )
    assert PLAIN.row_problem(new_row(TEXT, gold='{"total": 1, "total": 2}')) == (
        "the gold answer has a key more than once, with other values; correct it"
    )
    assert PLAIN.row_problem(new_row(TEXT, "1", "Why?")).startswith("a row of the task Extraction has one user message")
