"""What every task defines: its prompts, how a reply is read, and when an answer is correct."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.request_parameters import sampling_parameters
from distillery_trainer.data.rows import Gold, Message, Rejection, Row
from distillery_trainer.data.tool_calls import ToolCall
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.prompts import Prompts

JsonSchema = dict[str, Any]

LABEL_TOKENS = 128
"""Default maximum length of a plain answer, in tokens."""
CHAIN_OF_THOUGHT_TOKENS = 512
"""Default maximum length of chain of thought and answer together, in tokens."""
REASONING_TOKENS = 4096
"""Default maximum length of a reasoning model's reply, including its reasoning, in tokens."""


class AnswerKind(StrEnum):
    """What an answer is. It decides which metrics and which baselines the result table shows beside the score."""

    LABEL = "label"
    LABELS = "labels"
    """Any number of labels."""
    NUMBER = "number"
    SUMMARY = "summary"
    TURN = "turn"
    CALLS = "calls"
    TEXT = "text"
    OBJECT = "object"

    @property
    def is_partly_right(self) -> bool:
        """Whether an answer's score may be between 0 and 1."""
        return self.is_prose or self is AnswerKind.OBJECT

    @property
    def is_prose(self) -> bool:
        """Whether answers are compared by similarity instead of being right or wrong."""
        return self in (AnswerKind.SUMMARY, AnswerKind.TURN, AnswerKind.TEXT)


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """A reply in which an answer was read, and what was asked for it."""

    reply: Reply
    messages: list[Message]
    row_text: str
    """The row's last message."""
    sample: int = 0
    existing: bool = False
    """Whether the row had it already, so that nothing was asked."""


@dataclass(slots=True)
class StudentTurn:
    """One assistant turn that the student learns."""

    prompt: list[Message]
    """The student prompt and the messages so far."""
    completion: str
    """The answer."""
    reasoning: str | None = None
    """The teacher's reasoning before the answer; None where it gave none."""
    tool_calls: list[ToolCall] = field(default_factory=list)
    """The answer, where it is calls; `completion` is empty then."""
    origin: AnswerOrigin | None = None
    """What the answer was read in."""
    logprobs: str | None = None
    """The log-probabilities of the answer, packed (chat/token_logprobs.py), if the student learns them."""
    samples: list[tuple[StudentTurn, int]] = field(default_factory=list)
    """The different answers of the teacher's samples, each with the number of samples that gave it, the kept one first;
    empty for one sample."""


class TaskDefinition(Prompts):
    """One task. An answer is a string, in the form in which the student is to write it."""

    task: ClassVar[Task]
    metric: ClassVar[str] = "accuracy"
    """What `score` measures; its name in the result table."""
    answer_kind: ClassVar[AnswerKind] = AnswerKind.LABEL
    """What the task's answers are."""
    reads_pictures: ClassVar[bool] = True
    """Whether its rows may have pictures."""
    object_schema: JsonSchema | None = None
    """The JSON schema of the answers; None where they are no objects."""

    def __init__(self, config: RunConfig) -> None:
        self.labels = config.labels
        self.generation = config.generation

    # --- asking

    def next_request(self, row: Row, answers: Sequence[str]) -> list[Message] | None:
        """The next request to the teacher, after its `answers` to the row so far; None if the row is complete."""
        return None if answers else self.teacher_messages(row)

    def student_turns(self, row: Row, answers: Sequence[str]) -> list[StudentTurn]:
        """What the student learns from a complete row."""
        return [StudentTurn(self.student_messages(row), answers[-1])]

    @property
    def max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens."""
        reasoning = any(teacher.reasoning for teacher in self.generation.teachers)
        return self.generation.sampling.max_tokens or (REASONING_TOKENS if reasoning else self.default_max_tokens)

    @property
    def default_max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens, from a teacher that is not a reasoning model."""
        return CHAIN_OF_THOUGHT_TOKENS if self.generation.chain_of_thought else LABEL_TOKENS

    @property
    @abstractmethod
    def student_max_answer_tokens(self) -> int:
        """Maximum length of an answer to the student prompt, in tokens."""

    @property
    def student_max_tokens(self) -> int:
        """Maximum length of a reply to the student prompt, in tokens, including reasoning if the student learns it."""
        return self.student_max_answer_tokens + (self.max_tokens if self.generation.keep_reasoning else 0)

    @abstractmethod
    def reply_schema(self) -> JsonSchema | None:
        """JSON schema of a structured reply; None if the reply is plain text."""

    def request_parameters(self) -> dict[str, Any]:
        """The parameters of a request to the teacher, including the response format."""
        return sampling_parameters(self.generation, self.max_tokens, self.reply_schema())

    # --- reading

    @abstractmethod
    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The answer in any model's reply to either prompt. `row_text` is the row's last user message."""

    def read_teacher_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The answer in a reply that the teacher was asked for. Default: like any other reply.

        A task overrides this if its teacher template demands more of a reply than its student prompt does.
        """
        return self.read_answer(text, row_text)

    def unsuitable(self, answer: str, messages: Sequence[Message]) -> Unreadable | None:
        """Why a readable answer is none to the request `messages`; None where it is. The teacher is asked again."""
        return None

    def read_reasoning(self, text: str) -> str | None:
        """The reasoning in a structured reply of the teacher; None if the template does not ask for it."""
        return None

    def vote_key(self, answer: str) -> str:
        """Answers with the same key count as the same answer in a majority vote."""
        return answer

    # --- judging

    @abstractmethod
    def score(self, answer: str, gold: Gold) -> float:
        """The score of an answer against gold, from 0 to 1; with several gold answers, the best score."""

    def correct(self, answer: str, gold: Gold) -> bool:
        """Whether an answer is gold, or one of several gold answers."""
        return self.score(answer, gold) == 1

    def written_gold(self, row: Row) -> str | None:
        """The row's gold, or the first of several, as the student is to write it; None where there is no such form."""
        if not row.known_answers:
            return None
        answer = self.read_answer(row.known_answers[0], row.text)
        return answer if isinstance(answer, str) else None

    def answer_problem(self, answer: str, row_text: str) -> Rejection | None:
        """Why the student should not learn a readable answer; None for a good one."""
        return None

    # --- the rows

    @abstractmethod
    def row_problem(self, row: Row) -> str | None:
        """The rule of the task that a row breaks, as a sentence; None for a valid row."""

    def split_group(self, row: Row) -> str:
        """The group of a row: all rows of a group land in the same split. Default: rows with the same text."""
        return " ".join(row.text.split()).casefold()


def single_user_message_problem(row: Row, task: Task) -> str | None:
    """The rule of tasks without history, as a sentence, if a row breaks it."""
    if sum(message["role"] != "system" for message in row.messages) == 1:
        return None
    return f"a row of the task {task} has one user message (an assistant message after it is replaced)"
