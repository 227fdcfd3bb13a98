"""What OpenAI-compatible servers answer instead of a completion: what an error means, and when to retry. No network
here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

import orjson

from distillery_api.formatting import cleaned, shortened
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.json_bodies import read_json
from distillery_trainer.chat.response_headers import NAME_LIMIT, NO_HEADERS, ResponseHeaders

_CONTENT_FILTER = re.compile(r"content[\s_-]*(?:filter|management|policy)|responsible\s*ai|moderation", re.IGNORECASE)
_CONTEXT_TOO_LONG = re.compile(
    r"context[\s_-]*(?:length|window|size)|prompt is too long|input is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_STRING_MESSAGE = re.compile(rb'"(?:message|detail|error)"\s*:\s*"((?:[^"\\]|\\.){1,4000})', re.DOTALL)
"""A message in JSON that is broken, or was cut off because it is too long."""
_PAGE = "a page instead of JSON"
_MESSAGE_LIMIT = 300
"""Bytes of a server's message that people are shown."""
_READ_LIMIT = 4_000
"""Bytes of a server's message in which its meaning is looked for."""


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
        location: str | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.scope = reason, message, scope
        self.answered, self.costs_nothing, self.connected = answered, costs_nothing, connected
        self.retry_after, self.request_id, self.location = retry_after, request_id, location
        self.advice = advice
        """What to change, as a sentence; None where it follows from the reason."""

    @property
    def is_rate_limited(self) -> bool:
        """Whether the server only asks to slow down (HTTP 429): waiting helps, and no attempt of the row is used up."""
        return self.reason.status == 429 and self.scope is FailureScope.TRANSIENT and self.retry_after != 0


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An HTTP response that is not a completion: texts of one line and bounded length, without the API key."""

    status: int
    message: str
    """The server's message; "" where it sent none."""
    code: str = ""
    """The error's code and type, for comparison."""
    parameter: str | None = None
    """The parameter that the error names."""
    headers: ResponseHeaders = NO_HEADERS

    @classmethod
    def read(
        cls,
        status: int,
        body: bytes,
        headers: ResponseHeaders = NO_HEADERS,
        without_key: Callable[[str], str] = str,
    ) -> Self:
        """The error in a body, which may be anything."""
        try:
            error = read_json(body)
        except ValueError:
            error = _text_of_page(body)
        if isinstance(error, dict):
            error = error.get("error") or error
        return cls.of_error(status, error, headers, without_key)

    @classmethod
    def of_error(
        cls,
        status: int,
        error: Any,
        headers: ResponseHeaders = NO_HEADERS,
        without_key: Callable[[str], str] = str,
    ) -> Self:
        """The protocol's error object, or the closest to it."""
        fields = error if isinstance(error, dict) else {"message": error}
        message = fields.get("message") or fields.get("detail") or ""
        code = f"{_name(fields.get('code'))} {_name(fields.get('type'))}"
        return cls(
            status=status,
            message=cleaned(without_key(message if isinstance(message, str) else _as_json(message)), _READ_LIMIT),
            code=cleaned(without_key(code), NAME_LIMIT),
            parameter=_name(fields.get("param")) or None,
            headers=headers,
        )

    @property
    def is_page(self) -> bool:
        """Whether it is a web page, which often comes from something in front of the server."""
        return self.message == _PAGE

    @property
    def text(self) -> str:
        """The server's message, shortened to a readable length."""
        return shortened(self.message, _MESSAGE_LIMIT)

    @property
    def description(self) -> str:
        """All that says what the error is about, for comparison."""
        return f"{self.code} {self.message}"


def _text_of_page(body: bytes) -> str:
    """The text of a body that is not JSON: plain text, or the message in JSON that was cut off."""
    if match := _STRING_MESSAGE.search(body):
        return match[1].decode(errors="replace").replace("\\n", " ").replace("\\", "")
    try:
        text = body[:_READ_LIMIT].decode()
    except UnicodeDecodeError:
        text = ""
    return _PAGE if not text.strip() or "<" in text else text


def _name(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _as_json(value: Any) -> str:
    """A message that is no text, as JSON; "…" where it is nested too deeply for that."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return "…"


# --- what an error response means


def call_error(response: ErrorResponse, *, costs_nothing: bool = True) -> CallError:
    """The error that an HTTP response stands for."""
    reason, scope = _reason_and_scope(response)
    message = f"HTTP {response.status}" + (f": {response.text}" if response.text else "")
    return CallError(
        reason,
        message,
        scope,
        costs_nothing=costs_nothing,
        retry_after=response.headers.retry_after,
        request_id=response.headers.request_id,
        location=response.headers.location,
    )


def bad_response(problem: str, request_id: str | None = None) -> CallError:
    """The error of a response that is no error, but nothing else that can be read either."""
    return CallError(
        RejectionReason.BAD_RESPONSE,
        f"The server answered, but {problem}.",
        FailureScope.TRANSIENT,
        costs_nothing=False,
        request_id=request_id,
    )


def _reason_and_scope(response: ErrorResponse) -> tuple[RejectionReason, FailureScope]:
    status, description = response.status, response.description
    if status in (400, 403, 422) and _CONTENT_FILTER.search(description):
        return RejectionReason.CONTENT_FILTER, FailureScope.ROW
    if status in (400, 413, 422) and _CONTEXT_TOO_LONG.search(description):
        return RejectionReason.CONTEXT_TOO_LONG, FailureScope.ROW
    if "insufficient_quota" in description or status in (401, 402, 403, 404, 405) or 300 <= status < 400:
        return RejectionReason.of_status(status), FailureScope.SERVER
    if status in (408, 409, 425, 429) or status >= 500:
        return RejectionReason.of_status(status), FailureScope.TRANSIENT
    return RejectionReason.of_status(status), FailureScope.ROW
