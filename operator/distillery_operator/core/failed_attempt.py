"""What follows from a failed attempt: the next one, the same or with less in memory, or the end of trying."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import FAILURE_REASONS, ExitCode
from distillery_api.stage_result import Progress
from distillery_api.status import StageStatus
from distillery_operator.core.enlarged_volume import capacity
from distillery_operator.core.observation import ObservedJob
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT, Problem
from distillery_operator.core.retry_policy import lasting_since
from distillery_operator.core.situation import Situation
from distillery_operator.core.smaller_batches import (
    batch_rows,
    more_parts,
    ran_out_of_memory,
    smaller_batches_sentence,
)
from distillery_operator.planning.plan import PlannedStage

MAX_ATTEMPTS = 5
"""Failed attempts in a row after which a stage is stalled, unless the spec says otherwise."""

_NOT_ITS_FAULT = frozenset({Reason.POD_EVICTED, Reason.NODE_LOST, Reason.TERMINATED})
"""The stage was stopped: by a person, for its node, or for somebody of a higher priority."""


def after_failure(situation: Situation, planned: PlannedStage, record: StageStatus, job: ObservedJob) -> StageStatus:
    """The stage's record after a failed attempt: with the time of the next one, unless no retry can help."""
    # A node's clock may be fast.
    finished, retry = min(job.finished or situation.now, situation.now), situation.settings.retry
    job, failed = replace(job, finished=finished), _failed(record, job)
    if _is_not_its_fault(job):
        return _without_fault(failed, finished + retry.first_delay)
    if failed.reason == Reason.WORKSPACE_IN_USE:  # Another stage is at work in the folder: nothing has failed.
        return _without_fault(failed, finished + retry.delay(record.attempts))
    full = capacity(situation.observation.claim) if failed.reason == Reason.STORAGE_FULL else None
    failed = failed.model_copy(update={"retry_time": finished + retry.delay(record.attempts), "full_capacity": full})
    rows = batch_rows(situation.plan, planned.stage) if ran_out_of_memory(job) else None
    parts = more_parts(rows, record, job.result) if rows else None
    if rows and parts:
        return _with_smaller_batches(failed, rows, parts, finished)
    limit = situation.plan.options(planned.stage).max_attempts or MAX_ATTEMPTS
    # Even one row at a time is too much; but a neighbour may have filled the node.
    return _counted(failed, job, min(limit, 2) if rows else limit, retry.deadline)


def given_up(record: StageStatus, problem: Problem, now: datetime) -> StageStatus:
    """The record of an attempt that did not start and is not waited for any longer."""
    return record.model_copy(
        update={
            "reason": problem.reason or FAILURE_REASONS[record.name],
            "message": shortened(problem.message, STAGE_MESSAGE_LIMIT),
            "failing_since": now,
            "retry_time": None,
            "blocked_since": None,
            "unschedulable_since": None,
        }
    )


def _failed(record: StageStatus, job: ObservedJob) -> StageStatus:
    problem = job.problem or Problem(None, "no reason was reported")
    return record.model_copy(
        update={
            "reason": problem.reason or FAILURE_REASONS[record.name],
            "message": shortened(problem.message, STAGE_MESSAGE_LIMIT),
            "blocked_since": None,
            "unschedulable_since": None,
            "rows": (job.result and job.result.rows) or record.rows,
            "usage": (job.result and job.result.usage) or record.usage,
        }
    )


def _is_not_its_fault(job: ObservedJob) -> bool:
    stopped = job.problem is not None and job.problem.reason in _NOT_ITS_FAULT
    return stopped or job.exit_code == ExitCode.TERMINATED


def _without_fault(failed: StageStatus, retry_time: datetime) -> StageStatus:
    """The record after an attempt that has not failed, however long it ran or waited: that time is no part of the time
    in which attempts fail in a row. Their number stays."""
    return failed.model_copy(update={"retry_time": retry_time, "failing_since": None, "progress": None})


def _with_smaller_batches(failed: StageStatus, rows: int, parts: int, finished: datetime) -> StageStatus:
    return failed.model_copy(
        update={
            "micro_batches": parts,
            "message": _with_sentence(failed.message, smaller_batches_sentence(rows, parts)),
            "failing_since": finished,
            "failures": None,
            "progress": None,
        }
    )


def _counted(failed: StageStatus, job: ObservedJob, limit: int, deadline: timedelta) -> StageStatus:
    """A failure that repeats itself ends the trying: by number, or, where it found something unreachable, by time."""
    lasted = _lasted(failed, job, deadline)
    failing_since = _failing_since(failed, job, lasted)
    reached = (job.result and job.result.progress) or failed.progress
    failures = failed.failures if _may_pass(failed, job) and not lasted else _failures(failed, reached)
    # What was unreachable is no reason to stop after fewer attempts than by default.
    allowed = max(limit, MAX_ATTEMPTS) if _may_pass(failed, job) else limit
    too_many = failures is not None and failures >= allowed
    sentence = f"{failures} attempts in a row failed and got no further" if too_many and allowed > 1 else None
    final = too_many or _is_final(failed, job, failing_since, deadline)
    return failed.model_copy(
        update={
            "failing_since": failing_since,
            "failures": failures,
            "furthest": _further(failed.furthest, reached),
            "retry_time": None if final else failed.retry_time,
            "message": _with_sentence(failed.message, sentence),
            "progress": None,
        }
    )


def _may_pass(failed: StageStatus, job: ObservedJob) -> bool:
    """Whether something was unreachable. That ends by time, not by number: it may be reachable again at any moment."""
    return job.exit_code == ExitCode.TRY_LATER and failed.reason != Reason.NO_PROGRESS


def _is_final(failed: StageStatus, job: ObservedJob, failing_since: datetime | None, deadline: timedelta) -> bool:
    """Whether a person must change something, or time is up."""
    if job.exit_code == ExitCode.USER_ERROR or failed.reason == Reason.DEADLINE_EXCEEDED:
        return True
    return bool(failing_since and failed.retry_time and failed.retry_time > failing_since + deadline)


def _failures(failed: StageStatus, reached: Progress | None) -> int:
    """Failures in a row, of which none got further than those before."""
    got_further = failed.furthest is not None and _further(failed.furthest, reached) != failed.furthest
    return 1 if got_further else (failed.failures or 0) + 1


def _further(before: Progress | None, reached: Progress | None) -> Progress | None:
    """The further of two points; where they are counted in different units, the one that was known first."""
    if before is None or reached is None:
        return before or reached
    return reached if reached.unit == before.unit and reached.done > before.done else before


def _lasted(failed: StageStatus, job: ObservedJob, deadline: timedelta) -> bool:
    """Whether the attempt ran for longer than attempts may fail in a row."""
    began, ended = failed.last_attempt_time, job.finished
    return began is not None and ended is not None and ended - began > deadline


def _failing_since(failed: StageStatus, job: ObservedJob, lasted: bool) -> datetime | None:
    """When the failures in a row began. A long attempt got past what failed those before it, so it starts a new row.
    Not so if it ran out of memory: that can happen late, and again and again."""
    starts_anew = lasted and not ran_out_of_memory(job)
    return job.finished if job.finished is None or starts_anew else lasting_since(failed.failing_since, job.finished)


def _with_sentence(message: str | None, sentence: str | None) -> str | None:
    if sentence is None:
        return message
    return f"{shortened(message or '', STAGE_MESSAGE_LIMIT - len(sentence) - 2)}; {sentence}"
