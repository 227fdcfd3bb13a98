"""What the tasks with an answer in sentences have in common: a language, and answers that are more or less alike."""

from __future__ import annotations

from typing import ClassVar

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.records import Example, Gold, Message, known_answers
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.task_definition import JsonSchema, TaskDefinition, with_system
from distillery_trainer.text import languages, rouge

PROSE_TOKENS = 1024
"""Default limit of a reply in sentences, in tokens."""


class ProseTask(TaskDefinition):
    """A task whose answers are compared by ROUGE-L. `generation.language` is part of every prompt, also the user's."""

    metric: ClassVar[str] = "rougeL"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        language = self.generation.language
        self.language_wish = f"Write in {languages.english_name(language)}." if language else ""

    def student_system(self, example: Example | None = None) -> str:
        """The student's system prompt, with the language."""
        return self._in_language(super().student_system(example))

    def teacher_messages(self, example: Example) -> list[Message]:
        """The teacher's prompt, with the language."""
        own = self.generation.prompts.teacher
        return with_system(self._in_language(own), example) if own else super().teacher_messages(example)

    def _in_language(self, system: str) -> str:
        if not self.language_wish or system.endswith(self.language_wish):  # that of a prepared row has it already
            return system
        return f"{system}\n\n{self.language_wish}"

    @property
    def usual_max_tokens(self) -> int:
        """The longest elaborate reply, in tokens."""
        return PROSE_TOKENS

    def reply_schema(self) -> JsonSchema | None:
        """None: the reply is plain text."""
        return None

    def read_reply(self, text: str, question: str) -> str | Unreadable:
        """All of the reply, as it is formatted, without thoughts."""
        text = without_reasoning(text).strip()
        return text or Unreadable(RejectionReason.EMPTY, "The reply is empty.")

    def score(self, answer: str, gold: Gold) -> float:
        """ROUGE-L beside the known answer, or the best of several."""
        return rouge.scores(answer, known_answers(gold)).rougeL
