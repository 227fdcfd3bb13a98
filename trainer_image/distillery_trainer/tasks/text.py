"""Text: the answer to any instruction, in prose, SQL or code."""

from __future__ import annotations

from typing import ClassVar

from distillery_api.spec import Task
from distillery_trainer.data.rows import Gold, Message, Row, known_answers
from distillery_trainer.tasks.prose import PROSE_TOKENS, ProseTask
from distillery_trainer.tasks.task_definition import AnswerKind, single_user_message_problem
from distillery_trainer.text.chrf_and_bleu import sentence_chrf

_RESULT_ALONE = "Reply with the result and nothing else."
_STUDENT_PROMPT = f"Do what the user's message asks for. {_RESULT_ALONE}"


class TextTask(ProseTask):
    """Rows with one user message each; the answer is the whole reply, whatever it is written in."""

    task: ClassVar[Task] = Task.TEXT
    metric: ClassVar[str] = "chrF"
    answer_kind: ClassVar[AnswerKind] = AnswerKind.TEXT

    @property
    def student_max_answer_tokens(self) -> int:
        """As long as the teacher's replies."""
        return self.generation.sampling.max_tokens or PROSE_TOKENS

    def default_student_prompt(self) -> str:
        """Whatever the row asks for."""
        return _STUDENT_PROMPT

    def reply_instruction(self) -> str:
        """What the instructions say is not all in the message, which may be what they are about."""
        return _RESULT_ALONE

    def teacher_template(self, row: Row) -> list[Message]:
        """The student prompt: the instruction is the user's own."""
        return self.student_messages(row)

    def score(self, answer: str, gold: Gold) -> float:
        """chrF against gold; with several gold answers, the best one."""
        return sentence_chrf(answer, known_answers(gold))

    def correct(self, answer: str, gold: Gold) -> bool:
        """Whether an answer is a gold answer, white space apart."""
        return " ".join(answer.split()) in (" ".join(known.split()) for known in known_answers(gold))

    def row_problem(self, row: Row) -> str | None:
        """One user message."""
        return single_user_message_problem(row, self.task)
