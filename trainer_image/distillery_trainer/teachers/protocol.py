"""What OpenAI-compatible servers say: completions, refusals, and streams that nobody asked for. No network here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

import orjson

from distillery_api.result import shortened
from distillery_trainer.teachers.journal import Reply
from distillery_trainer.thoughts import split_thought

_CONTENT_FILTER = re.compile(r"content[\s_-]*(?:filter|management|policy)|responsible\s*ai|moderation", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[\s_-]*(?:length|window|size)|prompt is too long|input is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MESSAGE_LIMIT = 300
_BROKEN_OFF = ("error", "abort", "aborted", "cancelled")
"""Ends of a reply that are no end of the model's own."""
_STATUS_OF = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
}
"""Statuses that the names of errors stand for, OpenAI's and Anthropic's."""


class Verdict(Enum):
    """What a failed call means."""

    AGAIN = "the same call may succeed in a moment"
    ROW = "this row will not get a reply"
    TEACHER = "no row will get a reply from this server until the user changes something"


class CallError(Exception):
    """A call without a reply. The message is a sentence for people, without the key."""

    def __init__(
        self,
        reason: str,
        message: str,
        verdict: Verdict,
        *,
        answered: bool = True,
        costs_nothing: bool = True,
        connected: bool = True,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.verdict = reason, message, verdict
        self.answered, self.costs_nothing, self.connected = answered, costs_nothing, connected
        self.retry_after, self.request_id = retry_after, request_id

    @property
    def says_slow_down(self) -> bool:
        """Whether the server is only asked too much: waiting helps, and is no failure of the row."""
        return self.reason == "http_429" and self.verdict is Verdict.AGAIN and self.retry_after != 0


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer that is no completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """The protocol's error object, or what comes nearest; {} for a page."""
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
        """The server's own words, cut to a readable length."""
        error = self.error
        words = error.get("message") or error.get("detail") or ("" if error else "a page in place of JSON")
        return shortened(" ".join(str(words).split()), _MESSAGE_LIMIT)


# --- what a refusal means


def judge_refusal(refusal: Refusal, now: datetime) -> CallError:
    """The error that an HTTP answer stands for."""
    reason, verdict = _reason_and_verdict(refusal)
    said = f"HTTP {refusal.status}" + (f": {refusal.text}" if refusal.text else "")
    return CallError(
        reason,
        said,
        verdict,
        retry_after=retry_after(refusal.headers, now),
        request_id=refusal.headers.get("x-request-id"),
    )


def _reason_and_verdict(refusal: Refusal) -> tuple[str, Verdict]:
    status, words = refusal.status, f"{refusal.code} {refusal.text}"
    if status in (400, 403, 422) and _CONTENT_FILTER.search(words):
        return "content_filter", Verdict.ROW
    if status in (400, 413, 422) and _TOO_LONG.search(words):
        return "context_too_long", Verdict.ROW
    if "insufficient_quota" in words or status in (401, 402, 403, 404, 405) or 300 <= status < 400:
        return f"http_{status}", Verdict.TEACHER
    if status in (408, 409, 425, 429) or status >= 500:
        return f"http_{status}", Verdict.AGAIN
    return f"http_{status}", Verdict.ROW


# --- when to come back


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait, given as seconds or as an HTTP date; None where it does not ask.

    A date is read by the server's own clock where the answer carries its time, since ours may be wrong.
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
    """What a server says that its key may still do: `x-ratelimit-remaining-requests` and the like."""

    remaining: int
    reset_seconds: float
    """Until there is more."""


def allowances(headers: Mapping[str, str], now: datetime) -> dict[str, Allowance]:
    """The allowances for "requests" and "tokens" in an answer's headers, in OpenAI's names or Anthropic's."""
    found = {}
    for unit in ("requests", "tokens"):
        names = f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"
        if names[0] not in headers:
            names = f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset"
        remaining, reset = headers.get(names[0], ""), seconds_until(headers.get(names[1], ""), now)
        if remaining.isdecimal() and reset is not None:
            found[unit] = Allowance(int(remaining), reset)
    return found


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


# --- reading a completion


def read_completion(
    body: bytes,
    latency_seconds: float,
    request_id: str | None,
    asked: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """The reply in a completion's body, or in a stream of its pieces, of the model that was asked for.

    Raises CallError where it is none: an error that came as 200 is what it would have been under its own status.
    """
    try:
        completion = _parsed(body)
        if (error := _error_in(completion)) is not None:
            refusal = Refusal(_error_status(error), orjson.dumps({"error": error}), headers)
            failure = judge_refusal(refusal, datetime.now(UTC))
            failure.costs_nothing = not completion.get("choices")
            raise failure
        return _reply(completion, latency_seconds, request_id, asked)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        problem = "The server answered 200 with something that is no completion."
        raise CallError("bad_response", problem, Verdict.AGAIN, costs_nothing=False, request_id=request_id) from error


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _joined(list(_events(body)))


def _error_in(completion: Any) -> Any:
    """The error that came in place of a completion, or instead of the rest of one; None where there is none."""
    if completion.get("object") == "error":
        return completion
    choices = completion.get("choices")
    if not choices:
        return completion.get("error") or None
    broken = choices[0].get("error")
    if broken or choices[0].get("finish_reason") in _BROKEN_OFF:
        return broken or {"message": f'The reply was broken off (finish_reason "{choices[0]["finish_reason"]}").'}
    return None


def _error_status(error: Any) -> int:
    """The status that an error sent as 200 should have had; 500 where it does not say."""
    if not isinstance(error, dict):
        return 500
    said = [str(error.get(name)) for name in ("code", "status", "type")]
    codes = [_STATUS_OF.get(word) or (int(word) if word.isdecimal() else 0) for word in said]
    return next((code for code in codes if 400 <= code < 600), 500)


def _reply(completion: Any, latency_seconds: float, request_id: str | None, asked: str) -> Reply:
    choice = completion["choices"][0]
    message, model = choice["message"], completion.get("model")
    usage = completion.get("usage") or {}
    read, written = _tokens(usage)
    thought, content = split_thought(_text(message.get("content")))
    return Reply(
        content=content,
        finish_reason=_text(choice.get("finish_reason")) or None,
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")) or thought,
        refusal=_text(message.get("refusal")) or None,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=_count(_detail(usage, "prompt", "cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        reasoning_tokens=_count(_detail(usage, "completion", "reasoning_tokens", None)),
        latency_seconds=round(latency_seconds, 4),
        request_id=request_id or completion.get("id"),
        model=None if model == asked else model,
    )


def _tokens(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    """Tokens read and written. Some servers count thoughts in the total only; a prompt of no tokens was not counted."""
    read, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not read or written is None:
        return None, None
    return read, max(written, (_count(usage.get("total_tokens")) or 0) - read)


def _detail(usage: dict[str, Any], direction: str, name: str, otherwise: Any) -> Any:
    details = usage.get(f"{direction}_tokens_details")
    return details.get(name, otherwise) if isinstance(details, dict) else otherwise


def _count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    return int(value) if isinstance(value, int | float) and value >= 0 else None


def _text(content: Any) -> str:
    """The text of a message's content, which may come in parts. Raises TypeError for what is no text."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError("content is no text")
    return content or ""


# --- streams, from servers that send them although not asked


def _events(body: bytes) -> Iterator[Any]:
    """The JSON objects of a stream of server-sent events; none for anything else."""
    for line in body.splitlines():
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            try:
                yield orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                return


def _joined(events: list[Any]) -> Any:
    """The completion whose pieces came one by one; None where a piece is missing or none is one."""
    chunks = [event for event in events if isinstance(event, dict)]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or [] if not choice.get("index")]
    finish = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    failed = next((chunk for chunk in chunks if chunk.get("error")), None)
    if failed or not finish:
        return failed
    pieces = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    names = ("content", "reasoning_content", "reasoning", "refusal")
    message = {name: "".join(_text(piece.get(name)) for piece in pieces) or None for name in names}
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    first = {name: chunks[0].get(name) for name in ("id", "model")}
    return {**first, "choices": [{"message": message, "finish_reason": finish}], "usage": usage}
