"""What the tasks with an answer in sentences have in common: a language, and answers that are more or less alike."""

from __future__ import annotations

from typing import ClassVar

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.records import Gold, known_answers
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.task_definition import JsonSchema, TaskDefinition
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

    def with_language(self, prompt: str) -> str:
        """The prompt, ending with the wish for `generation.language`."""
        if not self.language_wish or prompt.endswith(self.language_wish):  # a prepared row's prompt has it already
            return prompt
        return f"{prompt}\n\n{self.language_wish}"

    @property
    def usual_max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens."""
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
