"""What follows a call that failed: the same question again after a pause, a row without a reply, or the stage's end."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec.teacher import Server
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.remote_model import RemoteModel
from distillery_trainer.chat.reply import Failure
from distillery_trainer.chat.server_pool import LONG_PAUSE, PooledServer, ServerPool
from distillery_trainer.runtime.errors import TryLater, UserError

PATIENCE_SECONDS = 3600.0
"""How long a teacher that only asks to wait is waited for."""
FIRST_PAUSE = 0.5
"""Seconds before a call is repeated for the first time, at most."""
_LONGEST_PAUSE = 60.0


@dataclass(slots=True)
class Attempts:
    """How a question fared so far."""

    allowed: int
    used: int = 0
    """Without those that were only asked to wait."""
    calls: int = 0
    waits_since: float | None = None
    """When it was first asked to wait, on the loop's clock."""


def pause_before(attempt: int, retry_after: float | None, rng: random.Random, first: float = FIRST_PAUSE) -> float:
    """Seconds to wait before call number `attempt` (2 is the first repeat) of a reply.

    Doubles from `first` to a minute with half of it random, so that rows that failed together do not come back
    together; never shorter than the server asks, however long that is.
    """
    doubled: float = min(_LONGEST_PAUSE, first * 2.0 ** min(attempt - 2, 16))
    pause = doubled * rng.uniform(0.5, 1.0)
    return pause if retry_after is None else max(pause, retry_after + rng.uniform(0, min(1.0, 0.1 + retry_after / 10)))


class Retries:
    """One policy for all questions that are put to a model."""

    def __init__(
        self, asked: RemoteModel, servers: Mapping[PooledServer, Server], pool: ServerPool, patience: float
    ) -> None:
        self._asked, self._servers, self._pool = asked, servers, pool
        self._rng = random.Random()
        self.patience, self.first_pause = patience, FIRST_PAUSE
        self.last_reply = float("-inf")
        """When anybody last got a reply, on the loop's clock."""

    def after(self, error: CallError, tries: Attempts, lane: PooledServer, now: float) -> Failure | float:
        """The failure of a question that is not asked again, or the seconds to wait before it is.

        Raises UserError where no server takes questions any more, and TryLater where the server was never there.
        """
        tries.calls += 1
        if error.verdict is FailureScope.TEACHER:
            self._close_lane(lane, error)
            return self._pause(error, tries, lane)
        if error.verdict is FailureScope.ROW:
            return Failure(error.reason, error.message, error.request_id)
        if error.says_slow_down:
            return self._out_of_patience(error, tries, lane, now) or self._pause(error, tries, lane)
        tries.used += 1
        if tries.used >= tries.allowed:
            return self._failure(error, tries, lane)
        return self._pause(error, tries, lane)

    def _pause(self, error: CallError, tries: Attempts, lane: PooledServer) -> float:
        """Seconds until the question may be asked again; none where another server can be asked at once."""
        others = self._pool.others(lane)
        if others and not error.says_slow_down:
            return 0.0
        doublings = 2 if error.retry_after else tries.calls + 1
        pause = pause_before(doublings, error.retry_after, self._rng, self.first_pause)
        return min(pause, LONG_PAUSE) if others else pause  # the server itself is left alone for as long as it asks

    def _failure(self, error: CallError, tries: Attempts, lane: PooledServer) -> Failure:
        tried = f" ({tries.calls} tries)" if tries.calls > 1 else ""
        if not error.connected:
            message = f"{self._asked.at(self._servers[lane])} cannot be reached{tried}. {error.message}"
            raise TryLater(f"{message} Everything paid for is kept.", reason=Reason.TEACHER_UNREACHABLE) from error
        return Failure(error.reason, f"{error.message}{tried}", error.request_id, passing=True)

    def _out_of_patience(self, error: CallError, tries: Attempts, lane: PooledServer, now: float) -> Failure | None:
        """Waiting takes no try away, but it has an end: for the row, and for all where nobody was answered."""
        since = tries.waits_since = now if tries.waits_since is None else tries.waits_since
        if now + (error.retry_after or 0.0) - since <= self.patience or self._pool.others(lane):
            return None
        if self.last_reply >= since:
            return self._failure(error, tries, lane)
        asked = f" for {error.retry_after:,.0f} seconds" if error.retry_after else ""
        message = (
            f"{self._asked.at(self._servers[lane])} asks to be left alone{asked}, and has answered nothing for"
            f" {now - since:,.0f} seconds. It said: {error.message} Everything paid for is kept; run again later."
        )
        raise TryLater(message, reason=Reason.TEACHER_UNREACHABLE) from error

    def _close_lane(self, lane: PooledServer, error: CallError) -> None:
        """Go on without a server that turns everybody away. Raises UserError where it was the last one."""
        message = self._turned_away(self._servers[lane], error)
        if lane.is_open:
            lane.refusal = error
            if any(other.is_open for other in self._pool.lanes):
                sys.stderr.write(f"{message} The other servers go on.\n")
        if not any(other.is_open for other in self._pool.lanes):
            raise UserError(message, reason=Reason.TEACHER_REJECTED) from error

    def _turned_away(self, server: Server, error: CallError) -> str:
        field = self._asked.field
        by_status = {
            401: f"The key was refused. {self._asked.key_advice(server.api_key)}",
            403: f"The key does not allow this. {self._asked.key_advice(server.api_key)}",
            404: f'There is no model "{self._asked.model}", or no API at that address: check model and endpoint, which'
            f" ends in /v1 with most servers ({field}).",
            405: f"There is no chat API at that address: check endpoint ({field}).",
        }
        by_reason = {
            RejectionReason.BAD_URL: f"This is no address: check endpoint ({field}).",
            RejectionReason.OUTPUT_LIMIT: "It does not write replies of this length: lower"
            " generation.sampling.maxTokens.",
        }
        advice = (
            by_reason.get(error.reason)
            or by_status.get(error.reason.status or 0)
            or "The account's quota is used up: raise it there, then run again."
        )
        if 300 <= (error.reason.status or 0) < 400:
            advice = f"It has moved: give the address that it names, or the one behind it ({field})."
        return f"{self._asked.at(server)}: {advice} It said: {error.message}"
