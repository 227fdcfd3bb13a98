"""Train rows with all that their objective wants beside the answer, and how many rows have which of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from distillery_api.run_config import RunConfig
from distillery_api.spec import ObjectiveKind, RationaleUse, SampleUse
from distillery_api.stage_result import ObjectiveFigures
from distillery_trainer.student.objectives.pairs import Pair, Pairs
from distillery_trainer.student.objectives.rationales import DEFAULT_WEIGHT, with_rationale
from distillery_trainer.student.objectives.samples import with_samples
from distillery_trainer.student.objectives.teacher_tokens import TeacherTokens
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder


class LearnedRows:
    """Completes encoded train rows."""

    def __init__(self, config: RunConfig, encoder: RowEncoder) -> None:
        self._wanted, self._drawn = config.training.objective, config.generation.samples
        self._encode = encoder.encode
        self._counts: Counter[str] = Counter()
        wants_logits = self._wanted.kind is ObjectiveKind.LOGITS
        self._teacher = TeacherTokens(config, encoder.base) if wants_logits else None
        self._pairs = Pairs(encoder.encode)

    def learned(self, row: Mapping[str, Any], encoded: EncodedRow) -> EncodedRow:
        """A row as it is in the file, encoded with the answer alone, with what is learned beside that."""
        if self._prefers:
            self._pairs.add_kept(row)
        whole = with_samples(row, encoded, self._wanted.samples, self._drawn, self._encode)
        if self._wanted.samples is not SampleUse.MAJORITY and whole != encoded.weighted(1):
            self._counts["split"] += 1
        if self._wanted.rationales is RationaleUse.AUXILIARY:
            whole, counted = with_rationale(row, whole, self._wanted.rationale_weight or DEFAULT_WEIGHT, self._encode)
            self._counts[counted] += 1
        return self._teacher.added(row, whole) if self._teacher else whole

    def pairs(self, rejected_rows: Iterable[Mapping[str, Any]]) -> list[Pair]:
        """The pairs of all rows so far, and of the rejected ones; none where preferences are not learned."""
        for row in rejected_rows if self._prefers else ():
            self._pairs.add_rejected(row)
        return self._pairs.found

    def figures(self) -> ObjectiveFigures:
        """The objective, and the numbers of rows and pairs. Raises UserError where the rows have not what it needs."""
        if self._teacher:
            self._counts.update(self._teacher.counts())
        return ObjectiveFigures(kind=self._wanted.kind, rows={**self._counts, **self._pairs.counts})

    @property
    def _prefers(self) -> bool:
        return self._wanted.kind is ObjectiveKind.PREFERENCE
