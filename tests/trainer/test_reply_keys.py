"""A release that changes one of these keys asks, and pays for, every reply of every workspace again.

A key covers the prompt, the sampling parameters and the schema that a teacher or a judge gets.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_trainer.chat.follow_up import repeated_request
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.evaluation import pairwise_judge
from distillery_trainer.filters import llm_judge
from task_definitions import NLI_LABELS, new_row, task_definition

GOLDEN: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "data" / "output" / "reply_keys.yaml").read_text())
ROW_TEXT = "Premise: All dogs bark.\nHypothesis: Some dogs bark.\nA. yes\nB. no"
TASKS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "NLI": ("NLI", NLI_LABELS, {}),
    "NLI, chain of thought": ("NLI", NLI_LABELS, {"chainOfThought": True}),
    "NLI, three samples": ("NLI", NLI_LABELS, {"samples": 3}),
    "NLI, reasoning teacher": (
        "NLI",
        NLI_LABELS,
        {"teachers": [{"name": "t", "endpoint": "http://127.0.0.1:9/v1", "model": "teacher", "reasoning": True}]},
    ),
    "multiple choice": ("MultipleChoice", (), {}),
    "multiple choice, chain of thought": ("MultipleChoice", (), {"chainOfThought": True}),
    "multiple choice with labels, chain of thought": ("MultipleChoice", ("yes", "no"), {"chainOfThought": True}),
    "math": ("Math", (), {}),
    "math, chain of thought": ("Math", (), {"chainOfThought": True}),
    "summarization": ("Summarization", (), {}),
    "summarization, chain of density": ("Summarization", (), {"chainOfDensity": True, "maxSummaryWords": 60}),
    "summarization, default chain of density": ("Summarization", (), {"chainOfDensity": True}),
    "summarization in German": ("Summarization", (), {"chainOfDensity": True, "language": "de"}),
    "conversation": ("Conversation", (), {}),
    "conversation with sampling": ("Conversation", (), {"sampling": {"temperature": 0.5, "stop": ["###"]}}),
    "own prompts": ("NLI", NLI_LABELS, {"prompts": {"teacher": "Think.", "student": "Answer."}}),
}

UNREADABLE = {
    "NLI": "NLI, chain of thought",
    "multiple choice": "multiple choice, chain of thought",
    "math": "math, chain of thought",
    "summarization": "summarization, default chain of density",
}


@pytest.mark.parametrize("name", TASKS)
def test_request_to_the_teacher_keeps_its_key(name: str):
    task, labels, generation = TASKS[name]
    prompt = task_definition(task, labels, **generation)
    assert (
        ReplyKeys("teacher", prompt.request_parameters()).key(prompt.teacher_messages(new_row(ROW_TEXT)))
        == GOLDEN[name]
    )


def test_request_to_the_answer_judge_keeps_its_key():
    messages = llm_judge.judge_messages(task_definition("NLI", NLI_LABELS), new_row(ROW_TEXT), "entailment")
    assert ReplyKeys("judge", llm_judge.PARAMETERS).key(messages) == GOLDEN["answer judge"]


def test_request_to_the_pairwise_judge_keeps_its_key():
    messages = pairwise_judge.PROMPT.messages(
        [{"role": "user", "content": ROW_TEXT}], answer_a="one", answer_b="another"
    )
    assert ReplyKeys("judge", pairwise_judge.PARAMETERS).key(messages) == GOLDEN["pairwise judge"]


@pytest.mark.parametrize("case", GOLDEN["asked again"])
def test_request_after_an_unreadable_reply_keeps_its_key(case: str):
    name, reply = case.split(": ", 1)
    task, labels, generation = TASKS[UNREADABLE[name]]
    definition = task_definition(task, labels, **generation)
    unreadable = definition.read_teacher_answer(reply, ROW_TEXT)
    messages = repeated_request(definition.teacher_messages(new_row(ROW_TEXT)), reply, unreadable.message)
    assert ReplyKeys("teacher", definition.request_parameters()).key(messages) == GOLDEN["asked again"][case]
