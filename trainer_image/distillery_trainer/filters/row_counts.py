"""Row counters, and whether a split can still keep enough of its rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.stage_result import RowCounts
from distillery_trainer.data.rows import Rejection
from distillery_trainer.filters.few_rows import FEWEST_ROWS
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.runtime.errors import TryLater, UserError

_SHOWN_REASONS = 3


@dataclass(frozen=True)
class RequiredRows:
    """How many rows a split must keep, and what there is to say where it cannot."""

    rows: int
    because: str = " (generation.minRows)"
    """Follows the number."""
    remedy: str = "Provide more rows, or lower generation.minRows."
    origin: str = ""
    """Where the rows went."""


def required_rows(config: RunConfig, split: str, origin: str) -> RequiredRows:
    """What the train or the validation split must keep: what the manifest says, else what a training needs at all."""
    if config.generation.min_rows is not None:
        return RequiredRows(config.generation.min_rows, origin=origin)
    if split == "train":
        return RequiredRows(FEWEST_ROWS[split], " to train on", "Provide more rows.", origin)
    remedy = "Provide more validation rows." if config.data.validation else "Increase data.validationFraction."
    return RequiredRows(FEWEST_ROWS[split], " to choose a checkpoint by", remedy, origin)


class RowCounter:
    """Rows of a split: how many there are, how many are kept, and why the others are rejected.

    `min_success_ratio` is the share of the rows sent to the teacher that need an answer, from 0 to 1; `required` is how
    many rows must be kept. `rejected_before` are the rows that are rejected without a request, by reason; they count
    for `required` only.
    """

    def __init__(
        self,
        split: str,
        rows: int,
        min_success_ratio: float,
        required: RequiredRows,
        rejected_before: Mapping[str, int] | None = None,
    ) -> None:
        self.split, self.rows = split, rows
        self._ratio, self._required = min_success_ratio, required
        to_ask = rows - sum((rejected_before or {}).values())
        # Exactly as written by the user: 0.7 of 30 rows are 21; in binary fractions it would be slightly more.
        self._max_unanswered = to_ask - math.ceil(Fraction(str(min_success_ratio)) * to_ask)
        self.kept = 0
        self.reasons: Counter[str] = Counter()
        self.unanswered = 0
        self.failed_requests = 0
        self.transient_failures = 0
        if to_ask < required.rows:
            raise self._too_few_to_begin_with(rejected_before or {})

    @property
    def rejected(self) -> int:
        """Rows rejected so far."""
        return self.reasons.total()

    @property
    def done(self) -> int:
        """Rows kept or rejected so far."""
        return self.kept + self.rejected

    def reject(self, rejection: RowRejection) -> None:
        """Count a rejected row, and the failed request if that was the reason."""
        self.reasons[rejection.rejection.reason] += 1
        self.unanswered += rejection.unanswered
        if rejection.failure:
            self.failed_requests += 1
        self.transient_failures += rejection.transient

    def hold_out(self, rejection: Rejection | None) -> None:
        """Count a held-out row, and why it has no answer."""
        self.kept += 1
        self.transient_failures += rejection is not None and rejection.transient

    def check(self, teacher_answered: bool) -> None:
        """Raise if the split can no longer keep as many rows as it needs."""
        if self.unanswered > self._max_unanswered or self.rows - self.rejected < self._required.rows:
            raise self._too_few(teacher_answered)

    def _too_few(self, teacher_answered: bool) -> UserError | TryLater:
        if not teacher_answered and self.rejected and self.transient_failures == self.rejected:
            message = (
                f"The teacher answered none of {self.rejected:,} rows ({self._top_reasons}). Check that it is running."
            )
            return TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
        mostly_failed = 2 * self.failed_requests > self.rejected
        return UserError(
            f"Too few {self.split} rows: {self._shortage}. rejected.jsonl lists each rejected row with its reason;"
            " replies that are already paid for are reused.",
            reason=Reason.GENERATION_FAILED if mostly_failed else Reason.TOO_FEW_ROWS,
        )

    @property
    def _shortage(self) -> str:
        if self.unanswered > self._max_unanswered:
            return (
                f"{self.unanswered:,} of {self.rows:,} have no usable answer ({self._top_reasons}), but"
                f" generation.minSuccessRatio {self._ratio:g} allows at most {self._max_unanswered:,}"
            )
        return (
            f"{self.rejected:,} of {self.rows:,} are rejected ({self._top_reasons}), but at least"
            f" {self._required.rows:,} must be kept{self._required.because}"
        )

    @property
    def _top_reasons(self) -> str:
        return _listed(self.reasons)

    def _too_few_to_begin_with(self, rejected_before: Mapping[str, int]) -> UserError:
        less = f", of which some are rejected ({_listed(Counter(rejected_before))})" if rejected_before else ""
        needed, origin = self._required, f" {self._required.origin}" if self._required.origin else ""
        message = (
            f"Too few {self.split} rows: there are {self.rows:,}{less}, but at least {needed.rows:,} must be"
            f" kept{needed.because}.{origin} {needed.remedy} No request was sent to the teacher."
        )
        return UserError(message, reason=Reason.TOO_FEW_ROWS)

    def counts(self) -> RowCounts:
        """The counts so far."""
        return RowCounts(
            read=self.done,
            kept=self.kept,
            rejected=self.rejected,
            rejected_by_reason=dict(self.reasons.most_common()),
            transient_failures=self.transient_failures,
        )


def total(counters: Iterable[RowCounter]) -> RowCounts:
    """The counts of all splits together."""
    counts = [counter.counts() for counter in counters]
    reasons = sum((Counter(count.rejected_by_reason) for count in counts), Counter[str]())
    return RowCounts(
        read=sum(count.read for count in counts),
        kept=sum(count.kept for count in counts),
        rejected=reasons.total(),
        rejected_by_reason=dict(reasons.most_common()),
        transient_failures=sum(count.transient_failures for count in counts),
    )


def by_split(counters: Mapping[str, RowCounter]) -> dict[str, RowCounts]:
    """The counts of each split."""
    return {split: counter.counts() for split, counter in counters.items()}


def no_usable_answer(rejections: Sequence[RowRejection]) -> UserError | TryLater:
    """The error if none of the first rows got a usable answer."""
    reasons = _listed(Counter(rejection.rejection.reason for rejection in rejections))
    last = rejections[-1].rejection.message
    if all(rejection.failure is not None and rejection.failure.transient for rejection in rejections):
        message = (
            f"The teacher answered none of the first {len(rejections):,} rows ({reasons}). Check that it is running."
            f" Last error: {last}"
        )
        return TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
    message = (
        f"None of the first {len(rejections):,} rows got a usable answer ({reasons}), so the other rows are not sent."
        f" Last error: {last} See rejected.jsonl, and correct the prompts, the model or the sampling parameters."
    )
    if all(rejection.rejection.reason is RejectionReason.INTERNAL_ERROR for rejection in rejections):
        message = f"None of the first {len(rejections):,} rows could be handled, so the others are not sent. {last}"
        return UserError(message, reason=Reason.GENERATION_FAILED)
    mostly_failed = 2 * sum(rejection.failure is not None for rejection in rejections) > len(rejections)
    return UserError(message, reason=Reason.GENERATION_FAILED if mostly_failed else Reason.TOO_FEW_ROWS)


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(_SHOWN_REASONS))
