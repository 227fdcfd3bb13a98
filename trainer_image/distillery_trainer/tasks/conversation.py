"""Conversation: what an assistant says next, once or in every turn of a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from distillery_api.spec import History, Task
from distillery_trainer.data.records import Example, Message
from distillery_trainer.tasks.prose import PROSE_TOKENS, ProseTask
from distillery_trainer.tasks.task_definition import AnswerKind, Turn

_STUDENT_PROMPT = "You are a helpful assistant. Answer the user's last message{language}."


class ConversationTask(ProseTask):
    """Rows of one turn or many. Every assistant turn is answered anew, the one after the last user message, too."""

    task: ClassVar[Task] = Task.CONVERSATION
    kind: ClassVar[AnswerKind] = AnswerKind.TEXT

    @property
    def student_max_tokens(self) -> int:
        """Room for as long a reply as the teacher's."""
        return self.generation.sampling.max_tokens or PROSE_TOKENS

    def default_student_prompt(self) -> str:
        """The answer to the last user message."""
        return _STUDENT_PROMPT.format(language="" if self.language_wish else ", in the language of that message")

    def next_request(self, example: Example, answers: Sequence[str]) -> list[Message] | None:
        """The turn that comes next, after the teacher's own answers or, with history Original, after the row's."""
        asked = _places_of_users(example)
        return self.teacher_messages(self._until(example, answers, len(answers))) if len(answers) < len(asked) else None

    def teacher_template(self, example: Example) -> list[Message]:
        """The student prompt: a conversation has no template."""
        return self.student_messages(example)

    def student_turns(self, example: Example, answers: Sequence[str]) -> list[Turn]:
        """Every assistant turn, each after what the teacher saw before it."""
        return [
            Turn(self.student_messages(self._until(example, answers, turn)), self.completion(answer))
            for turn, answer in enumerate(answers)
        ]

    def problem(self, example: Example) -> str | None:
        """None: turns are checked for all tasks."""
        return None

    def group(self, example: Example) -> str:
        """The dialogue, told by its first user message: a row may be a longer part of it than another."""
        opening = example.messages[_places_of_users(example)[0]]["content"]
        return " ".join(opening.split()).casefold()

    def _until(self, example: Example, answers: Sequence[str], turn: int) -> Example:
        """The dialogue up to the user message of a turn, from 0."""
        messages = example.messages[: _places_of_users(example)[turn] + 1]
        if self.generation.history is not History.ORIGINAL:
            messages = _with_answers(messages, answers)
        return replace(example, messages=messages)


def _places_of_users(example: Example) -> list[int]:
    return [place for place, message in enumerate(example.messages) if message["role"] == "user"]


def _with_answers(messages: Sequence[Message], answers: Sequence[str]) -> list[Message]:
    """The messages with other things said by the assistant."""
    own = iter(answers)
    return [
        {"role": "assistant", "content": next(own)} if message["role"] == "assistant" else message
        for message in messages
    ]
