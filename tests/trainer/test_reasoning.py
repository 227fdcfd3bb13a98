"""Reasoning and answer are separated by the marks around the reasoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.reasoning import split_reasoning, without_reasoning


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>b</think>\n\na", "b", "a"),
        (" \n<think>b\nc</think>a", "b\nc", "a"),
        ("begun in the prompt\n</think>\n\na", "begun in the prompt", "a"),
        ("b</think>a", "b", "a"),
        ("<think>still going", "still going", ""),
        ("<think></think>a", "", "a"),
        ("<think>what does </think> mean", "what does", "mean"),
        ("a thinker", None, "a thinker"),
        (" a < b ", None, " a < b "),
    ],
)
def test_reasoning_at_the_start_is_separated(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "R1 models think between `<think>` and `</think>` tags. They answer after that.",
        "The end is marked by `</think>`, and nothing else.",
        'It writes "</think>" when it is done.',
        "First <think> comes, then </think>.",
        "Answer: 5 <think>was that right?",
    ],
)
def test_answer_that_mentions_the_marks_is_unchanged(answer):
    assert split_reasoning(answer) == (None, answer)


@given(st.text(), st.text())
def test_what_follows_reasoning_is_the_answer(reasoning, answer):
    reasoning = reasoning.replace("</think>", "")
    assert without_reasoning(f"<think>{reasoning}</think>{answer}") == answer.lstrip()
