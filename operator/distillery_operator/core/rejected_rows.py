"""Whether rejected rows of a finished generate stage are asked again, as the annotation distillery.dev/retry-rejected
asks for."""

from __future__ import annotations

from distillery_api.stage import Stage
from distillery_api.status import StageStatus
from distillery_operator.core.situation import Situation
from distillery_operator.planning.retry_rejected import annotated_retry, annotation_problem, concerned_rows


def unhandled_retry(situation: Situation) -> str | None:
    """The value of the annotation, where it is a request that no attempt has been given yet."""
    value = situation.plan.retry_rejected
    if value is None or value == situation.previous.last_handled_retry_rejected or annotated_retry(value) is None:
        return None
    return value


def concerns(situation: Situation, record: StageStatus) -> bool:
    """Whether the annotation is about rows of a finished generate stage."""
    value = unhandled_retry(situation)
    done = record.name is Stage.GENERATE and record.completion_time is not None
    return value is not None and done and bool(concerned_rows(annotated_retry(value), record.rows))


def frees_failed(situation: Situation, record: StageStatus) -> bool:
    """Whether the annotation lets a generate stage that has failed start again, with rows that it rejected."""
    return record.name is Stage.GENERATE and record.reason is not None and unhandled_retry(situation) is not None


def last_handled(situation: Situation, record: StageStatus | None) -> str | None:
    """The last handled value of the annotation, for the status. `record` is that of generate in the new status.

    A value is handled by the attempt that it starts, or where no row is to be asked again; it waits for an attempt that
    runs, and for later stages.
    """
    value, before = unhandled_retry(situation), situation.previous.last_handled_retry_rejected
    if annotation_problem(situation.plan.retry_rejected):
        return situation.plan.retry_rejected  # which has been said now
    if value is None:
        return before
    given = record is not None and record.retry_rejected == value
    nothing_rejected = record is None or (record.completion_time is not None and not concerns(situation, record))
    return value if given or nothing_rejected else before
