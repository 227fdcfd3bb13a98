"""The teacher's log-probabilities of an answer, as columns of the student's own tokens.

The teacher wrote the answer under another prompt and in other surroundings, `"neutral"}` in JSON or " neutral" after a
blank, so tokens are matched by the bytes of the answer that they cover. A token that covers others than the student's
has no distribution; one that begins with blanks before the answer is read without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.token_logprobs import Position, Token, text_bytes, unpack
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.vocabulary import Vocabulary, other_vocabulary

TEACHER_IDS = "teacherIds"
"""Column: the ids of the tokens that the teacher stated, the answer's own first; -1 where it stated fewer."""
TEACHER_LOGPROBS = "teacherLogprobs"
"""Column: their natural log-probabilities."""


_LEAST_MATCHED = 0.5
"""Share of the rows with log-probabilities in which at least one token is the student's."""


class TeacherTokens:
    """Adds the teacher's log-probabilities to encoded rows, and counts those that have any."""

    def __init__(self, config: RunConfig, base: ModelFolder) -> None:
        self._most = config.training.objective.logits.top_logprobs
        self._teacher, self._student = config.generation.teachers[0].name, base.uri
        self._vocabulary = Vocabulary(base.tokenizer)
        self._rows = self._stated = self._matched = 0

    def added(self, row: Mapping[str, Any], encoded: EncodedRow) -> EncodedRow:
        """The row with both columns; its siblings, which the teacher was not asked about, have them empty."""
        own = [token for token in encoded.labels if token != IGNORED]
        positions = _stored(row)
        found = matched(own, _answer(row), positions, self._vocabulary)
        self._rows += 1
        self._stated += bool(positions)
        self._matched += bool(found)
        siblings = tuple(self._with_columns(each, {}) for each in encoded.siblings)
        return replace(self._with_columns(encoded, found), siblings=siblings)

    def _with_columns(self, encoded: EncodedRow, found: Mapping[int, Sequence[tuple[int, float]]]) -> EncodedRow:
        return replace(encoded, columns={**encoded.columns, **_columns(encoded.answer_length, found, self._most)})

    def counts(self) -> dict[str, int]:
        """Rows with log-probabilities, and rows that have their answer alone. Raises UserError where the teacher's
        tokens are not the student's."""
        if not self._rows:
            return {}
        if not self._stated:
            message = (
                "training.objective.kind Logits: none of the generated rows has log-probabilities. Run again with a"
                " teacher that gives them (docs/teachers.md), or set the kind to Labels."
            )
            raise UserError(message, reason=Reason.INVALID_SPEC)
        if self._matched < _LEAST_MATCHED * self._stated:
            problem = f"of {self._stated:,} rows, only {self._matched:,} have a token in common"
            raise UserError(other_vocabulary(self._student, self._teacher, problem), reason=Reason.INVALID_MODEL)
        return {"logprobs": self._matched, "withoutLogprobs": self._rows - self._matched}


def _stored(row: Mapping[str, Any]) -> list[Position]:
    """The teacher's log-probabilities of a generated row's answer; none where it has none."""
    try:
        return unpack(row["logprobs"]) if row.get("logprobs") else []
    except ValueError:
        return []


def _answer(row: Mapping[str, Any]) -> str:
    """The answer without its reasoning, which the teacher may have written in another form."""
    return without_reasoning(str(row["completion"][-1].get("content") or ""))


def _columns(length: int, found: Mapping[int, Sequence[tuple[int, float]]], most: int) -> dict[str, Any]:
    ids = np.full((length, most + 1), -1, dtype=np.int32)
    logprobs = np.zeros((length, most + 1), dtype=np.float16)
    for index, stated in found.items():
        for column, (token, value) in enumerate(stated[: most + 1]):
            ids[index, column], logprobs[index, column] = token, value
    return {TEACHER_IDS: ids, TEACHER_LOGPROBS: logprobs}


def matched(
    own: Sequence[int], answer: str, positions: Sequence[Position], vocabulary: Vocabulary
) -> dict[int, list[tuple[int, float]]]:
    """By index in `own`, the student's tokens of the answer: what the teacher stated for that token, as ids of the
    student's and log-probabilities, the token itself first."""
    contents = [vocabulary.content(position.text, position.alternatives[0][0]) for position in positions]
    theirs = _covered(answer, contents, first=True)
    found = {}
    for span, (index, blanks) in _covered(answer, list(map(vocabulary.bytes_of, own)), first=False).items():
        if span in theirs:
            position, their_blanks = theirs[span]
            found[index] = _stated(own[index], positions[position], their_blanks, blanks, vocabulary)
    return found


def _covered(answer: str, tokens: Sequence[bytes], *, first: bool) -> dict[tuple[int, int], tuple[int, bytes]]:
    """By the bytes of the answer that it covers: the number of each token, and the blanks before the answer that it
    begins with. The answer is the `first` or the last place of its text in the tokens."""
    text, sought = b"".join(tokens), text_bytes(answer)
    begins = text.find(sought) if first else text.rfind(sought)
    covered: dict[tuple[int, int], tuple[int, bytes]] = {}
    end = -begins
    for number, content in enumerate(tokens if sought and begins >= 0 else ()):
        begin, end = end, end + len(content)
        blanks = content[: max(0, -begin)]
        if 0 < end <= len(sought) and not blanks.strip():
            covered[max(0, begin), end] = number, blanks
    return covered


def _stated(
    own: int, position: Position, their_blanks: bytes, blanks: bytes, vocabulary: Vocabulary
) -> list[tuple[int, float]]:
    (_, value), *others = position.alternatives
    stated = {own: value}
    for token, logprob in others:
        other = _with_blanks(token, their_blanks, blanks, vocabulary)
        if other is not None:
            stated.setdefault(other, logprob)
    return list(stated.items())


def _with_blanks(token: Token, theirs: bytes, ours: bytes, vocabulary: Vocabulary) -> int | None:
    """The student's id of a token with the blanks that its own token has instead of those of the teacher's; None where
    there is no such token."""
    if theirs == ours:
        return vocabulary.id_of(token)
    content = vocabulary.bytes_of(token) if isinstance(token, int) else text_bytes(token)
    if not content.startswith(theirs):
        return None
    return vocabulary.id_of_bytes(ours + content.removeprefix(theirs))
