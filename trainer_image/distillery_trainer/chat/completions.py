"""Reads what OpenAI-compatible servers answer: completions, and streams although none was requested. No network here.

This is the one place where a reply is checked. Whatever bytes come in, a typed Reply goes out, with valid Unicode and
without the API key, or a CallError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from distillery_api.formatting import cleaned, valid_unicode
from distillery_trainer.chat.api_key import KeyRemoval
from distillery_trainer.chat.error_responses import ErrorResponse, bad_response, call_error
from distillery_trainer.chat.json_bodies import read_json
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_texts import ReplyTexts, joined
from distillery_trainer.chat.response_headers import NAME_LIMIT, NO_HEADERS, ResponseHeaders
from distillery_trainer.chat.sent_calls import calls_as_text, joined_calls
from distillery_trainer.chat.token_counts import TokenCounts
from distillery_trainer.chat.token_logprobs import joined_bytes, pack, read_content, read_prompt
from distillery_trainer.data.finish_reasons import Ending, ending_of
from distillery_trainer.parsing.reasoning import split_reasoning

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
_STATUS = re.compile("[45][0-9]{2}")
_NO_KEY = KeyRemoval()


# --- reading a completion


def read_completion(
    body: bytes,
    latency_seconds: float,
    headers: ResponseHeaders = NO_HEADERS,
    *,
    model_id: str = "",
    without_key: KeyRemoval = _NO_KEY,
    reads_calls: bool = False,
    reads_logprobs: bool = False,
    scored_text: str | None = None,
) -> Reply:
    """The reply in the body of a completion, or of a stream of its chunks. `model_id` is the requested model. With
    `reads_calls`, calls of tools are the content of a reply that makes some. With `reads_logprobs`, it has the
    log-probabilities of its tokens; with `scored_text`, of that text, with which the prompt ends.

    Raises CallError for anything else: an error sent with status 200 is treated as if it had its own status.
    """
    try:
        completion = _completion(body)
        if (error := _error_in(completion)) is not None:
            response = ErrorResponse.of_error(_error_status(error), error, headers, without_key)
            raise call_error(response, costs_nothing=not completion.get("choices"))
        choice = _first_choice(completion)
        message = _object(choice.get("message"))
        texts, calls = ReplyTexts.read(message), calls_as_text(message) if reads_calls else ""
    except ValueError as error:
        raise bad_response("its body is not a chat completion", headers.request_id) from error
    reasoning, content = split_reasoning(without_key.from_reply(valid_unicode(texts.content)))
    finish_reason = without_key(_finish_reason(choice) or "") or None
    if calls:
        content = without_key.from_reply(valid_unicode(calls))
        finish_reason = "stop" if ending_of(finish_reason) is Ending.OTHER else finish_reason
    counts, model = TokenCounts.read(completion.get("usage")), _name(completion.get("model"))
    return Reply(
        content=content,
        finish_reason=finish_reason,
        reasoning=without_key.from_reply(valid_unicode(texts.reasoning)) or reasoning,
        refusal=without_key.from_reply(valid_unicode(texts.refusal)) or None,
        input_tokens=counts.input,
        output_tokens=counts.output,
        cached_tokens=counts.cached,
        reasoning_tokens=counts.reasoning,
        latency_seconds=round(latency_seconds, 4),
        request_id=headers.request_id or without_key(_name(completion.get("id"))) or None,
        model=None if model in ("", model_id) else without_key(model),
        logprobs=_logprobs(completion, choice, scored_text, without_key) if reads_logprobs else None,
    )


def _logprobs(
    completion: dict[str, Any], choice: dict[str, Any], scored_text: str | None, without_key: KeyRemoval
) -> str | None:
    """The log-probabilities, packed; None where there are none, or where a secret is among the tokens."""
    if scored_text is None:
        positions = read_content(choice.get("logprobs"))
    else:
        positions = read_prompt(completion.get("prompt_logprobs"), scored_text)
    text = joined_bytes(positions).decode("utf-8", "replace")
    return pack(positions) if positions and without_key.from_reply(text) == text else None


def _completion(body: bytes) -> dict[str, Any]:
    try:
        return _object(read_json(body))
    except ValueError:
        return _joined(list(_events(body)))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _first_choice(completion: dict[str, Any]) -> dict[str, Any]:
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices")
    return _object(choices[0])


def _finish_reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    if isinstance(reason, dict):  # SGLang's own form
        reason = reason.get("type")
    if reason is None or isinstance(reason, str):
        return _name(reason) or None
    return "not a text"


def _name(value: Any) -> str:
    """An id or a name that the server chooses, without hidden characters; "" for anything else than a text."""
    return cleaned(value, NAME_LIMIT) if isinstance(value, str) else ""


# --- errors that are sent as a completion


def _error_in(completion: dict[str, Any]) -> Any:
    """The error sent instead of a completion or of the rest of one; None where there is none."""
    if completion.get("object") == "error":
        return completion
    if not completion.get("choices"):
        return completion.get("error") or None
    choice = _first_choice(completion)
    if error := choice.get("error"):
        return error
    reason = _finish_reason(choice)
    is_aborted = ending_of(reason) is Ending.ABORTED
    return {"message": f'The reply was aborted (finish_reason "{reason}").'} if is_aborted else None


def _error_status(error: Any) -> int:
    """The status that an error sent as 200 should have had; 500 where it is unknown."""
    if not isinstance(error, dict):
        return 500
    names = [str(error[field]) for field in ("code", "status", "type") if isinstance(error.get(field), str | int)]
    statuses = [_STATUS_OF.get(name) or (int(name) if _STATUS.fullmatch(name) else 0) for name in names]
    return next(filter(None, statuses), 500)


# --- streams, from servers that send them although none was requested


def _events(body: bytes) -> Iterator[Any]:
    """The JSON objects of a stream of server-sent events; none for anything else."""
    for line in body.splitlines():
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            try:
                yield read_json(line[5:])
            except ValueError:
                return


def _joined(events: list[Any]) -> dict[str, Any]:
    """The completion that a stream's chunks make up. Raises ValueError where it is incomplete."""
    chunks = [event for event in events if isinstance(event, dict)]
    choices = [choice for chunk in chunks for choice in _first_choices(chunk)]
    finish_reason = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    if failed := next((chunk for chunk in chunks if chunk.get("error")), None):
        return failed
    if not finish_reason:
        raise ValueError("the stream was cut off")
    deltas = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    texts = [ReplyTexts.read(delta) for delta in deltas]
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    first = {name: chunks[0].get(name) for name in ("id", "model")}
    message = {**joined(texts), "tool_calls": joined_calls(deltas)}
    return {**first, "choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}


def _first_choices(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a chunk that continue the first reply."""
    choices = chunk.get("choices")
    listed = choices if isinstance(choices, list) else []
    return [choice for choice in listed if isinstance(choice, dict) and not choice.get("index")]
