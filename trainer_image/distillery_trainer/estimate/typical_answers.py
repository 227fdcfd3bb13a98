"""The typical length of answers by task, for an estimate without a pilot."""

from __future__ import annotations

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.data.rows import Row
from distillery_trainer.estimate.token_counting import TokenCounter
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.extraction import ExtractionTask
from distillery_trainer.tasks.summarization import ROUNDS, SUMMARY_WORDS

_LABEL_TOKENS = 5
_CHAIN_OF_THOUGHT_TOKENS = 130
"""Reasoning of at most 80 words, the answer, and the JSON around them."""
_TYPICAL_TOKENS = {Task.CONVERSATION: 150, Task.TEXT: 100, Task.TOOL_CALLING: 50}
"""Of answers that are as long as those that a row already has."""
_REASONING_TOKENS = 1000
"""The reasoning of a reasoning model before its answer."""
_TOKENS_PER_WORD = 1.35
JUDGE_REPLY_TOKENS = 130
"""The judge's reason of at most 80 words, its verdict, and the JSON around them."""
_TOKENS_PER_FIELD = 10
"""Name and value of a field of an object, which may be null."""
_ROUND_TOKENS = 40
"""The entities of one round of a chain of density, and the JSON around them."""


class TypicalAnswers:
    """The typical length of the teacher's replies of a task, and of the answers in them."""

    def __init__(self, config: RunConfig, task: TaskDefinition, counter: TokenCounter) -> None:
        self._task, self._generation, self._counter = config.task, config.generation, counter
        self._max_tokens = task.max_tokens
        self._fields = len(task.fields) if isinstance(task, ExtractionTask) else 0
        self._reasoning_tokens = (
            _REASONING_TOKENS if any(teacher.reasoning for teacher in config.generation.teachers) else 0
        )

    def reply_tokens(self, row: Row, existing_reply: str | None) -> float:
        """Tokens of the reply to a turn of the row; `existing_reply` is the reply that the row already has there."""
        return min(self._max_tokens, self._reasoning_tokens + self._visible_tokens(row, existing_reply))

    def answer_tokens(self, row: Row, existing_reply: str | None) -> float:
        """Tokens of the answer only."""
        if self._task in _TYPICAL_TOKENS:
            known = existing_reply or (row.gold if isinstance(row.gold, str) else None)
            return self._counter.count(known) if known else _TYPICAL_TOKENS[self._task]
        if self._task is Task.SUMMARIZATION:
            return (self._generation.max_summary_words or SUMMARY_WORDS) * _TOKENS_PER_WORD
        if self._task is Task.EXTRACTION:
            return max(_LABEL_TOKENS, _TOKENS_PER_FIELD * self._fields)
        return _LABEL_TOKENS

    def _visible_tokens(self, row: Row, existing_reply: str | None) -> float:
        answer = self.answer_tokens(row, existing_reply)
        if self._generation.chain_of_density:
            return ROUNDS * (answer + _ROUND_TOKENS)
        if not self._generation.chain_of_thought:
            return answer
        return _CHAIN_OF_THOUGHT_TOKENS + (answer if self._task in (Task.TEXT, Task.EXTRACTION) else 0)
