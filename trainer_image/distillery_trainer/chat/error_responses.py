"""What OpenAI-compatible servers answer instead of a completion: what an error means, and when to retry. No network
here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import orjson

from distillery_api.formatting import shortened
from distillery_api.rejection_reasons import RejectionReason

_CONTENT_FILTER = re.compile(r"content[\s_-]*(?:filter|management|policy)|responsible\s*ai|moderation", re.IGNORECASE)
_CONTEXT_TOO_LONG = re.compile(
    r"context[\s_-]*(?:length|window|size)|prompt is too long|input is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MESSAGE_LIMIT = 300


class FailureScope(Enum):
    """What a failed call affects."""

    TRANSIENT = "the call: the same one may succeed in a moment"
    ROW = "the row: it will not get a reply"
    SERVER = "the server: it will answer no row until the user changes something"


class CallError(Exception):
    """A call without a reply. The message is a sentence for people, without the API key."""

    def __init__(
        self,
        reason: RejectionReason,
        message: str,
        scope: FailureScope,
        *,
        answered: bool = True,
        costs_nothing: bool = True,
        connected: bool = True,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.scope = reason, message, scope
        self.answered, self.costs_nothing, self.connected = answered, costs_nothing, connected
        self.retry_after, self.request_id = retry_after, request_id

    @property
    def is_rate_limited(self) -> bool:
        """Whether the server only asks to slow down (HTTP 429): waiting helps, and no attempt of the row is used up."""
        return self.reason.status == 429 and self.scope is FailureScope.TRANSIENT and self.retry_after != 0


@dataclass(frozen=True)
class ErrorResponse:
    """An HTTP response that is not a completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """The protocol's error object, or the closest to it; {} for a web page."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        error = body.get("error", body) if isinstance(body, dict) else body
        return error if isinstance(error, dict) else {"message": str(error)}

    @property
    def code(self) -> str:
        """The error's code and type, for comparison."""
        return f"{self.error.get('code')} {self.error.get('type')}"

    @property
    def text(self) -> str:
        """The server's message, shortened to a readable length."""
        error = self.error
        message = error.get("message") or error.get("detail") or ("" if error else "a page instead of JSON")
        return shortened(" ".join(str(message).split()), _MESSAGE_LIMIT)


# --- what an error response means


def call_error(response: ErrorResponse, now: datetime) -> CallError:
    """The error that an HTTP response stands for."""
    reason, scope = _reason_and_scope(response)
    message = f"HTTP {response.status}" + (f": {response.text}" if response.text else "")
    return CallError(
        reason,
        message,
        scope,
        retry_after=retry_after(response.headers, now),
        request_id=response.headers.get("x-request-id"),
    )


def _reason_and_scope(response: ErrorResponse) -> tuple[RejectionReason, FailureScope]:
    status, description = response.status, f"{response.code} {response.text}"
    if status in (400, 403, 422) and _CONTENT_FILTER.search(description):
        return RejectionReason.CONTENT_FILTER, FailureScope.ROW
    if status in (400, 413, 422) and _CONTEXT_TOO_LONG.search(description):
        return RejectionReason.CONTEXT_TOO_LONG, FailureScope.ROW
    if "insufficient_quota" in description or status in (401, 402, 403, 404, 405) or 300 <= status < 400:
        return RejectionReason.of_status(status), FailureScope.SERVER
    if status in (408, 409, 425, 429) or status >= 500:
        return RejectionReason.of_status(status), FailureScope.TRANSIENT
    return RejectionReason.of_status(status), FailureScope.ROW


# --- when to retry


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait, given as seconds or as an HTTP date; None where it does not ask.

    A date is compared with the server's clock where the response has its time, since the local clock may be wrong.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    date = _http_date(value)
    if date is None:
        return None
    return max(0.0, (date - (_http_date(headers.get("date", "")) or now)).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a server still allows the API key: `x-ratelimit-remaining-requests` and similar headers."""

    remaining: int
    reset_seconds: float
    """Seconds until it is renewed."""


def allowances(headers: Mapping[str, str], now: datetime) -> dict[str, Allowance]:
    """The allowances for "requests" and "tokens" in a response's headers, under OpenAI's or Anthropic's names."""
    allowed = {}
    for unit in ("requests", "tokens"):
        names = f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"
        if names[0] not in headers:
            names = f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset"
        remaining, reset = headers.get(names[0], ""), seconds_until(headers.get(names[1], ""), now)
        if remaining.isdecimal() and reset is not None:
            allowed[unit] = Allowance(int(remaining), reset)
    return allowed


def seconds_until(value: str, now: datetime) -> float | None:
    """Seconds of a duration such as 6m0s, 20ms or 1.5, or until an ISO time; None for anything else."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    parts = _DURATION.findall(value)
    if parts and "".join(number + unit for number, unit in parts) == value:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
