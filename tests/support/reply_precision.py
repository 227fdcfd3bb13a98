"""How precisely replies are read: hand-written replies of a task, and what its parser makes of them.

`tests/data/replies/TASK.jsonl` has one object a line: `reply`, `says` (the one answer that the reply gives, as the
parser is to write it; null where it gives none), and what the row adds: `labels`, `prompt` (the user message, with its
options), `generation` (fields of a manifest), `finish_reason` (default stop).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from distillery_trainer.chat.reply import Reply
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.read_reply import read_reply
from task_definitions import task_definition

FOLDER = Path(__file__).parents[1] / "data" / "replies"
TASKS = {
    "nli": "NLI",
    "multiple_choice": "MultipleChoice",
    "math": "Math",
    "summarization": "Summarization",
    "conversation": "Conversation",
}
"""The tasks, by the names of their files."""


@dataclass(frozen=True, slots=True)
class SampleReply:
    """One line of a file."""

    reply: str
    says: str | None
    prompt: str = ""
    labels: Sequence[str] = ()
    generation: dict[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a parser made of a reply."""

    line: int
    sample: SampleReply
    answer: str | None
    """None where the reply is unreadable to the parser."""
    right: bool
    """Whether the answer is what the reply says; for a reply that says nothing, that it is unreadable."""

    @property
    def wrong(self) -> bool:
        """Whether an answer was read that the reply does not give."""
        return self.answer is not None and not self.right


@dataclass(frozen=True, slots=True)
class Precision:
    """The readings of all replies of a task."""

    readings: Sequence[Reading]

    @property
    def wrong(self) -> list[Reading]:
        """Those with an answer that the reply does not give."""
        return [reading for reading in self.readings if reading.wrong]

    @property
    def missed(self) -> list[Reading]:
        """The replies with an answer that is not read."""
        return [reading for reading in self.readings if reading.sample.says is not None and reading.answer is None]

    @property
    def with_answer(self) -> int:
        """How many replies give an answer."""
        return sum(reading.sample.says is not None for reading in self.readings)

    @property
    def read_right(self) -> int:
        """How many replies give an answer that is read."""
        return sum(reading.sample.says is not None and reading.right for reading in self.readings)


def sample_replies(name: str) -> list[SampleReply]:
    """The hand-written replies of a task."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [SampleReply(**json.loads(line)) for line in lines]


def measure(name: str) -> Precision:
    """Read every reply of a task as the generate stage does."""
    samples = enumerate(sample_replies(name), start=1)
    return Precision([_read(line, sample, _task(name, sample)) for line, sample in samples])


def _read(line: int, sample: SampleReply, task: TaskDefinition) -> Reading:
    answer = read_reply(Reply(sample.reply, sample.finish_reason), task, sample.prompt).answer
    return Reading(line, sample, answer, right=_is_right(answer, sample.says, task))


def _is_right(answer: str | None, says: str | None, task: TaskDefinition) -> bool:
    """Whether the answer is spelt as it should be; a label or a number is to be scored as correct, too."""
    if answer is None or says is None:
        return answer is says
    return answer == says and (task.answer_kind.is_prose or task.correct(answer, says))


def _task(name: str, sample: SampleReply) -> TaskDefinition:
    return _definition(name, tuple(sample.labels), json.dumps(sample.generation))


@cache
def _definition(name: str, labels: tuple[str, ...], generation: str) -> TaskDefinition:
    return task_definition(TASKS[name], labels, **json.loads(generation))
