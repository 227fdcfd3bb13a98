"""Logs of a model in production: what it was asked, and what it said.

A log holds what users and programs happened to send, so a record that cannot be learned from does not spoil it: failed
calls, tools, pictures and odd orders of roles are passed over and counted. A record that is no such log entry at all
is an error. A reply that was cut off or refused is no reply, so its row is asked anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.finish_reasons import COMPLETE_FINISH_REASONS
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    SkippedRecord,
    conversation,
    in_words,
    is_empty,
    plain_text,
    quoted,
)
from distillery_trainer.data.records import Message

CALL_FAILED = RejectionReason.LOG_CALL_FAILED
NOT_TEXT = RejectionReason.LOG_NOT_TEXT
_ROLE_OF = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_REDACTED = "redacted-by-litellm"


def openai_stored_completion(row: dict[str, Any]) -> Conversation:
    """A `chat.completion` with its request under `messages` or `input`."""
    if not isinstance(row.get("choices"), list):
        raise InvalidRow('"choices" is missing; a stored completion is a chat.completion object')
    _pass_over_failure(row.get("error"))
    asked = row.get("messages", row.get("input"))
    if is_empty(asked):
        raise InvalidRow('neither "messages" nor "input" holds what was asked; export the completions with their input')
    return _conversation(_messages(asked), _chat_reply(row), row.get("id"))


def vllm_log(row: dict[str, Any]) -> Conversation:
    """`{"request": BODY, "response": BODY}`, as a proxy in front of a server with the OpenAI API writes them."""
    request, response = row.get("request"), row.get("response")
    if not isinstance(request, dict):
        raise InvalidRow('"request" is missing; write {"request": {"messages": [...]}, "response": {"choices": [...]}}')
    _pass_over_failure(row.get("error"))
    if not isinstance(response, dict):
        raise SkippedRecord(CALL_FAILED, "There is no response.")
    status = response.get("status_code", 200)
    if not isinstance(status, int) or status >= 400:
        raise SkippedRecord(CALL_FAILED, f"The call failed with HTTP {in_words(status)}.")
    body = response.get("body", response)
    _pass_over_failure(body.get("error") if isinstance(body, dict) else None)
    asked = request.get("body", request)
    name = row.get("id") or body.get("id") if isinstance(body, dict) else row.get("id")
    return _conversation(_asked(asked), _chat_reply(body), name)


def litellm_log(row: dict[str, Any]) -> Conversation:
    """A StandardLoggingPayload: `messages`, `response` and `status`."""
    if "status" not in row or "messages" not in row:
        raise InvalidRow('"status" or "messages" is missing; a LiteLLM log holds standard logging payloads')
    if row["status"] != "success":
        raise SkippedRecord(CALL_FAILED, f"The call failed: {in_words(row.get('error_str') or row['status'])}")
    if _is_redacted(row["messages"]):
        raise InvalidRow("the messages were taken out when they were logged (turn_off_message_logging)")
    response = row.get("response")
    reply = response if isinstance(response, str) else _chat_reply(response)
    return _conversation(_messages(row["messages"]), reply, row.get("id"))


def bedrock_invocation(row: dict[str, Any]) -> Conversation:
    """A model invocation log of Amazon Bedrock: Converse, or InvokeModel with Anthropic messages; streamed or not."""
    asked, answered = row.get("input"), row.get("output")
    if not isinstance(asked, dict):
        raise InvalidRow('"input" is missing; a Bedrock log holds model invocation records')
    if row.get("errorCode"):
        raise SkippedRecord(CALL_FAILED, f"The call failed: {in_words(row['errorCode'])}")
    if "inputBodyJson" not in asked:
        raise SkippedRecord(NOT_TEXT, "What was asked is not in the log, but in a file of its own (inputBodyS3Path).")
    body = asked["inputBodyJson"]
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise SkippedRecord(NOT_TEXT, "What was asked is neither Converse nor Anthropic messages.")
    system = body.get("system")
    spoken = [*([{"role": "system", "content": system}] if not is_empty(system) else []), *body["messages"]]
    reply = _bedrock_reply(answered.get("outputBodyJson")) if isinstance(answered, dict) else None
    return _conversation(_messages(spoken), reply, row.get("requestId"))


# --- what was asked


def _is_redacted(messages: Any) -> bool:
    """Whether a placeholder stands where the first message was."""
    first = messages[0] if isinstance(messages, list) and messages else messages
    content = first.get("content", first.get("text")) if isinstance(first, dict) else first
    return isinstance(content, str) and content.startswith(_REDACTED)


def _asked(body: Any) -> Callable[[], list[Message]]:
    """The messages of a request's body, of chats as of plain completions."""
    if isinstance(body, dict) and isinstance(body.get("prompt"), str):
        return _messages(body["prompt"])
    if not isinstance(body, dict) or "messages" not in body:
        raise InvalidRow('"request" holds neither "messages" nor "prompt"')
    if body.get("tools"):
        raise SkippedRecord(NOT_TEXT, "The request offers tools, which are not learned here.")
    return _messages(body["messages"])


def _messages(asked: Any) -> Callable[[], list[Message]]:
    """Reads messages, or a prompt that is plain text."""

    def read() -> list[Message]:
        if isinstance(asked, str):
            return [{"role": "user", "content": asked}]
        if not isinstance(asked, list):
            raise InvalidRow("the messages are neither a list nor text")
        return [_message(message) for message in asked]

    return read


def _message(message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else message
    if not isinstance(message, dict) or not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    if message.get("tool_calls") or message.get("function_call"):
        raise InvalidRow("there are tool calls, which are not learned here")
    return {"role": _ROLE_OF[role], "content": plain_text(message.get("content"))}


# --- what was answered


def _chat_reply(body: Any) -> str | None:
    """The whole answer in a chat.completion or text completion; None for one that is cut off or refused."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise SkippedRecord(CALL_FAILED, "The response has no choices.")
    choice = choices[0]
    message = choice.get("message")
    said = message if isinstance(message, dict) else {"content": choice.get("text")}
    if said.get("tool_calls") or said.get("function_call"):
        raise SkippedRecord(NOT_TEXT, "The answer is a tool call, which is not learned here.")
    whole = choice.get("finish_reason") in COMPLETE_FINISH_REASONS and not said.get("refusal")
    return _reply_text(said.get("content")) if whole else None


def _bedrock_reply(body: Any) -> str | None:
    if isinstance(body, list):
        return _streamed_reply(body)
    if not isinstance(body, dict):
        return None
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else body  # Converse, else Anthropic
    whole = body.get("stopReason", body.get("stop_reason")) in COMPLETE_FINISH_REASONS
    return _reply_text(message.get("content")) if whole and isinstance(message, dict) else None


def _streamed_reply(events: list[Any]) -> str | None:
    """The answer in the events of a stream of Anthropic messages."""
    deltas = [event["delta"] for event in events if isinstance(event, dict) and isinstance(event.get("delta"), dict)]
    reasons = [delta["stop_reason"] for delta in deltas if "stop_reason" in delta]
    if not reasons or reasons[-1] not in COMPLETE_FINISH_REASONS:
        return None
    return "".join(delta["text"] for delta in deltas if isinstance(delta.get("text"), str)) or None


def _reply_text(content: Any) -> str | None:
    try:
        text = plain_text(content)
    except InvalidRow as error:
        raise SkippedRecord(NOT_TEXT, f"The answer cannot be learned: {error}.") from error
    if is_empty(text):
        return None
    if not isinstance(text, str):
        raise SkippedRecord(NOT_TEXT, "The answer cannot be learned: it is not text.")
    return text


# --- both together


def _conversation(asked: Callable[[], list[Message]], reply: str | None, own_id: Any) -> Conversation:
    try:
        messages = asked()
        if messages and messages[-1]["role"] == "assistant":
            raise InvalidRow("the request holds the beginning of the answer")
        if reply is not None:
            messages.append({"role": "assistant", "content": reply})
        return conversation(messages, own_id=own_id if isinstance(own_id, str) and own_id else None)
    except InvalidRow as error:
        raise SkippedRecord(NOT_TEXT, f"The call cannot be learned from: {error}.") from error


def _pass_over_failure(error: Any) -> None:
    if error:
        words = error.get("message", error) if isinstance(error, dict) else error
        raise SkippedRecord(CALL_FAILED, f"The call failed: {in_words(words)}")
