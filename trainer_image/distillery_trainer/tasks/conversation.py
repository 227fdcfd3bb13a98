"""Conversation: the assistant's next message, once or in every turn of a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from distillery_api.spec import History, Task
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.tasks.prose import PROSE_TOKENS, ProseTask
from distillery_trainer.tasks.task_definition import AnswerKind, StudentTurn

_STUDENT_PROMPT = "You are a helpful assistant. Answer the user's last message{language}."


class ConversationTask(ProseTask):
    """Rows of one turn or many. The teacher answers every assistant turn anew, including the one after the last user
    message."""

    task: ClassVar[Task] = Task.CONVERSATION
    answer_kind: ClassVar[AnswerKind] = AnswerKind.TURN

    @property
    def student_max_answer_tokens(self) -> int:
        """As long as the teacher's replies."""
        return self.generation.sampling.max_tokens or PROSE_TOKENS

    def default_student_prompt(self) -> str:
        """The answer to the last user message."""
        return _STUDENT_PROMPT.format(language="" if self.language_instruction else ", in the language of that message")

    def reply_instruction(self) -> str:
        """Nothing: the user's instructions say who the assistant is and how it answers."""
        return ""

    def next_request(self, row: Row, answers: Sequence[str]) -> list[Message] | None:
        """The next turn, after the teacher's own answers or, with history Original, after the row's answers."""
        user_turns = _user_turns(row)
        return (
            self.teacher_messages(self._until(row, answers, len(answers))) if len(answers) < len(user_turns) else None
        )

    def teacher_template(self, row: Row) -> list[Message]:
        """The student prompt: a conversation has no template."""
        return self.student_messages(row)

    def student_turns(self, row: Row, answers: Sequence[str]) -> list[StudentTurn]:
        """Every assistant turn, each with the messages that the teacher saw before it."""
        return [
            StudentTurn(self.student_messages(self._until(row, answers, turn)), answer)
            for turn, answer in enumerate(answers)
        ]

    def row_problem(self, row: Row) -> str | None:
        """None: turns are checked for all tasks alike."""
        return None

    def split_group(self, row: Row) -> str:
        """The dialogue, identified by its first user message: several rows may be parts of one dialogue."""
        opening = row.messages[_user_turns(row)[0]]["content"]
        return " ".join(opening.split()).casefold()

    def _until(self, row: Row, answers: Sequence[str], turn: int) -> Row:
        """The dialogue up to the user message of a turn, from 0."""
        messages = row.messages[: _user_turns(row)[turn] + 1]
        if self.generation.history is not History.ORIGINAL:
            messages = _with_answers(messages, answers)
        return replace(row, messages=messages)


def _user_turns(row: Row) -> list[int]:
    """The indices of the user messages."""
    return [index for index, message in enumerate(row.messages) if message["role"] == "user"]


def _with_answers(messages: Sequence[Message], answers: Sequence[str]) -> list[Message]:
    """The messages with these answers in place of the assistant's messages."""
    own = iter(answers)
    return [
        {"role": "assistant", "content": next(own)} if message["role"] == "assistant" else message
        for message in messages
    ]
