"""Rows with tools: OpenAI's form, ShareGPT and Hermes are read alike, and what cannot be is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_source import row_of, rule_of
from distillery_trainer.data.formats.hermes import without_tools
from distillery_trainer.data.known_calls import KnownCalls
from distillery_trainer.data.tool_calls import Call, read_written, written
from distillery_trainer.data.tool_messages import chat_fields, with_tools

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather in a city.", "parameters": PARAMETERS},
}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Is it raining in Oslo and Rome?"}
OSLO, ROME = {"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "weather", "arguments": {"city": "Rome"}}
AS_TEXT = [
    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
    {"id": "b", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}},
]
CALLS = {"role": "assistant", "content": None, "tool_calls": AS_TEXT}
RESULTS = [
    {"role": "tool", "tool_call_id": "b", "content": "dry"},
    {"role": "tool", "tool_call_id": "a", "content": "rain"},
]
ANSWER = {"role": "assistant", "content": "In Oslo it is."}
READ_CALLS = [
    {"id": "call00001", "type": "function", "function": OSLO},
    {"id": "call00002", "type": "function", "function": ROME},
]


def test_row_in_the_form_of_openai(tmp_path):
    row = row_of(tmp_path, {"messages": [SYSTEM, USER, CALLS, *RESULTS, ANSWER], "tools": [WEATHER], "id": 7})
    assert row.tools == [WEATHER]
    assert row.messages == [
        SYSTEM,
        USER,
        {"role": "assistant", "content": "", "tool_calls": READ_CALLS},
        {"role": "tool", "content": "dry", "tool_call_id": "call00002"},
        {"role": "tool", "content": "rain", "tool_call_id": "call00001"},
    ]
    assert row.existing_replies == [
        '[{"name":"weather","arguments":{"city":"Oslo"}},{"name":"weather","arguments":{"city":"Rome"}}]',
        "In Oslo it is.",
    ]


def test_calls_at_the_end_of_a_row_are_its_existing_reply(tmp_path):
    row = row_of(tmp_path, {"messages": [USER, {**CALLS, "tool_calls": AS_TEXT[:1]}], "tools": [WEATHER]})
    assert (row.messages, row.reply) == ([USER], '[{"name":"weather","arguments":{"city":"Oslo"}}]')


FUNCTION = WEATHER["function"]


def test_functions_of_the_first_api_with_tools(tmp_path):
    made = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    result = {"role": "function", "name": "weather", "content": "rain"}
    row = row_of(tmp_path, {"messages": [USER, made, result], "functions": [FUNCTION]})
    assert row.tools == [WEATHER]
    assert row.messages[1:] == [
        {"role": "assistant", "content": "", "tool_calls": READ_CALLS[:1]},
        {"role": "tool", "content": "rain", "tool_call_id": "call00001"},
    ]


SHARE_GPT = [
    {"from": "human", "value": USER["content"]},
    {"from": "function_call", "value": json.dumps([OSLO, ROME])},
    {"from": "observation", "value": '["rain", "dry"]'},
    {"from": "gpt", "value": "In Oslo it is."},
]
HERMES_CALLS = "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in (OSLO, ROME))
HERMES_RESULTS = "<tool_response>\nrain\n</tool_response>\n<tool_response>dry</tool_response>"
HERMES_SYSTEM = f"""Be brief.
You may call functions. They stand between <tools></tools> marks.
<tools> [{json.dumps(WEATHER)}] </tools>
Write each call as
<tool_call>
{{"name": ..., "arguments": ...}}
</tool_call>"""


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": SHARE_GPT, "system": "Be brief.", "tools": json.dumps([FUNCTION])},
        {
            "conversations": [
                {"from": "system", "value": HERMES_SYSTEM},
                {"from": "human", "value": USER["content"]},
                {"from": "gpt", "value": HERMES_CALLS},
                {"from": "tool", "value": HERMES_RESULTS},
                {"from": "gpt", "value": "In Oslo it is."},
            ]
        },
        {
            "conversations": [
                {"from": "system", "value": HERMES_SYSTEM.replace(json.dumps(WEATHER), str(WEATHER))},
                {"from": "human", "value": USER["content"]},
                {"from": "gpt", "value": f"<tool_call>{OSLO}</tool_call><tool_call>{ROME}</tool_call>"},
                {"from": "tool", "value": HERMES_RESULTS},
                {"from": "gpt", "value": "In Oslo it is."},
            ]
        },
        {
            "messages": [
                {"role": "system", "content": HERMES_SYSTEM},
                USER,
                {"role": "assistant", "content": HERMES_CALLS},
                {"role": "tool", "content": HERMES_RESULTS},
                ANSWER,
            ]
        },
        {
            "messages": [
                SYSTEM,
                USER,
                {"role": "assistant", "tool_calls": [OSLO, ROME]},
                {"role": "tool", "name": "weather", "content": "rain"},
                {"role": "tool", "name": "weather", "content": "dry"},
                ANSWER,
            ],
            "tools": [FUNCTION],
        },
        {
            "prompt": [
                SYSTEM,
                USER,
                {"role": "assistant", "content": "", "tool_calls": READ_CALLS},
                {"role": "tool", "content": "rain", "tool_call_id": "call00001"},
                {"role": "tool", "content": "dry", "tool_call_id": "call00002"},
            ],
            "completion": [ANSWER],
            "tools": [WEATHER],
        },
    ],
    ids=["ShareGPT", "Hermes in ShareGPT", "as Python prints it", "Hermes in messages", "calls without ids", "prompt"],
)
def test_other_forms_are_read_into_that_of_openai(tmp_path, record):
    row = row_of(tmp_path, record)
    assert (row.tools, row.reply) == ([WEATHER], "In Oslo it is.")
    assert row.messages == [
        SYSTEM,
        USER,
        {"role": "assistant", "content": "", "tool_calls": READ_CALLS},
        {"role": "tool", "content": "rain", "tool_call_id": "call00001"},
        {"role": "tool", "content": "dry", "tool_call_id": "call00002"},
    ]


@pytest.mark.parametrize(
    ("tool", "read"),
    [
        ({"name": "now"}, {"name": "now", "parameters": {"type": "object", "properties": {}}}),
        ({"name": "f", "input_schema": PARAMETERS, "description": "d"}, {"name": "f", "description": "d"}),
        ({"type": "function", "name": "f", "parameters": json.dumps(PARAMETERS)}, {"name": "f"}),
        ({"type": "function", "function": {"name": "math.sum-1", "parameters": PARAMETERS}}, {"name": "math.sum-1"}),
    ],
)
def test_tools_of_several_apis(tmp_path, tool, read):
    row = row_of(tmp_path, {"messages": [USER], "tools": [tool]})
    assert row.tools == [{"type": "function", "function": {"parameters": PARAMETERS, **read}}]


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"messages": [USER], "tools": {"a": 1}}, '"tools" is not a list; write [{"type": "function"'),
        ({"messages": [USER], "tools": "[{]"}, '"tools": the text is no valid JSON'),
        ({"messages": [USER], "tools": ["weather"]}, "tool 1: not an object; write"),
        ({"messages": [USER], "tools": [{"type": "web_search"}]}, "tool 1: the type 'web_search' is not supported"),
        ({"messages": [USER], "tools": [WEATHER, {"name": "get weather"}]}, "tool 2: the name 'get weather' is not"),
        ({"messages": [USER], "tools": [WEATHER, FUNCTION]}, 'two tools have the name "weather"; rename or remove one'),
        (
            {"messages": [USER], "tools": [{"name": "f", "parameters": [1]}]},
            'tool 1 ("f"): the parameters are not an object; write a JSON schema',
        ),
        (
            {"messages": [USER], "tools": [{"name": "f", "parameters": {"city": {"type": "str"}}}]},
            'tool 1 ("f"): the parameters are not a schema of an object; write {"type": "object", "properties"',
        ),
        (
            {"messages": [USER], "tools": [{"name": "f", "parameters": {"type": "array"}}]},
            'tool 1 ("f"): the parameters are not a schema of an object',
        ),
        (
            {
                "messages": [USER],
                "tools": [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "str"}}}}],
            },
            'tool 1 ("f"): the parameters are no valid JSON schema: properties.a.type: ',
        ),
        ({"messages": [USER, CALLS, ANSWER]}, "message 3: 2 calls before it have no result; write one result for each"),
        ({"messages": [USER, CALLS, RESULTS[0]]}, "the last call has no result"),
        ({"messages": [USER, CALLS, *RESULTS, RESULTS[0]]}, "message 5: a result without a call before it"),
        (
            {"messages": [USER, CALLS, {**RESULTS[0], "tool_call_id": "c"}]},
            "message 3: the result names the call 'c', which is not made before it",
        ),
        ({"messages": [USER, CALLS, *RESULTS, USER]}, "wrong order of roles (user, assistant, tool, tool, user)"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{city"}]}]},
            'message 2: the arguments of "f": the text is no valid JSON',
        ),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": [1]}]}]},
            'message 2: the arguments of "f" are not an object',
        ),
        ({"messages": [USER], "tools": [WEATHER], "tool_choice": "required"}, 'only "auto" is supported'),
        ({"messages": [USER], "tools": [WEATHER], "gold": {"calls": []}}, "gold has no list of calls; write"),
        (
            {"messages": [USER], "tools": [WEATHER], "gold": {"tool_calls": [OSLO], "acceptable": [{"rain": {}}]}},
            '"acceptable" names other functions than the calls of gold',
        ),
        (
            {"messages": [USER], "tools": [WEATHER], "gold": [OSLO], "acceptable": [{"weather": {"city": "Oslo"}}]},
            '"acceptable" of "weather" is not an object with a list for each argument',
        ),
    ],
)
def test_row_that_cannot_be_used_says_why(tmp_path, record, rule):
    assert rule in rule_of(tmp_path, record, format="OpenAIFineTuning")


@pytest.mark.parametrize(
    ("record", "gold"),
    [
        ({"gold": {"tool_calls": [OSLO]}}, '[{"name":"weather","arguments":{"city":"Oslo"}}]'),
        ({"gold": {"tool_calls": AS_TEXT[:1]}}, '[{"name":"weather","arguments":{"city":"Oslo"}}]'),
        ({"gold": [OSLO]}, '[{"name":"weather","arguments":{"city":"Oslo"}}]'),
        ({"gold": json.dumps([OSLO])}, '[{"name":"weather","arguments":{"city":"Oslo"}}]'),
        ({"gold": {"tool_calls": []}}, "[]"),
        ({"gold": "I cannot know."}, "I cannot know."),
        (
            {"gold": {"tool_calls": [OSLO]}, "acceptable": [{"weather": {"city": ["Oslo", "Oslo, Norway"]}}]},
            '{"tool_calls":[{"name":"weather","arguments":{"city":"Oslo"}}],'
            '"acceptable":[{"weather":{"city":["Oslo","Oslo, Norway"]}}]}',
        ),
    ],
)
def test_gold_of_a_row_with_tools(tmp_path, record, gold):
    assert row_of(tmp_path, {"messages": [USER], "tools": [WEATHER], **record}).gold == gold


def test_known_calls_are_read_as_they_were_written():
    known = KnownCalls((Call("f", {"a": 1}),), (("f", {"a": [1, 2]}),))
    assert KnownCalls.read(known.to_text()) == known
    assert KnownCalls.read("It rains.") == KnownCalls()
    assert KnownCalls.read('{"tool_calls": []}') == KnownCalls()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.lists(st.builds(Call, st.text(st.characters(codec="utf-8")), st.dictionaries(st.text("ab"), VALUES)), min_size=1)
)
def test_written_calls_are_read_again(calls):
    assert read_written(written(calls)) == calls


def test_request_has_tools_beside_messages_and_arguments_as_text():
    messages = [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": READ_CALLS[:1]}]
    assert chat_fields(with_tools(messages, [WEATHER]), str) == {
        "messages": [
            SYSTEM,
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**READ_CALLS[0], "function": {**OSLO, "arguments": '{"city":"Oslo"}'}}],
            },
        ],
        "tools": [WEATHER],
        "tool_choice": "auto",
    }
    assert chat_fields([SYSTEM, USER], str) == {"messages": [SYSTEM, USER]}


@pytest.mark.parametrize(
    ("system", "rest"),
    [
        (HERMES_SYSTEM, "Be brief."),
        ("Be brief.\n\n# Tools\n\nCall them.\n<tools>\n{}\n</tools>\n\nThank you.", "Be brief.\n\n\nThank you."),
        ("Be brief.", "Be brief."),
    ],
)
def test_what_a_system_message_says_about_tools_is_left_to_the_chat_template(system, rest):
    assert without_tools(system) == rest
