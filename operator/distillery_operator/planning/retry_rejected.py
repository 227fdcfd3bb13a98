"""Requests to ask rejected rows again, as they are written: on the command line and in the annotation."""

from __future__ import annotations

import re
from collections.abc import Iterable

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RetryRejected
from distillery_api.stage_result import RowCounts

_LIKE_A_REASON = re.compile(r"[a-z]+(_[a-z]+)*")
_NO_REASONS = frozenset({"all", "now"})


class ReasonError(Exception):
    """A word is no rejection reason, or one that cannot pass. The message says which, and what to write instead."""


def retry_reasons(words: Iterable[str]) -> tuple[RejectionReason, ...]:
    """The rejection reasons by their names. Raises ReasonError."""
    return tuple(_reason(word) for word in words)


def annotated_retry(value: str | None) -> RetryRejected | None:
    """The request in an annotation: rejection reasons, and anything else that makes it a new one, such as a time; None
    without an annotation, and where a word may be a misspelt reason."""
    if not value or not value.strip():
        return None
    words = [word for word in re.split(r"[,\s]+", value) if word and word not in _NO_REASONS]
    try:
        reasons = retry_reasons(word for word in words if _LIKE_A_REASON.fullmatch(word) or _is_reason(word))
    except ReasonError:
        return None
    return RetryRejected(request=value[:1024], reasons=reasons)


def concerned_rows(retry: RetryRejected | None, rows: RowCounts | None) -> dict[str, int]:
    """How many rejected rows a request concerns, by reason."""
    if retry is None or rows is None:
        return {}
    counts = rows.rejected_by_reason.items()
    return {reason: count for reason, count in counts if _is_reason(reason) and retry.concerns(RejectionReason(reason))}


def _reason(word: str) -> RejectionReason:
    known = [reason for reason in RejectionReason if reason.may_pass and reason.status is None]
    if not _is_reason(word):
        raise ReasonError(f"{word} is no rejection reason; write some of {', '.join(known)}")
    reason = RejectionReason(word)
    if not reason.may_pass:
        raise ReasonError(f"{word} does not pass by asking again; reasons that may pass are {', '.join(known)}")
    return reason


def _is_reason(word: str) -> bool:
    try:
        RejectionReason(word)
    except ValueError:
        return False
    return True
