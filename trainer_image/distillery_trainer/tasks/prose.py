"""What the tasks with prose answers share: a language, and answers that are compared by similarity."""

from __future__ import annotations

import string
from typing import ClassVar

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Gold, known_answers
from distillery_trainer.parsing.code_fences import only_fenced
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.task_definition import JsonSchema, TaskDefinition
from distillery_trainer.text import languages, rouge

PROSE_TOKENS = 1024
"""Default maximum length of a reply in prose, in tokens."""

_INVISIBLE = string.whitespace + "\u00a0\u3000\u200b\u2060\ufeff"
"""White space and characters without width, which are nothing at the ends of an answer."""


class ProseTask(TaskDefinition):
    """A task whose answers are compared by ROUGE-L. All prompts, also custom ones, ask for `generation.language`."""

    metric: ClassVar[str] = "rougeL"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        language = self.generation.language
        self.language_instruction = f"Write in {languages.english_name(language)}." if language else ""
        self._answers_in_fence = any(rule.parses_as for rule in self.generation.filters.answer_rules or ())

    def with_language(self, prompt: str) -> str:
        """The prompt, ending with the instruction about `generation.language`."""
        # The prompt of a prepared row ends with it already.
        if not self.language_instruction or prompt.endswith(self.language_instruction):
            return prompt
        return f"{prompt}\n\n{self.language_instruction}"

    @property
    def default_max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens."""
        return PROSE_TOKENS

    def reply_schema(self) -> JsonSchema | None:
        """None: the reply is plain text."""
        return None

    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The whole reply with its formatting, without reasoning; where answers have to parse as JSON or SQL, the
        content of the only code fence in it."""
        text = without_reasoning(text).strip(_INVISIBLE)
        if self._answers_in_fence:
            text = (only_fenced(text) or text).strip(_INVISIBLE)
        return text or Unreadable(RejectionReason.EMPTY, "The reply is empty.")

    def score(self, answer: str, gold: Gold) -> float:
        """ROUGE-L against gold; with several gold answers, the best one."""
        return rouge.scores(answer, known_answers(gold)).rougeL
