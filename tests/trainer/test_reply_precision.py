"""No hand-written reply is read wrongly, and nearly all that give an answer are read."""

import pytest

from reply_precision import TASKS, measure

LEAST_READ = {"nli": 0.95, "multiple_choice": 0.95, "math": 0.93, "summarization": 0.95, "conversation": 0.99}
"""Share of the replies with an answer whose answer is read, at least."""


@pytest.mark.parametrize("name", TASKS)
def test_no_answer_is_read_that_the_reply_does_not_give(name):
    wrong = [(reading.line, reading.sample.reply, reading.answer) for reading in measure(name).wrong]
    assert wrong == []


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_300_replies(name):
    assert len(measure(name).readings) >= 300


@pytest.mark.parametrize("name", TASKS)
def test_most_answers_are_read(name):
    precision = measure(name)
    missed = [(reading.line, reading.sample.reply) for reading in precision.missed]
    assert precision.read_right >= LEAST_READ[name] * precision.with_answer, missed
