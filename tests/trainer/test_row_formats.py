"""What each format is converted to, and the errors of invalid rows."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_source import row_of, rows_of, rule_of, skipped_record
from distillery_api.spec import Columns, DataFormat
from distillery_trainer.data.formats import READERS, by_columns
from distillery_trainer.data.formats.conversation import Conversation, InvalidRow, SkippedRecord
from distillery_trainer.data.rows import RejectedRow, Row
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import LineError
from generate_run import jsonl

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is two and two?"}
ASSISTANT = {"role": "assistant", "content": "Four."}
ANSWERED = {"messages": [SYSTEM, USER, ASSISTANT]}


def says(row: Row) -> tuple:
    """Roles, the question, and the answer that the row holds."""
    return [message["role"] for message in row.messages], row.text, row.reply


ANSWER = (["system", "user"], "What is two and two?", "Four.")
ROW_WITHOUT_REPLY = (["system", "user"], "What is two and two?", None)


# --- chat rows


def test_answer_at_the_end_is_set_apart(tmp_path):
    row = row_of(tmp_path, {**ANSWERED, "id": 7, "gold": ["4", "four"], "metadata": {"a": 1}})
    assert says(row) == ANSWER
    assert (row.split, row.line, row.id, row.gold) == ("train", 1, "7", ["4", "four"])


def test_answers_before_the_last_user_message_stay(tmp_path):
    row = row_of(tmp_path, {"messages": [USER, ASSISTANT, USER]})
    assert says(row) == (["user", "assistant", "user"], "What is two and two?", None)


@pytest.mark.parametrize(("replies", "keeps"), [("Keep", True), ("Replace", False)])
def test_manifest_decides_whether_existing_replies_are_kept(tmp_path, replies, keeps):
    assert row_of(tmp_path, ANSWERED, replies=replies).keeps_existing_replies is keeps


# --- OpenAI fine-tuning


def test_fine_tuning_row_with_parts_and_weights(tmp_path):
    parts = {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "that?"}]}
    row = {"messages": [{"role": "developer", "content": "Be brief."}, parts, {**ASSISTANT, "weight": 1}]}
    assert says(row_of(tmp_path, row, format="OpenAIFineTuning")) == (["system", "user"], "What is that?", "Four.")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (
            {"messages": [USER, {**ASSISTANT, "weight": 0}]},
            'message 2: "weight" is 0, but all answers are trained on',
        ),
        ({"messages": [{**USER, "name": "Ada"}]}, 'message 1: "name": names of participants are not supported'),
        ({"messages": [USER], "tools": [{"type": "function"}]}, "tool 1: the name None is not one of 1 to 64 letters"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]}, "message 2: a call has no name; write"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "message 1: a result without a call before it"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "message 1: the role 'bot' is not one of system, developer"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "message 1: a picture without address"),
        ({"messages": ["Hello"]}, "message 1: not an object"),
        ({"input": USER, "preferred_output": []}, '"messages" is missing or empty'),
    ],
)
def test_unsupported_fine_tuning_row(tmp_path, row, rule):
    assert rule in rule_of(tmp_path, row, format="OpenAIFineTuning")


PARTS = {"role": "user", "content": [{"type": "text", "text": "What is two and two?"}]}
DEVELOPER = {"role": "developer", "content": "Be brief."}


@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ([DEVELOPER, USER, ASSISTANT], ["system", "user"]),
        ([PARTS, ASSISTANT], ["user"]),
        ([USER, {**ASSISTANT, "weight": 1}], ["user"]),
    ],
    ids=["developer", "parts", "weight"],
)
def test_fine_tuning_row_is_recognised_by_its_messages(tmp_path, messages, roles):
    assert says(row_of(tmp_path, {"messages": messages})) == (roles, "What is two and two?", "Four.")


REMEDY = "; for developer messages, weights, content parts and tools set the format of this source to OpenAIFineTuning"


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ([DEVELOPER, USER], "message 1: the role 'developer' is not one of system, user, assistant"),
        ([PARTS, ASSISTANT], "message 1: the content is not a string"),
        (
            [USER, {**ASSISTANT, "weight": 1}],
            'message 2: unknown key "weight"; a message has role and content',
        ),
    ],
    ids=["developer", "parts", "weight"],
)
@pytest.mark.parametrize("named", [{}, {"format": "Chat"}], ids=["Auto", "Chat"])
def test_fine_tuning_row_among_chat_rows_gets_a_hint_which_format_to_set(tmp_path, messages, rule, named):
    plain, refused = rows_of(tmp_path, jsonl([ANSWERED, {"messages": messages}]), **named)
    assert says(plain) == ANSWER
    assert (refused.line, str(refused)) == (2, rule + REMEDY)


def test_other_chat_row_gets_no_hint_about_formats(tmp_path):
    row = {"messages": [{"role": "bot", "content": "a"}]}
    assert rule_of(tmp_path, row) == "message 1: the role 'bot' is not one of system, user, assistant"


def test_prompt_of_messages_gets_no_hint_about_formats(tmp_path):
    row = {"prompt": [DEVELOPER, USER], "completion": "Four."}
    assert rule_of(tmp_path, row) == "message 1: the role 'developer' is not one of system, user, assistant"


# --- instructions


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": USER["content"], "completion": "Four.", "system": "Be brief."},
        {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]},
        {"prompt": [SYSTEM, USER], "completion": "Four.", "rating": 5},
        {"instruction": USER["content"], "input": "", "output": "Four.", "system": "Be brief."},
        {
            "conversations": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "Four."}],
            "system": "Be brief.",
        },
        {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "user", "value": USER["content"]},
                           {"from": "gpt", "value": "Four."}]},
    ],
    ids=["strings", "messages", "messages and string", "Alpaca", "ShareGPT", "ShareGPT with a system turn"],
)  # fmt: skip
def test_row_for_instruction_tuning_is_recognised_by_its_keys(tmp_path, row):
    assert says(row_of(tmp_path, row)) == ANSWER


def test_alpaca_input_follows_the_instruction(tmp_path):
    row = row_of(tmp_path, {"instruction": "Add up.", "input": "2 2", "output": "", "id": "a", "gold": "4"})
    assert (says(row), row.id, row.gold) == ((["user"], "Add up.\n\n2 2", None), "a", "4")


@pytest.mark.parametrize(
    ("row", "settings", "rule"),
    [
        ({"instruction": " "}, {}, '"instruction" is an empty string'),
        ({"instruction": "a", "input": 3}, {}, '"input" is not a string'),
        ({"prompt": None, "completion": "a"}, {}, '"prompt" is not a string'),
        ({"prompt": "a", "completion": 4}, {}, "message 2: the content is not a string"),
        ({"conversations": []}, {}, '"conversations" is missing or empty'),
        ({"conversations": [{"from": "gpt", "value": "Hello"}]}, {}, "the row has no user message"),
        (
            {"conversations": [{"from": "bot", "value": "Hello"}]},
            {},
            "\"from\" is 'bot', which is not one of",
        ),
        ({"conversations": [{"from": "human"}]}, {}, "message 1: the content is not a string"),
        ({"conversations": ["Hello"]}, {}, "message 1: not an object"),
        ({"question": "a", "answer": "b"}, {}, "the keys question, answer match no known format"),
        ({}, {}, "an empty object matches no known format"),
        (
            {"prompt": "a"},
            {"format": "Alpaca"},
            "(the row looks like PromptCompletion, but the file is read as Alpaca",
        ),
    ],
)
def test_broken_row_for_instruction_tuning(tmp_path, row, settings, rule):
    assert rule in rule_of(tmp_path, row, **settings)


# --- columns


def test_columns_of_json_lines(tmp_path):
    columns = {"prompt": "question", "system": "about", "reply": "said", "gold": "answer", "id": "key"}
    record = {"question": USER["content"], "about": "Be brief.", "said": "Four.", "answer": 72, "key": 3, "more": None}
    row = row_of(tmp_path, record, columns=columns)
    assert (says(row), row.gold, row.id) == (ANSWER, "72", "3")


@pytest.mark.parametrize(
    ("cell", "gold"),
    [
        (72, "72"),
        (0.5, "0.5"),
        (True, "true"),
        (2**64 - 1, "18446744073709551615"),
        (["a", "b"], ["a", "b"]),
        ({"b": 1.5, "a": "\u00fc"}, '{"a":"\u00fc","b":1.5}'),
        ([{"a": 1}, {"a": None}], ['{"a":1}', '{"a":null}']),
        ("", None),
        (None, None),
    ],
)
def test_known_answer_in_a_column(tmp_path, cell, gold):
    assert row_of(tmp_path, {"q": "a", "g": cell}, columns={"prompt": "q", "gold": "g"}).gold == gold


@pytest.mark.parametrize(("gold", "text"), [(1, "1"), (True, "true"), (0.5, "0.5"), ([0, "b"], ["0", "b"])])
def test_gold_of_a_chat_row_may_be_a_number_or_a_boolean(tmp_path, gold, text):
    assert row_of(tmp_path, {**ANSWERED, "gold": gold}).gold == text


@pytest.mark.parametrize("cell", [{"a": float("nan")}, {"a": {1, 2}}, [{"a": b"x"}]])
def test_known_object_that_is_no_json_is_refused(cell):
    with pytest.raises(InvalidRow, match=r"^gold is an object with a value that is no JSON; write it as JSON text$"):
        ALL_READERS["columns"]({"q": "a", "s": None, "r": None, "g": cell, "i": None})


@pytest.mark.parametrize("cell", [float("nan"), [float("inf")], [["a"]]])
def test_known_answer_that_cannot_be_written_is_refused(cell):
    with pytest.raises(InvalidRow, match=r"^gold is not a string$"):
        ALL_READERS["columns"]({"q": "a", "s": None, "r": None, "g": cell, "i": None})


def test_missing_column_is_named_with_the_existing_ones(tmp_path):
    rule = rule_of(tmp_path, {"q": "a", "answer": "b"}, columns={"prompt": "q", "gold": "anwser"})
    assert rule == 'the column "anwser" (columns.gold) is missing; existing columns: q, answer'


def test_empty_prompt_is_an_error(tmp_path):
    assert rule_of(tmp_path, {"q": ""}, columns={"prompt": "q"}) == 'the column "q" is an empty string'


# --- logs

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "big",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Four.", "refusal": None, "tool_calls": None},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}  # fmt: skip
PROMPT = [SYSTEM, {**USER, "name": None}]
ANTHROPIC = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": "Be brief.", "messages": [USER]}
ANTHROPIC_REPLY = {
    "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Four."}], "stop_reason": "end_turn",
}  # fmt: skip
CONVERSE = {"system": [{"text": "Be brief."}], "messages": [{"role": "user", "content": [{"text": USER["content"]}]}]}
CONVERSE_REPLY = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Four."}]}}, "stopReason": "end_turn",
}  # fmt: skip
STREAM = [
    {"type": "message_start", "message": {"role": "assistant", "content": []}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Fo"}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ur."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


def bedrock(request, response, **more) -> dict:
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "requestId": "r-1",
        "operation": "InvokeModel",
        "modelId": "anthropic.claude",
        "input": {"inputContentType": "application/json", "inputBodyJson": request},
        "output": {"outputBodyJson": response},
        **more,
    }


def litellm(**more) -> dict:
    return {
        "id": "l-1",
        "call_type": "acompletion",
        "status": "success",
        "messages": PROMPT,
        "response": COMPLETION,
        **more,
    }


def finished(reason: Any, **message) -> dict:
    reply = {**COMPLETION["choices"][0]["message"], **message}
    return {**COMPLETION, "choices": [{"index": 0, "message": reply, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({**COMPLETION, "messages": PROMPT}, "chatcmpl-1"),
        ({**COMPLETION, "input": PROMPT, "metadata": {}}, "chatcmpl-1"),
        (bedrock(ANTHROPIC, ANTHROPIC_REPLY), "r-1"),
        (bedrock(ANTHROPIC, STREAM), "r-1"),
        (bedrock(CONVERSE, CONVERSE_REPLY, operation="Converse"), "r-1"),
        ({"request": {"model": "big", "messages": PROMPT}, "response": COMPLETION, "time": 1}, "chatcmpl-1"),
        ({"id": "v-1", "request": {"body": {"messages": PROMPT}}, "response": {"status_code": 200, "body": COMPLETION}},
         "v-1"),
        (litellm(), "l-1"),
        (litellm(response="Four."), "l-1"),
    ],
    ids=["stored", "stored input", "Anthropic", "Anthropic stream", "Converse", "vLLM", "vLLM batch", "LiteLLM",
         "LiteLLM text"],
)  # fmt: skip
def test_log_is_recognised_by_its_keys_and_read(tmp_path, record, name):
    row = row_of(tmp_path, record, replies="Keep")
    assert (says(row), row.id, row.keeps_existing_replies) == (ANSWER, name, True)


def test_log_of_plain_completions(tmp_path):
    response = {"id": "cmpl-1", "choices": [{"text": " Four.", "finish_reason": "stop"}]}
    row = row_of(tmp_path, {"request": {"prompt": "Two and two is"}, "response": response})
    assert says(row) == (["user"], "Two and two is", " Four.")


@pytest.mark.parametrize(
    "record",
    [
        {**finished("length"), "messages": PROMPT},
        {**finished("content_filter"), "messages": PROMPT},
        {**finished("stop", refusal="No."), "messages": PROMPT},
        litellm(response=finished("stop", content=None)),
        bedrock(ANTHROPIC, {**ANTHROPIC_REPLY, "stop_reason": "max_tokens"}),
        bedrock(ANTHROPIC, STREAM[:3]),
        bedrock(CONVERSE, {**CONVERSE_REPLY, "stopReason": "guardrail_intervened"}),
        {**finished(["stop"]), "messages": PROMPT},
        {**finished({"reason": "stop"}), "messages": PROMPT},
        bedrock(ANTHROPIC, {**ANTHROPIC_REPLY, "stop_reason": ["end_turn"]}),
        bedrock(ANTHROPIC, [*STREAM[:3], {"delta": {"stop_reason": {}}}]),
        bedrock(CONVERSE, {**CONVERSE_REPLY, "stopReason": {"reason": "end_turn"}}),
    ],
    ids=["cut off", "filtered", "refused", "empty", "Anthropic cut off", "stream cut off", "Converse guarded",
         "reason in a list", "reason in an object", "Anthropic reason in a list", "stream reason in an object",
         "Converse reason in an object"],
)  # fmt: skip
def test_incomplete_reply_is_dropped(tmp_path, record):
    assert says(row_of(tmp_path, record)) == ROW_WITHOUT_REPLY


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({**COMPLETION, "messages": PROMPT, "error": {"message": "overloaded"}}, "The call failed: overloaded"),
        ({**COMPLETION, "messages": PROMPT, "choices": []}, "The response has no choices."),
        (bedrock(ANTHROPIC, None, errorCode="ThrottlingException"), "The call failed: ThrottlingException"),
        ({"request": {"messages": PROMPT}, "response": None}, "The response is missing."),
        (
            {"request": {"messages": PROMPT}, "response": {"status_code": 429, "body": {}}},
            "The call failed with HTTP 429.",
        ),
        ({"request": {"messages": PROMPT}, "response": {"error": {"message": "bad"}}}, "The call failed: bad"),
        (litellm(status="failure", error_str="RateLimitError", response=None), "The call failed: RateLimitError"),
    ],
)
def test_failed_call_in_a_log_is_skipped(tmp_path, record, sentence):
    assert skipped_record(tmp_path, record) == ("log_call_failed", sentence)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({**COMPLETION, "messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]}, "it has tool calls"),
        ({**finished("tool_calls", tool_calls=[{}]), "messages": PROMPT}, "The reply is a tool call"),
        (
            {**finished("stop", content={"text": "a"}), "messages": PROMPT},
            "The reply cannot be used: it is not text.",
        ),
        ({"request": {"messages": PROMPT, "tools": [{}]}, "response": COMPLETION}, "The request has tools"),
        (litellm(messages=[{"role": "tool", "content": "a"}]), "the role 'tool' is not one of"),
        (litellm(messages=[USER, ASSISTANT]), "the request contains the beginning of the reply"),
        (litellm(messages=[USER, USER]), "wrong order of roles (user, user, assistant)"),
        (
            bedrock({**CONVERSE, "messages": [{"role": "user", "content": [{"image": {}}]}]}, CONVERSE_REPLY),
            "(image)",
        ),
        (bedrock({"messages": None}, ANTHROPIC_REPLY), "neither Converse nor Anthropic messages"),
        (bedrock({"messages": {"role": "user"}}, ANTHROPIC_REPLY), "neither Converse nor Anthropic messages"),
        (litellm(messages=[["user"]]), "the role ['user'] is not one of"),
        (bedrock({"prompt": "a"}, {}), "neither Converse nor Anthropic messages"),
        ({**bedrock({}, {}), "input": {"inputBodyS3Path": "s3://a/b"}}, "in a separate file"),
    ],
)
def test_call_that_is_not_text_is_skipped(tmp_path, record, words):
    reason, sentence = skipped_record(tmp_path, record)
    assert reason == "log_not_text"
    assert words in sentence


@pytest.mark.parametrize(
    ("record", "settings", "rule"),
    [
        (COMPLETION, {}, '"messages" and "input" are missing or empty'),
        ({"messages": PROMPT}, {"format": "OpenAIStoredCompletions"}, '"choices" is missing'),
        ({"messages": PROMPT}, {"format": "BedrockInvocations"}, '"input" is missing'),
        ({"messages": PROMPT}, {"format": "VLLMLog"}, '"request" is missing'),
        ({"messages": PROMPT}, {"format": "LiteLLMLog"}, '"status" or "messages" is missing'),
        (litellm(messages=[{"role": "user", "content": "redacted-by-litellm"}]), {}, "turn_off_message_logging"),
        (litellm(messages="redacted-by-litellm"), {}, "turn_off_message_logging"),
        (litellm(messages={"text": "redacted-by-litellm"}), {}, "turn_off_message_logging"),
        ({"request": {"model": "a"}, "response": COMPLETION}, {}, '"request" has neither "messages" nor "prompt"'),
    ],
)
def test_record_that_is_no_entry_of_the_log_is_an_error(tmp_path, record, settings, rule):
    assert rule in rule_of(tmp_path, record, **settings)


# --- files


def test_format_is_that_of_the_first_good_line_and_another_one_is_named_with_its_line(tmp_path):
    rows = b"{\n" + jsonl([{"instruction": "Add."}, ANSWERED, {"instruction": "Take away."}])
    broken, first, mixed, last = rows_of(tmp_path, rows)
    assert (broken.line, first.text, last.text) == (1, "Add.", "Take away.")
    assert mixed.line == 3
    assert str(mixed) == (
        '"instruction" is not a string (the row looks like Chat, but the file is read as Alpaca; use one format'
        " per file)"
    )


@pytest.mark.parametrize("text", [b"NaN", b"-Infinity", b"[" * 2000 + b"]" * 2000], ids=["NaN", "infinity", "deep"])
def test_json_without_a_python_value_is_an_error(tmp_path, text):
    [error] = rows_of(tmp_path, b'{"prompt": ' + text + b"}")
    assert str(error).startswith("not JSON (")


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def test_long_and_deep_values_are_shortened_in_an_error(tmp_path):
    [error] = rows_of(tmp_path, b'{"messages": [{"role": %s1%s, "content": "a"}]}' % (b"[" * 1000, b"]" * 1000))
    assert str(error) == "message 1: the role [[[[[[[...]]]]]]] is not one of system, user, assistant"
    rule = rule_of(tmp_path, {"messages": [{"role": "u" * 5000, "content": "a"}]})
    assert len(rule) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
KEYS = [
    "messages", "role", "content", "input", "output", "request", "response", "choices", "message", "status", "body",
    "inputBodyJson", "outputBodyJson", "conversations", "from", "value", "prompt", "completion", "instruction", "error",
    "text", "delta", "stop_reason", "finish_reason", "system", "id", "gold", "tools", "weight",
]  # fmt: skip
records = st.recursive(
    json_values | st.sampled_from(["user", "assistant", "success", "stop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


def outcome(read, record) -> Conversation | str:
    try:
        return read(record)
    except (InvalidRow, SkippedRecord) as error:
        return str(error)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@settings(deadline=None)
@given(record=st.dictionaries(st.sampled_from(KEYS), records, max_size=8))
def test_any_record_is_a_conversation_or_an_error(read, record):
    found = outcome(read, record)
    assert found
    if isinstance(found, Conversation):
        assert all(isinstance(message["content"], str) for message in found.messages)


GOOD: dict[str, tuple[dict[str, Any], ...]] = {
    DataFormat.CHAT: ({**ANSWERED, "id": 7, "gold": ["4"], "metadata": {"a": 1}},),
    DataFormat.OPENAI_FINE_TUNING: ({"messages": [DEVELOPER, PARTS, {**ASSISTANT, "weight": 1}], "tools": []},),
    DataFormat.PROMPT_COMPLETION: (
        {"prompt": "a", "completion": "b", "system": "c", "id": "d", "gold": "e"},
        {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]},
    ),
    DataFormat.ALPACA: ({"instruction": "a", "input": "b", "output": "c", "system": "d", "id": 1, "gold": ["e"]},),
    DataFormat.SHARE_GPT: (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "c", "id": "d"},
        {"conversations": [{"role": "user", "content": "a"}]},
    ),
    DataFormat.OPENAI_STORED_COMPLETIONS: ({**COMPLETION, "messages": PROMPT, "error": None},),
    DataFormat.BEDROCK_INVOCATIONS: (
        bedrock(ANTHROPIC, ANTHROPIC_REPLY, errorCode=None),
        bedrock(ANTHROPIC, STREAM),
        bedrock(CONVERSE, CONVERSE_REPLY),
    ),
    DataFormat.VLLM_LOG: (
        {"request": {"messages": PROMPT, "tools": None}, "response": {**COMPLETION, "error": None}, "error": None},
        {"id": "a", "request": {"body": {"prompt": "b"}}, "response": {"status_code": 200, "body": COMPLETION}},
    ),
    DataFormat.LITELLM_LOG: (litellm(), litellm(response="Four.", error_str=None), litellm(status="failure")),
    DataFormat.OPENAI_EVALS: (
        {"input": PROMPT, "ideal": "4"},
        {"item": {}, "sample": {"input": PROMPT, "output": [ASSISTANT], "finish_reason": "stop"}},
    ),
    "columns": ({"q": "a", "s": "b", "r": "c", "g": ["d", 1], "i": 2},),
}
ALL_READERS = {**READERS, "columns": by_columns(Columns(prompt="q", system="s", reply="r", gold="g", id="i"))}


def paths(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The way to each value within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*above, key)
        yield from paths(below, (*above, key))


def replaced(record: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    """The record with another value at a path."""
    changed = copy.deepcopy(record)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


def test_every_format_has_good_records_here():
    assert list(GOOD) == list(ALL_READERS)
    for name, good in GOOD.items():
        failed = [record for record in good if not isinstance(outcome(ALL_READERS[name], record), Conversation)]
        assert failed == [record for record in good if record.get("status") == "failure"]


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=300, deadline=None)
@given(choice=st.data(), value=json_values)
def test_any_value_anywhere_in_a_record_is_a_conversation_or_an_error(name, choice, value):
    record = choice.draw(st.sampled_from(GOOD[name]))
    path = choice.draw(st.sampled_from(list(paths(record))))
    assert outcome(ALL_READERS[name], replaced(record, path, value))


ODD = [
    nested(1000, "a"),
    orjson.loads(b'{"text":' * 1000 + b"1" + b"}" * 1000),
    [nested(1000, "a")],
    2**64,
    float("nan"),
    "\ud800",
    [None],
    {"": None},
    {"type": ["text"], "text": "a"},
]


@pytest.mark.parametrize("name", GOOD)
def test_odd_value_anywhere_in_a_record_is_a_conversation_or_an_error(name):
    for record in GOOD[name]:
        for path in paths(record):
            for value in ODD:
                assert outcome(ALL_READERS[name], replaced(record, path, value))


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=200, deadline=None)
@given(record=st.dictionaries(st.text(max_size=5) | st.sampled_from([*KEYS, "q", "s", "r", "g", "i"]), json_values))
def test_any_json_object_is_a_conversation_or_an_error(name, record):
    assert outcome(ALL_READERS[name], record)


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_rows_or_errors(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("rows")
    for name in ("rows.jsonl", "rows.csv", "rows.parquet"):
        with contextlib.suppress(UserError):  # another kind of file
            for item in rows_of(folder, content, name):
                assert isinstance(item, Row | LineError | RejectedRow)
