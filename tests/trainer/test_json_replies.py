"""Structured replies, however they are wrapped, cut or misspelt."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.json_replies import (
    JsonField,
    find_json,
    read_json_field,
    read_reasoning_field,
    without_code_fence,
)
from distillery_trainer.tasks import Unreadable

LEAVES = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


def anything(value: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"answer": 72}', 72),
        ('Sure:\n```json\n{"reason": "x", "answer": 72}\n```\nDone.', 72),
        ('[{"answer": 72}]', 72),
        ('In [0, 1) {so} it is {"answer": 72}.', 72),
        ("{'answer': 72, }", 72),
        ('{"reason": "He said "no" {twice}", "answer": "72"}', "72"),
        ('{"reason": "one\nline", "answer": null}', None),
        ('{"reason": "\\(x\\)", "answer": 72}', 72),
        ('{"problem": "?"} {"answer": 72}', 72),
    ],
)
def test_value_under_a_key(reply, value):
    assert read_json_field(reply, "answer") == JsonField(value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ('{"reason": "x"}', 'The reply is JSON without the key "answer".'),
        ('{"reason": "x", "answer": 7', "The reply is not valid JSON."),
        ('```json\n{"answer": 7', "The reply is not valid JSON."),
        ('The "answer" is', "The reply is not valid JSON."),
        ("[1, 2]", "The reply is not valid JSON."),
    ],
)
def test_text_that_looks_like_json_and_is_invalid(reply, message):
    assert read_json_field(reply, "answer") == Unreadable("bad_json", message)


@pytest.mark.parametrize("reply", ["", "72", "The answer is 72.", "It is {72}."])
def test_prose_is_not_json(reply):
    assert read_json_field(reply, "answer") is None


def test_half_a_character_is_replaced_and_all_digits_are_kept():
    assert read_json_field('{"answer": "half \\ud83d, whole \\ud83d\\ude00"}', "answer") == JsonField(
        "half \ufffd, whole \U0001f600"
    )
    assert read_json_field('{"answer": 0.12345678901234567890}', "answer") == JsonField(
        Decimal("0.12345678901234567890")
    )


@pytest.mark.parametrize(
    "reply", ['{"answer": 1, "answer": 2}', "{'answer': 1, 'answer': 2}", '{"answer": 1} {"answer": 2}']
)
def test_two_values_under_a_key_are_not_chosen_from(reply):
    message = 'The reply has the key "answer" more than once, with other values.'
    assert read_json_field(reply, "answer") == Unreadable("bad_json", message)
    assert read_json_field(reply.replace("2", "1"), "answer") != JsonField(2)


def test_what_was_cut_off_after_a_bracket_is_not_repaired():
    assert isinstance(read_json_field('{"answer": "\\frac{1}{2} or', "answer"), Unreadable)
    assert isinstance(read_json_field('{"answer": "\\frac{1}{2}', "answer"), Unreadable)


def test_reason_of_a_reply():
    assert read_reasoning_field('<think>hm</think>```json\n{"reason": " because ", "answer": 1}\n```') == "because"
    assert read_reasoning_field('{"answer": 1}') is None
    assert read_reasoning_field("because") is None


def test_code_fence_is_removed():
    assert without_code_fence("Here:\n```\nA\n```\nB") == "A"
    assert without_code_fence(" A ") == "A"


@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1), st.text(alphabet="ab. \n"), st.text(max_size=20))
def test_valid_object_is_found_in_any_surroundings(value, before, after):
    assert find_json(before + json.dumps(value) + after, anything)[0] == value


@given(st.text(alphabet='{}[]"\\:,ab1 \n', max_size=60))
def test_any_brackets_are_read_or_not(text):
    read_json_field(text, "a")


@pytest.mark.parametrize(
    "text", ["[" * 20_000, "{" * 20_000, '{"a":' * 5_000, '"' * 20_001 + "{}", "[{" * 8_000 + "}]"]
)
@pytest.mark.timeout(60)
def test_hostile_reply_is_parsed_in_finite_time(text):
    read_json_field(text, "answer")
