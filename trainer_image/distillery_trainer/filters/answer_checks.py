"""What is wrong with a row before it is asked, and with a readable answer before it is learnt, as far as that shows
without asking another model."""

from __future__ import annotations

import re

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.records import Example, Rejection, known_answers
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text import languages
from distillery_trainer.text.words import word_count

CONTROL_TOKEN = re.compile(
    r"<[|\uff5c][\w\u2581]{1,60}[|\uff5c]>"  # <|im_end|>, and DeepSeek's with wide bars
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>"
)
"""What chat models use as control tokens, by its form: the student may not be at hand when rows are generated. The
training looks for the student's own ones again."""

_SHOWN = 80


class AnswerChecks:
    """The checks that the run's filters ask for. Each says why, or None."""

    def __init__(self, config: RunConfig, task: TaskDefinition) -> None:
        self._task, self._is_prose = task, task.answer_kind.is_prose
        self._filters = config.generation.filters
        self._language = config.generation.language

    def row_verdict(self, example: Example) -> Rejection | None:
        """Why a row is not worth asking."""
        for message in example.messages:
            if verdict := _control_token(message["content"], "row"):
                return verdict
        return None

    def verdict(self, example: Example, answer: str) -> Rejection | None:
        """Why an answer is not to be learnt; the first reason of several."""
        if not answer.strip():
            return Rejection(RejectionReason.EMPTY, "The answer is empty.")
        return (
            self._task.answer_problem(answer, example.text)
            or self._length(answer)
            or _control_token(answer, "answer")
            or self._other_language(example, answer)
            or self._disagreement(example, answer)
        )

    def _length(self, answer: str) -> Rejection | None:
        most = self._filters.max_answer_words
        if most is None or (length := word_count(answer)) <= most:
            return None
        message = f"The answer has {length:,} words; generation.filters.maxAnswerWords allows {most:,}."
        return Rejection(RejectionReason.TOO_LONG, message)

    def _other_language(self, example: Example, answer: str) -> Rejection | None:
        if not (self._filters.language and self._is_prose):
            return None
        written = languages.detect(answer)
        if written is None or self._may_be_in(written, example):
            return None
        wanted = f"generation.language is {self._language}" if self._language else "the row is in another one"
        message = f"The answer is in {languages.english_name(written)}, and {wanted}."
        return Rejection(RejectionReason.WRONG_LANGUAGE, message)

    def _may_be_in(self, language: str, example: Example) -> bool:
        """Whether it is the language asked for, or else one that the row is in or speaks of."""
        if self._language:
            return language == languages.primary(self._language)
        asked = [message["content"] for message in example.messages if message["role"] == "user"]
        spoken = {languages.detect(text) for text in asked} - {None}
        if not spoken or language in spoken:
            return True
        everything = " ".join(message["content"] for message in example.messages).casefold()
        return any(name in everything for name in languages.all_names(language, map(str, spoken)))

    def _disagreement(self, example: Example, answer: str) -> Rejection | None:
        gold = example.gold
        if not self._filters.disagrees_with_gold or gold is None or self._is_prose:
            return None
        if self._task.correct(answer, gold):
            return None
        known = " or ".join(known_answers(gold))
        return Rejection(
            RejectionReason.DISAGREES_WITH_GOLD,
            f"The answer is {_shown(answer)}, and the known one is {_shown(known)}.",
        )


def _control_token(text: str, what: str) -> Rejection | None:
    if ("<" not in text and "[" not in text) or not (found := CONTROL_TOKEN.search(text)):
        return None
    return Rejection(
        RejectionReason.SPECIAL_TOKEN, f"The {what} holds {found[0]}, which a student would take for a control token."
    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
