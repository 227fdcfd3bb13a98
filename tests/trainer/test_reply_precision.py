"""No hand-written reply is read wrongly, and nearly all that give an answer are read."""

import pytest

from reply_precision import measure, written_tasks

LEAST_READ = {"nli": 0.9, "multiple_choice": 0.9, "math": 0.9, "summarization": 0.95, "conversation": 1.0}
"""Share of the replies with an answer whose answer is read, at least."""


@pytest.mark.parametrize("name", written_tasks())
def test_no_answer_is_read_that_the_reply_does_not_give(name):
    wrong = [(reading.line, reading.sample.reply, reading.answer) for reading in measure(name).wrong]
    assert wrong == []


@pytest.mark.parametrize("name", written_tasks())
def test_most_answers_are_read(name):
    precision = measure(name)
    missed = [(reading.line, reading.sample.reply) for reading in precision.missed]
    assert precision.read_right >= LEAST_READ[name] * precision.with_answer, missed
