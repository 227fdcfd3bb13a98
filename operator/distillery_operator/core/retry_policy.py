"""When a failed stage is tried again, and when only a person can help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_api.status import StageStatus

BLOCKING_REASONS = frozenset(
    {
        Reason.IMAGE_PULL_ERROR,
        Reason.CONFIGURATION_MISSING,
        Reason.VOLUME_UNAVAILABLE,
        Reason.NODE_LOST,
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
    unschedulable_deadline: timedelta = timedelta(hours=1)
    """How long a stage's Pod may find no room beside the served student before the stage is stalled."""

    def delay(self, attempts: int) -> timedelta:
        """The pause after that many attempts; it doubles from attempt to attempt."""
        doublings = min(attempts - 1, 20)
        return min(self.first_delay * float(2**doublings), self.longest_delay)

    def due(self, retry_time: datetime, now: datetime) -> datetime:
        """When the next attempt is due. What is further away than any delay was written before the clock was set
        back."""
        return min(retry_time, now + self.longest_delay)

    def blocked_too_long(self, blocked_since: datetime | None, now: datetime) -> bool:
        """Whether a Pod has been kept from starting for longer than the deadline."""
        return blocked_since is not None and now - blocked_since >= self.blocked_deadline

    def waited_too_long(self, record: StageStatus, now: datetime) -> bool:
        """Whether an attempt's Pod has not started for longer than the deadline of what keeps it."""
        return any(now >= deadline for deadline in self.waiting_deadlines(record))

    def waiting_deadlines(self, record: StageStatus) -> tuple[datetime, ...]:
        """When an attempt whose Pod does not start will have waited too long."""
        waits = (
            (record.blocked_since, self.blocked_deadline),
            (record.unschedulable_since, self.unschedulable_deadline),
        )
        return tuple(since + deadline for since, deadline in waits if since)


def lasting_since(since: datetime | None, now: datetime) -> datetime:
    """When something began that lasts until now; a time to come was written before the clock was set back."""
    return min(since or now, now)


def failed_after_request(
    record: StageStatus, *, configuration: str, spec_changed: bool, retry_requested: bool, now: datetime
) -> StageStatus:
    """The record of a failed stage. The retry annotation, or a change of the spec that gives it another configuration,
    makes it due at once. Where another release of this software calculates another one, nobody has changed anything."""
    reconfigured = spec_changed and record.configuration != configuration
    if not retry_requested and not reconfigured:
        is_due = record.retry_time is not None and record.retry_time <= now
        return record if is_due else record.model_copy(update={"configuration": configuration})
    return due_now(record, now, micro_batches=None if reconfigured else record.micro_batches)


def due_now(record: StageStatus, now: datetime, **fields: object) -> StageStatus:
    """The record of a failed stage whose next attempt is due, as if none had failed before it."""
    was_due = record.retry_time is not None and record.retry_time <= now
    anew = {"failing_since": None, "failures": None, "furthest": None, "full_capacity": None}
    return record.model_copy(update={"retry_time": record.retry_time if was_due else now, **anew, **fields})


def blocked_after_request(record: StageStatus, *, retry_requested: bool) -> StageStatus:
    """The record of an attempt that has not failed. The retry annotation lets one be replaced that does not start."""
    if not retry_requested or (record.blocked_since is None and record.unschedulable_since is None):
        return record
    # An unknown configuration never fits, so the Job is replaced even if the operator dies before it does that.
    return record.model_copy(update={"configuration": None})
