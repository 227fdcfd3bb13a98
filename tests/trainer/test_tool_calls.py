"""Calls in replies: read in every form in which they come, and told from answers in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.chat.completions import read_completion
from distillery_trainer.data.known_calls import KnownCalls
from distillery_trainer.data.tool_calls import Call
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.text.matching_calls import compare, same_value

OSLO, ROME = Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})
A, B = '{"name": "weather", "arguments": {"city": "Oslo"}}', '{"name": "weather", "parameters": {"city": "Rome"}}'


@pytest.mark.parametrize(
    "text",
    [
        f"[{A}, {B}]",
        f"{A}\n{B}",
        f"{A}; {B}",
        f"<tool_call>\n{A}\n</tool_call>\n<tool_call>\n{B}\n</tool_call>",
        f"I look it up.\n<tool_call>{A}</tool_call> <tool_call>{B}",
        f"<tool_call>[{A}, {B}]</tool_call>",
        f"[TOOL_CALLS] [{A}, {B}]",
        f'{{"role": "assistant", "tool_calls": [{A}, {B}]}}',
        f"<|python_tag|>{A}; {B}",
        f"```json\n[{A}, {B}]\n```",
        f"<think>Two cities.</think>\n[{A}, {B}]",
        'weather{"city": "Oslo"}weather[ARGS]{"city": "Rome"}',
        '[{"function": {"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}, "type": "function"}, ' + B + "]",
    ],
)
def test_calls_are_read_in_every_form(text):
    assert read_calls(text) == [OSLO, ROME]


@pytest.mark.parametrize(
    "text",
    [
        "In Oslo it rains.",
        '{"temperature": 20}',
        '[{"name": "Oslo"}]',
        '{"tool_calls": []}',
        "[1, 2]",
        "f(x) = {x}",
        "weather{of Oslo}",
        "",
        "The name: weather, arguments: none.",
    ],
)
def test_answer_in_words_makes_no_call(text):
    assert read_calls(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '<tool_call>\n{"name": "weather", "arguments": {"city": \n</tool_call>',
            "A call of the reply is not valid JSON.",
        ),
        ("<tool_call></tool_call>", "A call of the reply is not valid JSON."),
        ('{"name": "weather", "arguments": "Oslo"}', 'The arguments of "weather" are not a JSON object.'),
        ('{"name": "weather", "arguments": [1]}', 'The arguments of "weather" are not a JSON object.'),
        ('{"name": 3, "arguments": {}}', "A call of the reply has no name."),
        (f"[{A}, 5]", "The reply holds something else beside its calls."),
        (f"I would call {A}, I think.", "The reply has a call inside of other text"),
        ('{"name": "weather", "arguments": {"city": "Os', "The reply has a call inside of other text"),
        ("<function=weather>Oslo</function>", "The reply has a call inside of other text"),
    ],
)
def test_call_that_cannot_be_read_is_unreadable(text, message):
    found = read_calls(text)
    assert isinstance(found, Unreadable)
    assert (found.reason, message in found.message) == ("bad_json", True)


@given(st.text(st.sampled_from('{}[]"<>:,;\\ \n`nametoolcallarguments0')) | st.text())
def test_any_text_is_calls_words_or_unreadable(text):
    assert isinstance(read_calls(text), list | Unreadable)


# --- from a server


def read(message, finish_reason="tool_calls"):
    body = {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish_reason}]}
    return read_completion(json.dumps(body).encode(), 0.1, reads_calls=True)


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"content": "", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"a": 1}}}]},
        {"content": "I call f.", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
    ],
)
def test_calls_of_a_server_are_the_reply(message):
    reply = read(message)
    assert (reply.content, reply.finish_reason) == ('[{"name":"f","arguments":{"a":1}}]', "stop")


def test_calls_of_a_server_that_cannot_be_read_are_kept_as_they_are():
    reply = read({"tool_calls": [{"function": {"name": "f", "arguments": '{"a": '}}, {"function": {"name": "g"}}, "x"]})
    assert reply.content == '[{"name":"f","arguments":"{\\"a\\": "},{"name":"g","arguments":{}}]'
    assert read_calls(reply.content).message == 'The arguments of "f" are not a JSON object.'


def test_calls_that_were_cut_off_stay_cut_off():
    call = {"function": {"name": "f", "arguments": '{"a": '}}
    assert read({"tool_calls": [call]}, finish_reason="length").finish_reason == "length"


def test_calls_that_nobody_requested_are_no_reply():
    body = {"choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": "f"}}]}}]}
    assert read_completion(json.dumps(body).encode(), 0.1).content == ""


def test_calls_in_a_stream():
    parts = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 0, "function": {"arguments": " 1}"}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": {"b": 2}}},
    ]
    chunks = [{"choices": [{"delta": {"tool_calls": [part]}}]} for part in parts]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    reply = read_completion(body, 0.1, reads_calls=True)
    assert reply.content == '[{"name":"f","arguments":{"a":1}},{"name":"g","arguments":{"b":2}}]'


# --- beside what is right


@pytest.mark.parametrize(
    ("value", "acceptable", "same"),
    [
        (2, 2.0, True),
        (2.5, 2, False),
        (True, 1, False),
        (True, True, True),
        (" New  York", "new york", True),
        ("New York", "NewYork", False),
        ("2", 2, False),
        (None, None, True),
        ([1, "A"], [1.0, "a"], True),
        ([1, 2], [2, 1], False),
        ({"min": 1}, {"min": 1.0}, True),
        ({"min": 1}, {"min": [0, 1]}, True),
        ({"min": 1}, {"min": [1], "max": ["", 3]}, True),
        ({"min": 1}, {"min": [1], "max": [3]}, False),
        ({"min": 1, "more": 2}, {"min": [1]}, False),
        ({"cards": ["A", "K"]}, {"cards": [["a", "k"]]}, True),
    ],
)
def test_same_value(value, acceptable, same):
    assert same_value(value, acceptable) is same


KNOWN = KnownCalls(
    (OSLO, Call("time", {"zone": "CET"})),
    (("weather", {"city": ["Oslo", "Oslo, Norway"], "unit": ["", "C"]}), ("time", {"zone": ["CET"]})),
)


@pytest.mark.parametrize(
    ("calls", "functions", "right", "arguments"),
    [
        ([Call("time", {"zone": "cet"}), Call("weather", {"city": "oslo, norway"})], True, True, (2, 2, 2)),
        ([Call("weather", {"city": "Oslo", "unit": "C"}), Call("time", {"zone": "CET"})], True, True, (3, 3, 3)),
        ([Call("weather", {"city": "Oslo", "unit": "F"}), Call("time", {"zone": "CET"})], True, False, (2, 3, 3)),
        ([Call("weather", {"city": "Oslo", "day": 1}), Call("time", {"zone": "CET"})], True, False, (2, 3, 2)),
        ([Call("weather", {}), Call("time", {"zone": "CET"})], True, False, (1, 1, 2)),
        ([OSLO], False, False, (1, 1, 2)),
        ([OSLO, OSLO, Call("time", {"zone": "CET"})], False, False, (2, 3, 2)),
        ([Call("rain", {"city": "Oslo"}), Call("time", {"zone": "CET"})], False, False, (1, 2, 2)),
        ([], False, False, (0, 0, 2)),
    ],
)
def test_calls_beside_the_known_ones(calls, functions, right, arguments):
    found = compare(calls, KNOWN)
    assert (found.functions_right, found.right) == (functions, right)
    assert (found.right_arguments, found.answered_arguments, found.expected_arguments) == arguments


def test_each_call_is_meant_as_the_known_one_that_suits_it():
    known = KnownCalls((Call("f", {"a": 1, "b": 1}), Call("f", {"a": 2, "b": 1})))
    assert compare([Call("f", {"a": 2, "b": 1}), Call("f", {"a": 1, "b": 1})], known).right
    assert not compare([Call("f", {"a": 1, "b": 1}), Call("f", {"a": 1, "b": 1})], known).right


def test_no_call_is_right_where_none_is_known():
    assert compare([], KnownCalls()).right
    assert not compare([OSLO], KnownCalls()).right
