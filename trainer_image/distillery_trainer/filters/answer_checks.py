"""Checks of a row before it is sent to the teacher, and of a readable answer before it is kept, without another
model."""

from __future__ import annotations

import re

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Rejection, Row, known_answers
from distillery_trainer.data.tool_messages import text_of, with_tools
from distillery_trainer.filters.answer_rules import AnswerRules
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text import languages
from distillery_trainer.text.words import word_count

CONTROL_TOKEN = re.compile(
    r"<[|\uff5c][\w\u2581]{1,60}[|\uff5c]>"  # <|im_end|>, and DeepSeek's with wide bars
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>"
)
"""Control tokens of chat models, recognised by their form, since the student may not be available when rows are
generated. The train stage checks for the student's own special tokens."""

_SHOWN = 80


class AnswerChecks:
    """The checks that the run's filters require. Each returns a rejection or None."""

    def __init__(self, config: RunConfig, task: TaskDefinition) -> None:
        self._task, self._is_prose = task, task.answer_kind.is_prose
        self._filters = config.generation.filters
        self._checks_language = config.generation.checks_language(config.task)
        self._rules = AnswerRules(self._filters)
        self._language = config.generation.language

    def row_rejection(self, row: Row) -> Rejection | None:
        """Why a row is not sent to the teacher."""
        for message in with_tools(row.messages, row.tools):
            if rejection := _control_token(text_of(message), "row"):
                return rejection
        return None

    def answer_rejection(self, row: Row, answer: str) -> Rejection | None:
        """Why an answer is rejected; the first reason of several."""
        if not answer.strip():
            return Rejection(RejectionReason.EMPTY, "The answer is empty.")
        return (
            self._task.answer_problem(answer, row.text)
            or self._length(answer)
            or self._rules.rejection(answer)
            or _control_token(answer, "answer")
            or self._other_language(row, answer)
            or self._disagreement(row, answer)
        )

    def _length(self, answer: str) -> Rejection | None:
        least, most = self._filters.min_answer_words, self._filters.max_answer_words
        if least is None and most is None:
            return None
        length = word_count(answer)
        if most is not None and length > most:
            message = f"The answer has {length:,} words; generation.filters.maxAnswerWords allows at most {most:,}."
            return Rejection(RejectionReason.TOO_LONG, message)
        if least is not None and length < least:
            message = f"The answer has {length:,} words; generation.filters.minAnswerWords requires {least:,}."
            return Rejection(RejectionReason.TOO_SHORT, message)
        return None

    def _other_language(self, row: Row, answer: str) -> Rejection | None:
        if not (self._checks_language and self._is_prose):
            return None
        language = languages.detect(answer)
        if language is None or self._is_expected(language, row):
            return None
        expected = f"generation.language is {self._language}" if self._language else "the row is in another language"
        message = f"The answer is in {languages.english_name(language)}, but {expected}."
        return Rejection(RejectionReason.WRONG_LANGUAGE, message)

    def _is_expected(self, language: str, row: Row) -> bool:
        """Whether it is the requested language, or if none is set, one that the row is in or mentions."""
        if self._language:
            return language == languages.primary(self._language)
        user_texts = [message["content"] for message in row.messages if message["role"] == "user"]
        user_languages = {languages.detect(text) for text in user_texts} - {None}
        if not user_languages or language in user_languages:
            return True
        all_text = " ".join(message["content"] for message in row.messages).casefold()
        return any(name in all_text for name in languages.all_names(language, map(str, user_languages)))

    def _disagreement(self, row: Row, answer: str) -> Rejection | None:
        gold = row.gold
        if not self._filters.disagrees_with_gold or gold is None or self._is_prose:
            return None
        if self._task.correct(answer, gold):
            return None
        known = " or ".join(known_answers(gold))
        return Rejection(
            RejectionReason.DISAGREES_WITH_GOLD, f"The answer is {_shown(answer)}, but the gold is {_shown(known)}."
        )


def _control_token(text: str, subject: str) -> Rejection | None:
    if ("<" not in text and "[" not in text) or not (found := CONTROL_TOKEN.search(text)):
        return None
    message = f"The {subject} contains {found[0]}, which a student would read as a control token."
    return Rejection(RejectionReason.SPECIAL_TOKEN, message)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
