"""Requests to ask rejected rows again, as they are written: on the command line and in the annotation."""

from __future__ import annotations

import re
from collections.abc import Iterable

from distillery_api.formatting import shortened
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.resource import RETRY_REJECTED_ANNOTATION
from distillery_api.run_config import RetryRejected
from distillery_api.stage_result import RowCounts

_WORD_LIMIT = 60
"""Bytes of a word that a message quotes."""
_NO_REASONS = frozenset({"all", "now"})


class ReasonError(Exception):
    """A word is no rejection reason, or one that cannot pass. The message says which, and what to write instead."""


def retry_reasons(words: Iterable[str]) -> tuple[RejectionReason, ...]:
    """The rejection reasons by their names. Raises ReasonError."""
    return tuple(_reason(word) for word in words)


def annotated_retry(value: str | None) -> RetryRejected | None:
    """The request in an annotation: rejection reasons, and anything with a digit that makes it a new one, such as a
    time; None without an annotation, and where a word may be a misspelt reason."""
    if not value or not value.strip():
        return None
    try:
        return RetryRejected(request=value[:1024], reasons=retry_reasons(_reasons_in(value)))
    except ReasonError:
        return None


def annotation_problem(value: str | None) -> str | None:
    """Why an annotation asks for nothing, in a sentence; None where it does, and without one."""
    try:
        retry_reasons(_reasons_in(value or ""))
    except ReasonError as error:
        return f"the annotation {RETRY_REJECTED_ANNOTATION} asks for nothing: {error}"
    return None


def _reasons_in(value: str) -> list[str]:
    """The words that are rejection reasons, or misspelt ones."""
    words = [word for word in re.split(r"[,\s]+", value) if word and word not in _NO_REASONS]
    return [word for word in words if _is_reason(word) or not any(map(str.isdigit, word))]


def concerned_rows(retry: RetryRejected | None, rows: RowCounts | None) -> dict[str, int]:
    """How many rejected rows a request concerns, by reason."""
    if retry is None or rows is None:
        return {}
    counts = rows.rejected_by_reason.items()
    return {reason: count for reason, count in counts if _is_reason(reason) and retry.concerns(RejectionReason(reason))}


def _reason(word: str) -> RejectionReason:
    known = [reason for reason in RejectionReason if reason.may_pass and reason.status is None]
    if not _is_reason(word):
        raise ReasonError(f"{shortened(word, _WORD_LIMIT)} is no rejection reason; write some of {', '.join(known)}")
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
