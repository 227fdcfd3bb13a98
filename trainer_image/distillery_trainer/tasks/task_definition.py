"""What every task defines: its two prompts, how a reply is read, and when an answer is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.chat.request_parameters import sampling_parameters
from distillery_trainer.data.records import Example, Gold, Message
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks import prompts

JsonSchema = dict[str, Any]

LABEL_TOKENS = 128
"""Default limit of a plain answer, in tokens."""
CHAIN_OF_THOUGHT_TOKENS = 512
"""Default limit of reasoning and answer together, in tokens."""
REASONING_TOKENS = 4096
"""Default limit for a teacher that thinks first, thoughts included, in tokens."""


class AnswerKind(StrEnum):
    """What an answer is, and so which figures and which simple baselines stand beside its score."""

    LABEL = "label"
    NUMBER = "number"
    SUMMARY = "summary"
    TEXT = "text"

    @property
    def is_prose(self) -> bool:
        """Whether answers are more or less alike rather than right or wrong."""
        return self in (AnswerKind.SUMMARY, AnswerKind.TEXT)


@dataclass(slots=True)
class Turn:
    """One thing that the student learns to say."""

    prompt: list[Message]
    """The student prompt and the messages so far."""
    completion: str
    """What it says."""
    reasoning: str | None = None
    """What it thinks before it says so, where it is to learn that, too."""


class TaskDefinition(ABC):
    """One task. An answer is a string, in the form in which the student is to write it.

    `prompts.py` decides which prompt a model gets.
    """

    task: ClassVar[Task]
    metric: ClassVar[str] = "accuracy"
    """What `score` measures, as the result table names it."""
    kind: ClassVar[AnswerKind] = AnswerKind.LABEL
    """What the task's answers are."""

    def __init__(self, config: RunConfig) -> None:
        self.labels = config.labels
        self.generation = config.generation

    # --- asking

    def next_request(self, example: Example, answers: Sequence[str]) -> list[Message] | None:
        """What the teacher is asked next, after its `answers` to the row so far; None when the row is complete."""
        return None if answers else self.teacher_messages(example)

    def teacher_messages(self, example: Example) -> list[Message]:
        """The row under the teacher prompt: what the teacher gets, and the base model for `baseTeacherPrompt`."""
        return prompts.teacher_messages(self, example)

    def student_messages(self, example: Example) -> list[Message]:
        """The row under the student prompt: what the student is trained on and served with."""
        return prompts.student_messages(self, example)

    def student_prompt(self, example: Example | None = None) -> str:
        """The student prompt of a row, or of rows without a system message of their own."""
        return prompts.student_prompt(self, example)

    def with_language(self, prompt: str) -> str:
        """A system prompt that is not the task's template, with the wish for a language added, if the task has one."""
        return prompt

    def student_turns(self, example: Example, answers: Sequence[str]) -> list[Turn]:
        """What the student learns from a complete row."""
        return [Turn(self.student_messages(example), self.completion(answers[-1]))]

    @property
    def max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens."""
        reasoning = any(teacher.reasoning for teacher in self.generation.teachers)
        return self.generation.sampling.max_tokens or (REASONING_TOKENS if reasoning else self.usual_max_tokens)

    @property
    def usual_max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt from a model that is no reasoning model, in tokens."""
        return CHAIN_OF_THOUGHT_TOKENS if self.generation.chain_of_thought else LABEL_TOKENS

    @property
    @abstractmethod
    def student_max_tokens(self) -> int:
        """Maximum length of a reply to the student prompt, in tokens, without reasoning."""

    @property
    def student_reply_limit(self) -> int:
        """Maximum length of a reply to the student prompt, in tokens, including reasoning if the student learns it."""
        return self.student_max_tokens + (self.max_tokens if self.generation.keep_reasoning else 0)

    @abstractmethod
    def default_student_prompt(self) -> str:
        """The task's own student prompt."""

    @abstractmethod
    def teacher_template(self, example: Example) -> list[Message]:
        """The row in the task's template for the teacher (chain of thought, chain of density)."""

    @abstractmethod
    def reply_schema(self) -> JsonSchema | None:
        """JSON schema of a structured reply; None where the reply is plain text."""

    def request_parameters(self) -> dict[str, Any]:
        """The parameters of a request to the teacher, its response format among them."""
        return sampling_parameters(self.generation, self.max_tokens, self.reply_schema())

    # --- reading

    @abstractmethod
    def read_reply(self, text: str, question: str) -> str | Unreadable:
        """The answer in a reply to either prompt, of any model. `question` is the row's last user message."""

    def read_teacher_reply(self, text: str, question: str) -> str | Unreadable:
        """The answer in a reply that the teacher was asked for. Default: read as anybody's reply.

        A task overrides it if its teacher template demands more of a reply than its student prompt does.
        """
        return self.read_reply(text, question)

    def read_reasoning(self, text: str) -> str | None:
        """The reasoning in a structured reply of the teacher, where the template asks for one."""
        return None

    def completion(self, answer: str) -> str:
        """What the student's row stores for an answer."""
        return answer

    def canonical(self, answer: str) -> str:
        """What counts as the same answer when samples are counted."""
        return answer

    # --- judging

    @abstractmethod
    def score(self, answer: str, gold: Gold) -> float:
        """What an answer is worth, from 0 to 1, beside the known one, or the best of several."""

    def correct(self, answer: str, gold: Gold) -> bool:
        """Whether an answer is the known one, or one of them."""
        return self.score(answer, gold) == 1

    def flaw(self, answer: str, question: str) -> Unreadable | None:
        """What is wrong with a readable answer that the student should not learn; None for a good one."""
        return None

    # --- the rows

    @abstractmethod
    def problem(self, example: Example) -> str | None:
        """The rule of the task that a row breaks, as a sentence; None for a good row."""

    def group(self, example: Example) -> str:
        """Rows of one group never stand on both sides of a split. Default: rows with the same text."""
        return " ".join(example.text.split()).casefold()


def one_user_message(example: Example, task: Task) -> str | None:
    """The rule of tasks without history, where a row breaks it."""
    if sum(message["role"] != "system" for message in example.messages) == 1:
        return None
    return f"a row of the task {task} has one user message (an assistant message after it is replaced)"
