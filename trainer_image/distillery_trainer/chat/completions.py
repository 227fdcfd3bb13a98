"""Reads what OpenAI-compatible servers answer: completions, and streams although none was requested. No network
here."""

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

_ABORTED = ("error", "abort", "aborted", "cancelled")
"""Finish reasons of replies that the server aborted."""
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
"""HTTP statuses of the error names of OpenAI and Anthropic."""


# --- reading a completion


def read_completion(
    body: bytes,
    latency_seconds: float,
    request_id: str | None,
    model_id: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """The reply in the body of a completion, or of a stream of its chunks. `model_id` is the requested model.

    Raises CallError for anything else: an error sent with status 200 is treated as if it had its own status.
    """
    try:
        completion = _parsed(body)
        if (error := _error_in(completion)) is not None:
            response = ErrorResponse(_error_status(error), orjson.dumps({"error": error}), headers)
            failure = call_error(response, datetime.now(UTC))
            failure.costs_nothing = not completion.get("choices")
            raise failure
        return _reply(completion, latency_seconds, request_id, model_id)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        message = "The server answered 200, but the body is not a chat completion."
        raise CallError(
            RejectionReason.BAD_RESPONSE, message, FailureScope.TRANSIENT, costs_nothing=False, request_id=request_id
        ) from error


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _joined(list(_events(body)))


def _error_in(completion: Any) -> Any:
    """The error sent instead of a completion or of the rest of one; None where there is none."""
    if completion.get("object") == "error":
        return completion
    choices = completion.get("choices")
    if not choices:
        return completion.get("error") or None
    error = choices[0].get("error")
    if error or choices[0].get("finish_reason") in _ABORTED:
        return error or {"message": f'The reply was aborted (finish_reason "{choices[0]["finish_reason"]}").'}
    return None


def _error_status(error: Any) -> int:
    """The status that an error sent as 200 should have had; 500 where it is unknown."""
    if not isinstance(error, dict):
        return 500
    names = [str(error.get(field)) for field in ("code", "status", "type")]
    statuses = [_STATUS_OF.get(name) or (int(name) if name.isdecimal() else 0) for name in names]
    return next((status for status in statuses if 400 <= status < 600), 500)


def _reply(completion: Any, latency_seconds: float, request_id: str | None, model_id: str) -> Reply:
    choice = completion["choices"][0]
    message, model = choice["message"], completion.get("model")
    usage = completion.get("usage") or {}
    input_tokens, output_tokens = _tokens(usage)
    reasoning, content = split_reasoning(_text(message.get("content")))
    return Reply(
        content=content,
        finish_reason=_text(choice.get("finish_reason")) or None,
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")) or reasoning,
        refusal=_text(message.get("refusal")) or None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=_count(_detail(usage, "prompt", "cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        reasoning_tokens=_count(_detail(usage, "completion", "reasoning_tokens", None)),
        latency_seconds=round(latency_seconds, 4),
        request_id=request_id or completion.get("id"),
        model=None if model == model_id else model,
    )


def _tokens(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    """Input and output tokens. Some servers count reasoning in the total only; 0 input tokens means not counted."""
    input_tokens, output_tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not input_tokens or output_tokens is None:
        return None, None
    return input_tokens, max(output_tokens, (_count(usage.get("total_tokens")) or 0) - input_tokens)


def _detail(usage: dict[str, Any], direction: str, name: str, default: Any) -> Any:
    details = usage.get(f"{direction}_tokens_details")
    return details.get(name, default) if isinstance(details, dict) else default


def _count(value: Any) -> int | None:
    """A number of tokens; None for anything else."""
    return int(value) if isinstance(value, int | float) and value >= 0 else None


def _text(content: Any) -> str:
    """The text of a message's content, which may consist of parts. Raises TypeError for anything but text."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError("content is not text")
    return content or ""


# --- streams, from servers that send them although none was requested


def _events(body: bytes) -> Iterator[Any]:
    """The JSON objects of a stream of server-sent events; none for anything else."""
    for line in body.splitlines():
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            try:
                yield orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                return


def _joined(events: list[Any]) -> Any:
    """The completion that a stream's chunks make up; None where it is incomplete."""
    chunks = [event for event in events if isinstance(event, dict)]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or [] if not choice.get("index")]
    finish_reason = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    failed = next((chunk for chunk in chunks if chunk.get("error")), None)
    if failed or not finish_reason:
        return failed
    deltas = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    names = ("content", "reasoning_content", "reasoning", "refusal")
    message = {name: "".join(_text(delta.get(name)) for delta in deltas) or None for name in names}
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    first = {name: chunks[0].get(name) for name in ("id", "model")}
    return {**first, "choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}
