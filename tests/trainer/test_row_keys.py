"""No part of a row is left out in silence: keys that carry text are used or refused, all others are named and counted.

The rows are those of published data sets: Dolly, Alpaca with its histories, ShareGPT with tools, preferences.
"""

from typing import Any

import orjson
import pytest

from data_source import refusal, row_of, rows_of, rule_of, skipped_record, source, write
from distillery_trainer.data.row_reader import check_rows
from generate_run import jsonl

DOLLY = {
    "instruction": "When did Virgin Australia start operating?",
    "context": "Virgin Australia commenced services on 31 August 2000.",
    "response": "31 August 2000",
    "category": "closed_qa",
}
HISTORY = {
    "instruction": "And what does it cost?",
    "input": "",
    "output": "40 euros",
    "history": [["Do you mend wheels?", "Yes, within two days."]],
}
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
TURNS = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]


def said(folder, record: dict[str, Any], **settings) -> tuple[list[str], str | None]:
    """The row's messages as ROLE: TEXT, and its reply."""
    row = row_of(folder, record, **settings)
    return [f"{message['role']}: {message['content']}" for message in row.messages], row.reply


def test_dolly_row_has_its_context_in_the_user_message_and_its_response_as_the_reply(tmp_path):
    message = (
        "user: When did Virgin Australia start operating?\n\nVirgin Australia commenced services on 31 August 2000."
    )
    assert said(tmp_path, DOLLY) == ([message], "31 August 2000")


def test_history_of_an_alpaca_row_becomes_earlier_turns(tmp_path):
    assert said(tmp_path, HISTORY | {"system": "Be brief."}) == (
        [
            "system: Be brief.",
            "user: Do you mend wheels?",
            "assistant: Yes, within two days.",
            "user: And what does it cost?",
        ],
        "40 euros",
    )


@pytest.mark.parametrize(
    ("record", "messages", "reply"),
    [
        ({"prompt": "question 1", "response": "answer 1"}, ["user: question 1"], "answer 1"),
        ({"prompt": "a", "completion": "b", "response": "b"}, ["user: a"], "b"),
        ({"prompt": "a", "context": "c", "response": "b"}, ["user: a\n\nc"], "b"),
        ({"prompt": "a", "knowledge": "c", "system_prompt": "s"}, ["system: s", "user: a\n\nc"], None),
        ({"prompt": [USER], "system": "s", "completion": [ASSISTANT]}, ["system: s", "user: a"], "b"),
        ({"prompt": "c", "history": [["a", "b"]]}, ["user: a", "assistant: b", "user: c"], None),
        ({"prompt": "c", "history": [USER, ASSISTANT]}, ["user: a", "assistant: b", "user: c"], None),
        ({"prompt": "a", "history": "[]", "tools": "[]", "images": []}, ["user: a"], None),
        ({"instruction": "a", "input": "i", "context": "c", "output": "b"}, ["user: a\n\nc\n\ni"], "b"),
        ({"conversations": TURNS[:1], "tools": "[]", "system": "s"}, ["system: s", "user: a"], None),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, ["user: a"], "b"),
        ({"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT]}, ["user: a"], "b"),
        ({"prompt": [USER], "chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]}, ["user: a"], "b"),
        ({"prompt": "a", "chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]}, ["user: a"], "b"),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]}, ["user: a"], "b"),
        ({"instruction": "a", "chosen": "b", "rejected": "c"}, ["user: a"], "b"),
        ({"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": TURNS[1]}, ["user: a"], "b"),
        ({"instruction": "a", "output": "True", "label": "True"}, ["user: a"], "True"),
        ({"instruction": "a", "output": "True", "label": True}, ["user: a"], "True"),
        ({"prompt": "a", "completion": "b", "weight": 1}, ["user: a"], "b"),
        ({"prompt": "a", "completion": "b", "weight": 1.0}, ["user: a"], "b"),
        ({"prompt": "a", "completion": "b", "weight": "1"}, ["user: a"], "b"),
        ({"prompt": "a", "completion": "b", "weight": "1.0"}, ["user: a"], "b"),
        ({"prompt": "a", "completion": "b", "weight": ""}, ["user: a"], "b"),
        ({"prompt": "a", "completion": "b", "weight": None}, ["user: a"], "b"),
        ({"conversations": [TURNS[0], {**TURNS[1], "content": "b"}]}, ["user: a"], "b"),
        ({"conversations": [TURNS[0], {**TURNS[1], "content": None}]}, ["user: a"], "b"),
        ({"conversations": [TURNS[0], {"from": "gpt", "value": None, "content": "b"}]}, ["user: a"], "b"),
    ],
)
def test_parts_of_a_row_are_used(tmp_path, record, messages, reply):
    assert said(tmp_path, record) == (messages, reply)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (
            {"prompt": "a", "tools": [{}]},
            '"tools": tools are not read in this format; write messages in OpenAI\'s form',
        ),
        ({"conversations": TURNS, "tools": '[{"name": 3}]'}, "tool 1: the name 3 is not one of 1 to 64 letters"),
        ({"instruction": "a", "images": ["a.png"]}, '"images": only text is supported; remove the row'),
        ({"prompt": "a", "image": {"path": "a.png"}}, '"image": only text is supported; remove the row'),
        ({"prompt": "a", "function_call": {"name": "f"}}, '"function_call": tools are not read in this format'),
        ({"prompt": "a", "documents": ["d"]}, '"documents": documents beside the messages are not supported; write'),
        ({"prompt": "a", "reasoning_content": "r"}, '"reasoning_content": reasoning in a key of its own is not read'),
        ({"prompt": "a", "output": "b"}, '"output" is no part of this format; remove the key, or join it'),
        ({"instruction": "a", "prompt": "b"}, '"prompt" is no part of this format'),
        ({"conversations": TURNS, "context": "c"}, '"context" is no part of this format'),
        ({"prompt": "a", "completion": "b", "response": "c"}, '"completion" and "response" hold the same part of the'),
        ({"instruction": "a", "output": "b", "chosen": "c"}, '"output" and "chosen" hold the same part of the row'),
        ({"prompt": "a", "system": "s", "system_prompt": "t"}, '"system" and "system_prompt" hold the same part'),
        ({"prompt": "a", "rejected": "c"}, '"rejected" is there, but "chosen" is missing; remove the row'),
        ({"chosen": "Human: a", "rejected": "Human: a"}, '"prompt" is not a string'),
        ({"prompt": "c", "chosen": [USER, ASSISTANT]}, "the reply begins with another prompt than the row"),
        (
            {"prompt": "a", "completion": "b", "label": False},
            '"label": marks of good and bad replies are not supported',
        ),
        ({"prompt": "a", "completion": "b", "label": "True"}, '"label": marks of good and bad replies are not'),
        ({"messages": '[{"role": "user"}]'}, '"messages" is text that holds a list; write the list itself'),
        ({"prompt": [USER], "context": "c"}, '"context" beside a list of messages; write it into a message'),
        ({"instruction": "a", "history": "before"}, '"history" is not a list; write [["question", "answer"], …]'),
        ({"instruction": "a", "history": [["before"]]}, '"history" holds something else than pairs'),
        (
            {"conversations": [{**TURNS[0], "name": "Ada"}]},
            'message 1: "name": names of participants are not supported',
        ),
        ({"conversations": [TURNS[0], {**TURNS[1], "weight": 0}]}, 'message 2: "weight" is 0, but all answers are'),
        ({"prompt": "a", "completion": "b", "weight": "0"}, '"weight" is 0, but all answers are trained on'),
        ({"prompt": "a", "completion": "b", "weight": "0.5"}, '"weight" is 0.5, but all answers are trained on'),
        (
            {"conversations": [TURNS[0], {**TURNS[1], "content": "c"}]},
            'message 2: "value" and "content" hold the same part of the row; keep one of them',
        ),
        ({"conversations": [{"from": "human", "value": ""}]}, "message 1: the content is an empty string"),
        (
            {"conversations": [TURNS[0], {**TURNS[1], "tool_calls": [{}]}]},
            'message 2: a call has no name; write {"name"',
        ),
        ({"messages": [USER, {**ASSISTANT, "reasoning_content": "r"}]}, 'message 2: unknown key "reasoning_content"'),
    ],
)
def test_part_of_a_row_that_is_not_used_is_refused(tmp_path, record, rule):
    assert rule in rule_of(tmp_path, record)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (
            {"messages": [USER, {**ASSISTANT, "reasoning": "r"}]},
            'message 2: "reasoning": reasoning in a key of its own',
        ),
        ({"messages": [USER], "system": "s"}, '"system" is no part of this format'),
        ({"messages": [USER], "functions": [{}]}, "tool 1: the name None is not one of 1 to 64 letters"),
    ],
)
def test_part_of_a_fine_tuning_row_that_is_not_used_is_refused(tmp_path, record, rule):
    assert rule in rule_of(tmp_path, record, format="OpenAIFineTuning")


COMPLETION = {"object": "chat.completion", "choices": [{"message": ASSISTANT, "finish_reason": "stop"}]}
BEDROCK = {"schemaType": "ModelInvocationLog", "modelId": "m", "output": {}}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({**COMPLETION, "messages": [USER], "tools": [{}]}, "The request has tools"),
        ({**COMPLETION, "messages": [{**USER, "name": "Ada"}]}, "it names a participant"),
        ({"request": {"messages": [USER], "functions": [{}]}, "response": COMPLETION}, "The request has tools"),
        ({"request": {"messages": [USER], "documents": [{}]}, "response": COMPLETION}, "The request has documents"),
        (
            {"messages": [USER], "response": "b", "status": "success", "model_parameters": {"tools": [{}]}},
            "The request has tools",
        ),
        ({**BEDROCK, "input": {"inputBodyJson": {"messages": [USER], "toolConfig": {"tools": [{}]}}}}, "has tools"),
    ],
)
def test_logged_call_with_more_than_its_messages_is_skipped(tmp_path, record, words):
    reason, sentence = skipped_record(tmp_path, record)
    assert reason == "log_not_text"
    assert words in sentence


# --- replies: Keep


def test_response_is_kept_as_the_reply(tmp_path):
    row = row_of(tmp_path, {"prompt": "question 1", "response": "answer 1"}, replies="Keep")
    assert (row.reply, row.keeps_existing_replies) == ("answer 1", True)


def test_keeping_replies_of_rows_that_have_none_is_an_error(tmp_path):
    message = refusal(tmp_path, jsonl([{"prompt": "a", "answer": "b"}, {"prompt": "c"}]), replies="Keep")
    assert message == (
        "replies is Keep, but no row has a reply. Set replies to Replace, or name the column with the replies in"
        " data.train.columns.reply."
    )


def test_one_reply_is_enough_to_keep_replies(tmp_path):
    rows = jsonl([{"prompt": "a"}, {"prompt": "b", "response": "c"}])
    assert check_rows([source(write(tmp_path, "rows.jsonl", rows), replies="Keep")], lambda _: None).rows == {
        "train": 2
    }


# --- unknown keys


def test_unknown_keys_are_named_once_with_their_count(tmp_path, capsys):
    rows = [DOLLY, DOLLY, {**DOLLY, "stars": 5, "category": ""}, {**DOLLY, "\x1b[2J" + "k" * 500: 1, "id": 4}]
    check_rows([source(write(tmp_path, "rows.jsonl", jsonl(rows)))], lambda _: None)
    said = f'data.train: these keys of the rows are not used: "category" (3), "stars" (1), "{"k" * 77}…" (1).\n'
    assert capsys.readouterr().err == said


def test_unknown_keys_of_turns_are_named_as_well(tmp_path, capsys):
    rows = [{"conversations": [{**TURNS[0], "markdown": "*a*"}, {**TURNS[1], "markdown": None}]}]
    check_rows([source(write(tmp_path, "rows.jsonl", jsonl(rows)))], lambda _: None)
    assert capsys.readouterr().err == 'data.train: these keys of the rows are not used: "conversations.markdown" (1).\n'


def test_columns_that_are_not_chosen_are_not_named(tmp_path, capsys):
    settings = {"columns": {"prompt": "instruction"}}
    check_rows([source(write(tmp_path, "rows.jsonl", jsonl([DOLLY])), **settings)], lambda _: None)
    assert capsys.readouterr().err == ""


# --- what is quoted


@pytest.mark.parametrize(
    "record",
    [
        {"\x1b]0;title\x07" + "k" * 100_000: "a"},
        {"messages": [{"role": "user", "content": "a", "\x1b[31m" + "k" * 100_000: 1}]},
        {"messages": [{"role": "\x1b[31m" + "k" * 100_000, "content": "a"}]},
        {"messages": [USER], "\x9b" + "k" * 100_000: 1},
        {"conversations": [{"from": "\u202e" + "k" * 100_000, "value": "a"}]},
        {"messages": [USER], "weight": "\x1b" + "k" * 100_000, "tools": []},
    ],
)
def test_quoted_keys_and_values_are_short_and_hold_no_control_characters(tmp_path, record):
    message = refusal(tmp_path, orjson.dumps(record))
    assert len(message) < 1000
    assert "\x1b" not in message
    assert "\x9b" not in message
    assert "\u202e" not in message


def test_weight_of_one_in_a_table_is_all_the_weight_there_is(tmp_path):
    [row] = rows_of(tmp_path, b"prompt,completion,weight\na,b,1\n", "rows.csv")
    assert (row.text, row.reply) == ("a", "b")


def test_lone_surrogate_becomes_a_replacement_character(tmp_path):
    line = rb'{"prompt": "a \ud83d b \uDE00 \\ud83d \ud83d\ude00 \\\ud83d", "gold": "\udfff", "\ud800": 1}'
    [row] = rows_of(tmp_path, line)
    assert (row.text, row.gold) == ("a \ufffd b \ufffd \\ud83d \U0001f600 \\\ufffd", "\ufffd")
