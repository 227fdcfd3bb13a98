"""Thoughts and answers told apart by the marks around the thoughts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.reasoning import split_reasoning, without_reasoning


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
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
def test_thought_at_the_start_is_told_apart(text, thought, answer):
    assert split_reasoning(text) == (thought, answer)


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
def test_answer_that_speaks_of_the_marks_stays_whole(answer):
    assert split_reasoning(answer) == (None, answer)


@given(st.text(), st.text())
def test_what_follows_a_thought_is_the_answer(thought, answer):
    thought = thought.replace("</think>", "")
    assert without_reasoning(f"<think>{thought}</think>{answer}") == answer.lstrip()
