"""A teacher that samples: it answers from gold, is sure of most rows and wrong about some, and reasons."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chat_protocol import Answer, Message, text_of
from standin_teacher import chance
from teacher_server import squeezed

HARD = 0.1
"""Share of rows that the teacher mostly answers incorrectly, always with the same wrong answer."""
WRONG_ON_HARD, WRONG_ON_OTHERS = 0.7, 0.08
"""How often a sample is wrong."""
MOST_STATED = 30
"""Wrong answers whose probabilities are stated; of more, some stand for all."""


@dataclass(frozen=True)
class Known:
    """What the teacher knows of a row."""

    answer: str
    others: Sequence[str]
    """Wrong answers."""
    reason: str


class SamplingTeacher:
    """Answers each request for a row as one more sample; the same samples in every run."""

    def __init__(self, rows: Mapping[str, Known], *, is_math: bool) -> None:
        self._rows = {squeezed(text): known for text, known in rows.items()}
        self._longest_first = sorted(self._rows, key=len, reverse=True)
        self._is_math = is_math
        self._samples_given: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, messages: Sequence[Message]) -> Answer:
        """The answer to a request."""
        key = self._key(messages)
        if key is None:
            return Answer("I do not know this row.")
        with self._lock:
            sample = self._samples_given[key]
            self._samples_given[key] += 1
        answer, reason = self._sample(key, sample)
        if self._is_math:
            return Answer(json.dumps({"reason": reason, "answer": answer}))
        return Answer(answer, reason)

    def _key(self, messages: Sequence[Message]) -> str | None:
        text = squeezed(" ".join(text_of(message) for message in messages if message["role"] == "user"))
        return next((key for key in self._longest_first if key in text), None)

    def probabilities(self, messages: Sequence[Message]) -> dict[str, float]:
        """With what probability a sample gives which answer; empty for an unknown row."""
        key = self._key(messages)
        if key is None:
            return {}
        known, hard = self._rows[key], chance("hard", key) < HARD
        if hard:
            wrong = {known.others[int(chance("slip", key) * len(known.others))]: WRONG_ON_HARD}
        else:
            some = known.others[:: 1 + len(known.others) // MOST_STATED]
            wrong = dict.fromkeys(some, WRONG_ON_OTHERS / len(some))
        return {known.answer: 1 - (WRONG_ON_HARD if hard else WRONG_ON_OTHERS), **wrong}

    def _sample(self, key: str, sample: int) -> tuple[str, str]:
        known, hard = self._rows[key], chance("hard", key) < HARD
        if chance("wrong", key, sample) >= (WRONG_ON_HARD if hard else WRONG_ON_OTHERS):
            return known.answer, known.reason
        slip = chance("slip", key) if hard else chance("slip", key, sample)
        wrong = known.others[int(slip * len(known.others))]
        return wrong, f"Having weighed everything, the answer must be {wrong}."
