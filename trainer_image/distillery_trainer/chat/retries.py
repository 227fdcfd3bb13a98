"""What follows a failed call: the same request again after a back-off, a row without a reply, or the end of the stage.

`rate_limits.py` has the pause of the whole server after HTTP 429.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec.teacher import Server
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.rate_limits import LONG_PAUSE
from distillery_trainer.chat.remote_model import RemoteModel
from distillery_trainer.chat.reply import Failure
from distillery_trainer.chat.server_pool import PooledServer, ServerPool
from distillery_trainer.runtime.errors import TryLater, UserError

FIRST_BACK_OFF = 0.5
"""Seconds before the first retry of a request, at most."""
_MAX_BACK_OFF = 60.0


@dataclass(slots=True)
class Attempts:
    """The attempts at one request so far."""

    allowed: int
    used: int = 0
    """Without those that were rate-limited."""
    calls: int = 0
    waiting_since: float | None = None
    """When it first failed, by the event loop's clock."""


def retry_delay(attempt: int, retry_after: float | None, rng: random.Random, first: float = FIRST_BACK_OFF) -> float:
    """Seconds to wait before attempt number `attempt` (2 is the first retry) at a request.

    Doubles from `first` to a minute, half of it random, so that requests that failed together are not retried
    together; never shorter than the server asks for, however long that is.
    """
    doubled: float = min(_MAX_BACK_OFF, first * 2.0 ** min(attempt - 2, 16))
    pause = doubled * rng.uniform(0.5, 1.0)
    return pause if retry_after is None else max(pause, retry_after + rng.uniform(0, min(1.0, 0.1 + retry_after / 10)))


class Retries:
    """The retry policy for all requests to a model."""

    def __init__(self, model: RemoteModel, pool: ServerPool, patience: float) -> None:
        self._model, self._pool = model, pool
        self._rng = random.Random()
        self.patience, self.first_back_off = patience, FIRST_BACK_OFF
        self.last_reply = float("-inf")
        """When any request last got a reply, by the event loop's clock."""

    def after(self, error: CallError, attempts: Attempts, server: PooledServer, now: float) -> Failure | float:
        """The final failure of a request, or the seconds to wait before its next attempt.

        Raises UserError where no server accepts requests any more, and TryLater where the server is unreachable.
        """
        attempts.calls += 1
        if error.scope is FailureScope.ROW:
            return Failure(error.reason, error.message, error.request_id)
        if error.scope is FailureScope.SERVER:
            self._close_server(server, error)
        elif not error.is_rate_limited:
            attempts.used += 1
            if attempts.used >= attempts.allowed:
                return self._failure(error, attempts, server)
        pause = self._pause(error, attempts, server)
        return self._out_of_patience(error, attempts, server, now, pause) or pause

    def _pause(self, error: CallError, attempts: Attempts, server: PooledServer) -> float:
        """Seconds until the request may be retried; none where another server can be asked at once."""
        has_alternative = self._pool.has_alternative(server)
        if has_alternative and not error.is_rate_limited:
            return 0.0
        attempt = 2 if error.retry_after else attempts.calls + 1
        pause = retry_delay(attempt, error.retry_after, self._rng, self.first_back_off)
        return min(pause, LONG_PAUSE) if has_alternative else pause  # a longer pause is the server's, not the request's

    def _failure(self, error: CallError, attempts: Attempts, server: PooledServer) -> Failure:
        tried = f" ({attempts.calls} attempts)" if attempts.calls > 1 else ""
        if not error.connected:
            message = f"{self._model.at(server.address)} cannot be reached{tried}. {error.message}"
            raise TryLater(f"{message} All paid replies are kept.", reason=Reason.TEACHER_UNREACHABLE) from error
        return Failure(error.reason, f"{error.message}{tried}", error.request_id, transient=True)

    def _out_of_patience(
        self, error: CallError, attempts: Attempts, server: PooledServer, now: float, pause: float
    ) -> Failure | None:
        """Waiting has a limit, whatever it is for: for the row, and for all rows where none got a reply."""
        since = attempts.waiting_since = now if attempts.waiting_since is None else attempts.waiting_since
        if now + pause - since <= self.patience:
            return None
        if self.last_reply >= since or self._is_about_a_row(error, server, now):
            return self._failure(error, attempts, server)
        waited = now - (since if self.last_reply == -math.inf else self.last_reply)
        raise TryLater(self._impatient_message(error, server, waited), reason=Reason.TEACHER_UNREACHABLE) from error

    def _is_about_a_row(self, error: CallError, server: PooledServer, now: float) -> bool:
        """Whether a wait beyond all patience is for this row alone, since the server answers others. A rate limit never
        is."""
        answers = self.last_reply >= now - self.patience and not server.fails_all_requests
        return answers and not error.is_rate_limited

    def _impatient_message(self, error: CallError, server: PooledServer, waited: float) -> str:
        does = "rate-limits all requests" if error.is_rate_limited else "fails all requests"
        seconds = error.retry_after
        wait = "" if seconds is None else f" and asks to wait {seconds:,.0f} seconds"
        if seconds == math.inf:
            wait = " and asks to wait without end"
        return (
            f"{self._model.at(server.address)} {does}{wait}; it has not replied for {waited:,.0f} seconds. It answered:"
            f" {error.message} All paid replies are kept; run again later."
        )

    def _close_server(self, server: PooledServer, error: CallError) -> None:
        """Continue without a server that rejects all requests. Raises UserError where it was the last one."""
        message = self._rejected_by(server.address, error)
        has_others = any(other.is_open for other in self._pool.servers if other is not server)
        if server.is_open:
            server.closed_by = error
            if has_others:
                sys.stderr.write(f"{message} Continuing with the other servers.\n")
        if not has_others:
            raise UserError(message, reason=Reason.TEACHER_REJECTED) from error

    def _rejected_by(self, address: Server, error: CallError) -> str:
        """The message about a server that rejects all requests: what to change, and the server's own words."""
        return f"{self._model.at(address)}: {self._advice(address, error)} It answered: {error.message}"

    def _advice(self, address: Server, error: CallError) -> str:
        field, status = self._model.field, error.reason.status or 0
        if error.advice:
            return f"{error.advice} ({field})"
        if 300 <= status < 400:
            target = _base_url(error.location) or "another address"
            return f"It redirects to {target}: use that as endpoint, or the server behind it ({field})."
        by_reason = {
            RejectionReason.BAD_URL: f"This is not a valid URL: check endpoint ({field}).",
            RejectionReason.OUTPUT_LIMIT: "It does not generate replies of this length: lower"
            " generation.sampling.maxTokens.",
        }
        by_status = {
            401: f"The API key was rejected. {self._model.key_advice(address.api_key)}",
            403: f"The API key does not permit this. {self._model.key_advice(address.api_key)}",
            404: f'There is no model "{self._model.model_id}", or no API at that address: check model and endpoint,'
            f" which ends in /v1 with most servers{_with_version(address.url)} ({field}).",
            405: f"There is no chat API at that address: check endpoint ({field}).",
        }
        quota = "The account's quota is exhausted: raise it with the provider, then run again."
        return by_reason.get(error.reason) or by_status.get(status) or quota


def _base_url(location: str | None) -> str | None:
    """The endpoint that a redirect leads to."""
    return location.removesuffix("/chat/completions") if location else None


def _with_version(url: str) -> str:
    """The endpoint to try where one has no path."""
    return "" if urlsplit(url).path.strip("/") else f", such as {url.rstrip('/')}/v1"
