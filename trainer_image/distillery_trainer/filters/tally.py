"""Counts of one split, and whether enough of its rows can still be kept."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

from distillery_api.result import Reason, RowCounts
from distillery_trainer.errors import TryLater, UserError
from distillery_trainer.teachers.teacher import Failure

_SHOWN_REASONS = 3


class Tally:
    """Rows of a split: how many there are, how many are kept, why the others are not."""

    def __init__(self, split: str, rows: int, min_success_ratio: float) -> None:
        self.split, self.rows = split, rows
        self._ratio = min_success_ratio
        # As the user wrote it: 0.7 of 30 rows are 21, in binary fractions a little more.
        self.needed = max(1, math.ceil(Fraction(str(min_success_ratio)) * rows)) if rows else 0
        self.kept = 0
        self.reasons: Counter[str] = Counter()
        self.failed_calls = 0
        self.passing_failures = 0

    @property
    def rejected(self) -> int:
        """Rows rejected so far."""
        return self.reasons.total()

    @property
    def done(self) -> int:
        """Rows kept or rejected so far."""
        return self.kept + self.rejected

    def reject(self, reason: str, failure: Failure | None) -> None:
        """Count a rejected row, and the failed call where that was why."""
        self.reasons[reason] += 1
        if failure:
            self.failed_calls += 1
            self.passing_failures += failure.passing

    def check(self, teacher_answered: bool) -> None:
        """Raise where the split can no longer keep as many rows as it needs."""
        if self.rows - self.rejected < self.needed:
            raise self._too_few(teacher_answered)

    def _too_few(self, teacher_answered: bool) -> UserError | TryLater:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common(_SHOWN_REASONS))
        if not teacher_answered and self.passing_failures == self.rejected:
            message = f"The teacher answered none of {self.rejected:,} rows ({reasons}); is it up?"
            return TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
        message = (
            f"Too few {self.split} rows: {self.rejected:,} of {self.rows:,} are rejected ({reasons}), and"
            f" generation.minSuccessRatio {self._ratio:g} needs {self.needed:,} to be kept. rejected.jsonl has each row"
            " with its reason; replies that were paid for are not asked again."
        )
        failed = 2 * self.failed_calls > self.rejected
        return UserError(message, reason=Reason.GENERATION_FAILED if failed else Reason.TOO_FEW_ROWS)

    def counts(self) -> RowCounts:
        """The counts so far."""
        return RowCounts(
            read=self.done, kept=self.kept, rejected=self.rejected, rejected_by_reason=dict(self.reasons.most_common())
        )


def total(tallies: list[Tally]) -> RowCounts:
    """The counts of all splits together."""
    reasons = sum((tally.reasons for tally in tallies), Counter[str]())
    return RowCounts(
        read=sum(tally.done for tally in tallies),
        kept=sum(tally.kept for tally in tallies),
        rejected=reasons.total(),
        rejected_by_reason=dict(reasons.most_common()),
    )
