"""Which prompt a model gets for a row: the precedence of the teacher prompt and of the student prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod

from distillery_api.spec import Generation
from distillery_trainer.data.rows import Message, Row


class Prompts(ABC):
    """The prompts of a task, each of which a prompt of the user's replaces."""

    generation: Generation

    @abstractmethod
    def default_student_prompt(self) -> str:
        """The task's own student prompt."""

    @abstractmethod
    def teacher_template(self, row: Row) -> list[Message]:
        """The row in the task's template for the teacher (chain of thought, chain of density)."""

    def with_language(self, prompt: str) -> str:
        """The prompt with an instruction about the language added, if the task has one."""
        return prompt

    def teacher_messages(self, row: Row) -> list[Message]:
        """The row under the teacher prompt: what the teacher gets, and the base model for `baseTeacherPrompt`.

        `prompts.teacher`, else the task's template where chain of thought or chain of density is on, else what the
        student gets.
        """
        custom_prompt = self.generation.prompts.teacher
        if custom_prompt is not None:
            return with_system_prompt(self.with_language(custom_prompt), row)
        if self.generation.chain_of_thought or self.generation.chain_of_density:
            return self.teacher_template(row)
        return self.student_messages(row)

    def student_messages(self, row: Row) -> list[Message]:
        """The row under the student prompt: what the student is trained on and served with."""
        return with_system_prompt(self.student_prompt(row), row)

    def student_prompt(self, row: Row | None = None) -> str:
        """`prompts.student`, else the row's own system message, else the task's default student prompt.

        Without a row: the prompt for rows that have no system message of their own.
        """
        row_prompt = row.system if row is not None else None
        return self.with_language(self.generation.prompts.student or row_prompt or self.default_student_prompt())


def with_system_prompt(prompt: str, row: Row) -> list[Message]:
    """The row's messages under this system prompt, in place of its own one."""
    turns = row.messages[1:] if row.messages[0]["role"] == "system" else row.messages
    return [{"role": "system", "content": prompt}, *turns]
