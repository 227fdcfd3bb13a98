"""When a failed stage is tried again, and when only a person can help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import FAILURE_REASONS, ExitCode
from distillery_api.status import StageStatus
from distillery_operator.core.observation import ObservedJob
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT, Problem

BLOCKING_REASONS = frozenset(
    {
        Reason.IMAGE_PULL_ERROR,
        Reason.CONFIGURATION_MISSING,
        Reason.VOLUME_UNAVAILABLE,
        Reason.INVALID_SPEC,
        Reason.POD_REFUSED,
    }
)
"""Reasons that never fail a Job and rarely go away without a person. A full cluster is not among them: a node may
become free at any time."""


@dataclass(frozen=True)
class RetrySettings:
    """Delays between attempts, and deadlines after which a stage is stalled."""

    first_delay: timedelta = timedelta(seconds=10)
    longest_delay: timedelta = timedelta(minutes=5)
    deadline: timedelta = timedelta(hours=1)
    """How long attempts may fail in a row before the stage is stalled."""
    blocked_deadline: timedelta = timedelta(minutes=10)
    """How long something may keep a Pod from starting before its stage or server is stalled."""

    def delay(self, attempts: int) -> timedelta:
        """The pause after that many attempts; it doubles from attempt to attempt."""
        doublings = min(attempts - 1, 20)
        return min(self.first_delay * float(2**doublings), self.longest_delay)

    def blocked_too_long(self, blocked_since: datetime | None, now: datetime) -> bool:
        """Whether a Pod has been kept from starting for longer than the deadline."""
        return blocked_since is not None and now - blocked_since >= self.blocked_deadline


def after_failure(record: StageStatus, job: ObservedJob, now: datetime, retry: RetrySettings) -> StageStatus:
    """The stage's record after a failed attempt: with the time of the next one, unless no retry can help or attempts
    have failed for too long."""
    finished = job.finished or now
    failing_since = _failing_since(record, job, finished, retry)
    due = finished + retry.delay(record.attempts)
    final = job.exit_code == ExitCode.USER_ERROR or due > failing_since + retry.deadline
    problem = job.problem or Problem(None, "no reason was reported")
    return record.model_copy(
        update={
            "reason": problem.reason or FAILURE_REASONS[record.name],
            "message": shortened(problem.message, STAGE_MESSAGE_LIMIT),
            "failing_since": failing_since,
            "retry_time": None if final else due,
            "blocked_since": None,
            "progress": None,
            "rows": (job.result and job.result.rows) or record.rows,
            "usage": (job.result and job.result.usage) or record.usage,
        }
    )


def failed_after_request(
    record: StageStatus, *, configuration: str, retry_requested: bool, now: datetime
) -> StageStatus:
    """The record of a failed stage. The retry annotation, or a configuration that differs from the last attempt's,
    makes it due at once."""
    due = record.failing_since is None
    if due or (not retry_requested and record.configuration == configuration):
        return record
    return record.model_copy(update={"retry_time": now, "failing_since": None})


def blocked_after_request(record: StageStatus, *, retry_requested: bool) -> StageStatus:
    """The record of an attempt that has not failed. The retry annotation lets a blocked one be replaced."""
    if not retry_requested or record.blocked_since is None:
        return record
    # An unknown configuration never fits, so the Job is replaced even if the operator dies before it does that.
    return record.model_copy(update={"configuration": None})


def _failing_since(record: StageStatus, job: ObservedJob, finished: datetime, retry: RetrySettings) -> datetime:
    """When the failures in a row began. An attempt that ran for longer than the deadline got past what failed those
    before it, so it starts a new row. Not so if it ran out of memory: that can happen late, and again and again."""
    out_of_memory = job.problem is not None and job.problem.reason is Reason.CONTAINER_OOM_KILLED
    lasted = record.last_attempt_time is not None and finished - record.last_attempt_time > retry.deadline
    return finished if record.failing_since is None or (lasted and not out_of_memory) else record.failing_since
