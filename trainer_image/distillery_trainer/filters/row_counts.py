"""Counts of one split, and whether enough of its rows can still be kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from distillery_api.reasons import Reason
from distillery_api.stage_result import RowCounts
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.runtime.errors import TryLater, UserError

_SHOWN_REASONS = 3


class RowCounter:
    """Rows of a split: how many there are, how many are kept, why the others are not.

    `min_success_ratio` is the share of the rows put to the teacher that need an answer, from 0 to 1; `min_rows` are the
    rows that must be kept. Rows that were rejected before they were asked count for the second only.
    """

    def __init__(
        self,
        split: str,
        rows: int,
        min_success_ratio: float,
        min_rows: int,
        screened_out: Mapping[str, int] | None = None,
    ) -> None:
        self.split, self.rows = split, rows
        self._ratio, self._min_rows = min_success_ratio, min_rows
        screened = sum((screened_out or {}).values())
        asked = rows - screened
        # As the user wrote it: 0.7 of 30 rows are 21, in binary fractions a little more.
        self._most_unanswered = asked - math.ceil(Fraction(str(min_success_ratio)) * asked)
        self.kept = 0
        self.reasons: Counter[str] = Counter()
        self.unanswered = 0
        self.failed_calls = 0
        self.transient_failures = 0
        if asked < min_rows:
            raise self._too_few_to_begin_with(screened_out or {})

    @property
    def rejected(self) -> int:
        """Rows rejected so far."""
        return self.reasons.total()

    @property
    def done(self) -> int:
        """Rows kept or rejected so far."""
        return self.kept + self.rejected

    def reject(self, rejection: RowRejection) -> None:
        """Count a rejected row, and the failed call where that was why."""
        self.reasons[rejection.rejection.reason] += 1
        self.unanswered += rejection.unanswered
        if rejection.failure:
            self.failed_calls += 1
            self.transient_failures += rejection.failure.transient

    def check(self, teacher_answered: bool) -> None:
        """Raise where the split can no longer keep as many rows as it needs."""
        if self.unanswered > self._most_unanswered or self.rows - self.rejected < self._min_rows:
            raise self._too_few(teacher_answered)

    def _too_few(self, teacher_answered: bool) -> UserError | TryLater:
        if not teacher_answered and self.rejected and self.transient_failures == self.rejected:
            message = f"The teacher answered none of {self.rejected:,} rows ({self._shown_reasons}); is it up?"
            return TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
        failed = 2 * self.failed_calls > self.rejected
        return UserError(
            f"Too few {self.split} rows: {self._shortage}. rejected.jsonl has each row with its reason; replies"
            " that were paid for are not asked again.",
            reason=Reason.GENERATION_FAILED if failed else Reason.TOO_FEW_ROWS,
        )

    @property
    def _shortage(self) -> str:
        if self.unanswered > self._most_unanswered:
            return (
                f"{self.unanswered:,} of {self.rows:,} have no usable answer ({self._shown_reasons}), and"
                f" generation.minSuccessRatio {self._ratio:g} allows {self._most_unanswered:,}"
            )
        return (
            f"{self.rejected:,} of {self.rows:,} are rejected ({self._shown_reasons}), and at least"
            f" {self._min_rows:,} must be kept (generation.minRows)"
        )

    @property
    def _shown_reasons(self) -> str:
        return _listed(self.reasons)

    def _too_few_to_begin_with(self, screened_out: Mapping[str, int]) -> UserError:
        fewer = f", of which {_listed(Counter(screened_out))} are not asked" if screened_out else ""
        message = (
            f"Too few {self.split} rows: there are {self.rows:,}{fewer}, and at least {self._min_rows:,} must be kept."
            " Give more rows, or lower generation.minRows. Nothing was asked of the teacher."
        )
        return UserError(message, reason=Reason.TOO_FEW_ROWS)

    def counts(self) -> RowCounts:
        """The counts so far."""
        return RowCounts(
            read=self.done, kept=self.kept, rejected=self.rejected, rejected_by_reason=dict(self.reasons.most_common())
        )


def total(tallies: list[RowCounter]) -> RowCounts:
    """The counts of all splits together."""
    reasons = sum((tally.reasons for tally in tallies), Counter[str]())
    return RowCounts(
        read=sum(tally.done for tally in tallies),
        kept=sum(tally.kept for tally in tallies),
        rejected=reasons.total(),
        rejected_by_reason=dict(reasons.most_common()),
    )


def no_usable_answer(rejections: Sequence[RowRejection]) -> UserError | TryLater:
    """The error where the first rows that were asked all got no usable answer."""
    reasons = _listed(Counter(rejection.rejection.reason for rejection in rejections))
    last = rejections[-1].rejection.message
    if all(rejection.failure is not None and rejection.failure.transient for rejection in rejections):
        message = f"The teacher answered none of the first {len(rejections):,} rows ({reasons}); is it up? {last}"
        return TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
    message = (
        f"None of the first {len(rejections):,} rows got a usable answer ({reasons}), so the others are not asked."
        f" The last one: {last} Look at rejected.jsonl, and correct the prompts, the model or the sampling."
    )
    failed = 2 * sum(rejection.failure is not None for rejection in rejections) > len(rejections)
    return UserError(message, reason=Reason.GENERATION_FAILED if failed else Reason.TOO_FEW_ROWS)


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(_SHOWN_REASONS))
