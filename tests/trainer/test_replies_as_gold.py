"""Rows whose own answer is gold."""

import pytest

from data_source import refusal, row_of, rule_of

ROW = {"prompt": "2 + 2?", "completion": "4"}
MESSAGES = {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
STORED = {"object": "chat.completion", "input": "2 + 2?", "choices": [{"message": {"content": "4"}}]}


@pytest.mark.parametrize(
    "record", [ROW, MESSAGES, STORED, ROW | {"gold": "4"}, {"instruction": "2 + 2?", "output": "4"}]
)
def test_answer_of_a_row_is_its_gold_and_no_reply_of_the_teacher(tmp_path, record):
    row = row_of(tmp_path, record, replies="Gold")
    assert (row.gold, row.text, row.reply, row.keeps_existing_replies) == ("4", "2 + 2?", None, False)


def test_row_without_an_answer_keeps_its_own_gold(tmp_path):
    assert row_of(tmp_path, {"prompt": "2 + 2?", "gold": ["4", "four"]}, replies="Gold").gold == ["4", "four"]


def test_row_with_two_different_golds_is_invalid(tmp_path):
    assert rule_of(tmp_path, ROW | {"gold": "5"}, replies="Gold") == (
        "gold and the reply differ, but replies is Gold; keep one of the two, or set replies to Replace"
    )


def test_file_without_any_answer_is_refused(tmp_path):
    assert refusal(tmp_path, b'{"prompt": "2 + 2?"}', replies="Gold") == (
        "replies is Gold, but no row has a reply. Set replies to Replace, or name the column with the replies in"
        " data.train.columns.reply."
    )
