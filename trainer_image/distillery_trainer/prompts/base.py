"""What every task defines: its two prompts, how a reply is read, and when an answer is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from distillery_api.run import RunConfig
from distillery_trainer.records import Example, Message

JsonSchema = dict[str, Any]

LABEL_TOKENS = 128
"""Default limit of a plain answer, in tokens."""
CHAIN_OF_THOUGHT_TOKENS = 512
"""Default limit of reasoning and answer together, in tokens."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply without one clear answer."""

    reason: str
    """One word for programs: empty, bad_json, label_not_allowed, several_labels or negated_label."""
    message: str
    """A sentence for people."""


class TaskPrompt(ABC):
    """One task. An answer is a string, as the student is to write it.

    Precedence of the prompts. Student: `prompts.student`, else the row's own system message, else the task's short
    prompt. Teacher: `prompts.teacher`, else the chain-of-thought template where that is on, else the student's prompt.
    """

    def __init__(self, config: RunConfig) -> None:
        self.labels = config.labels
        self.chain_of_thought = config.generation.chain_of_thought
        self._teacher_prompt = config.generation.prompts.teacher
        self._student_prompt = config.generation.prompts.student
        self._token_limit = config.generation.sampling.max_tokens

    # --- asking

    def teacher_messages(self, example: Example) -> list[Message]:
        """The elaborate prompt: what the teacher gets, and the base model for `baseElaborate`."""
        if self._teacher_prompt is not None:
            return _with_system(self._teacher_prompt, example)
        if self.chain_of_thought:
            return self.reasoning_messages(example)
        return self.student_messages(example)

    def student_messages(self, example: Example) -> list[Message]:
        """The short prompt: what the student is trained on and served with."""
        return _with_system(self.student_system(example), example)

    def student_system(self, example: Example | None = None) -> str:
        """The student's system prompt for a row, or for rows without a system message of their own."""
        own = example.system if example is not None else None
        return self._student_prompt or own or self.short_prompt()

    @property
    def max_tokens(self) -> int:
        """The longest elaborate reply, in tokens."""
        return self._token_limit or (CHAIN_OF_THOUGHT_TOKENS if self.chain_of_thought else LABEL_TOKENS)

    @property
    @abstractmethod
    def student_max_tokens(self) -> int:
        """The longest reply to the short prompt, in tokens."""

    @abstractmethod
    def short_prompt(self) -> str:
        """The task's own short system prompt."""

    @abstractmethod
    def reasoning_messages(self, example: Example) -> list[Message]:
        """The task's chain-of-thought prompt around a row."""

    @abstractmethod
    def reply_schema(self) -> JsonSchema | None:
        """JSON schema of a structured reply; None where the reply is plain text."""

    # --- reading

    @abstractmethod
    def read_reply(self, text: str) -> str | Unreadable:
        """The answer in a reply to either prompt, of any model."""

    @abstractmethod
    def completion(self, answer: str) -> str:
        """What the student's row stores for an answer."""

    @abstractmethod
    def correct(self, answer: str, gold: str | list[str]) -> bool:
        """Whether an answer is the known one, or one of them."""

    # --- the rows

    @abstractmethod
    def problem(self, example: Example) -> str | None:
        """The rule of the task that a row breaks, as a sentence; None for a good row."""

    @abstractmethod
    def group(self, example: Example) -> str:
        """Rows of one group never stand on both sides of a split."""


def _with_system(system: str, example: Example) -> list[Message]:
    """The row's turns under another system prompt."""
    turns = example.messages[1:] if example.messages[0]["role"] == "system" else example.messages
    return [{"role": "system", "content": system}, *turns]
