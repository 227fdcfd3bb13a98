"""What OpenAI-compatible servers answer: completions, and streams that nobody asked for. No network here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.error_responses import CallError, ErrorResponse, FailureScope, call_error
from distillery_trainer.chat.reply import Reply
from distillery_trainer.parsing.reasoning import split_reasoning

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
            refusal = ErrorResponse(_error_status(error), orjson.dumps({"error": error}), headers)
            failure = call_error(refusal, datetime.now(UTC))
            failure.costs_nothing = not completion.get("choices")
            raise failure
        return _reply(completion, latency_seconds, request_id, asked)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        problem = "The server answered 200 with something that is no completion."
        raise CallError(
            RejectionReason.BAD_RESPONSE, problem, FailureScope.AGAIN, costs_nothing=False, request_id=request_id
        ) from error


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
    thought, content = split_reasoning(_text(message.get("content")))
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
