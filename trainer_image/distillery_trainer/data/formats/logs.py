"""Logs of a model in production: its requests and its replies.

A log contains whatever users and programs sent, so a record that the student cannot learn from is skipped and counted:
failed calls, tool calls, images, unusual orders of roles. A record that is not a log entry at all is an error. A
truncated or refused reply is dropped, so the teacher is asked for a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.finish_reasons import is_complete
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    SkippedRecord,
    conversation,
    is_empty,
    plain_text,
    quoted,
    shown,
)
from distillery_trainer.data.rows import Message

_CALL_FAILED = RejectionReason.LOG_CALL_FAILED
_NOT_TEXT = RejectionReason.LOG_NOT_TEXT
_ROLE_OF = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_REDACTED = "redacted-by-litellm"


def openai_stored_completion(row: dict[str, Any]) -> Conversation:
    """A `chat.completion` with its request under `messages` or `input`."""
    if not isinstance(row.get("choices"), list):
        raise InvalidRow('"choices" is missing; a stored completion is a chat.completion object')
    _skip_failed_call(row.get("error"))
    _skip_tools(row)
    requested = row.get("messages", row.get("input"))
    if is_empty(requested):
        raise InvalidRow('"messages" and "input" are missing or empty; export the completions with their input')
    return _conversation(_messages(requested), _chat_reply(row), row.get("id"))


def vllm_log(row: dict[str, Any]) -> Conversation:
    """`{"request": BODY, "response": BODY}`, as written by a proxy in front of an OpenAI-compatible server."""
    request, response = row.get("request"), row.get("response")
    if not isinstance(request, dict):
        raise InvalidRow('"request" is missing; write {"request": {"messages": [...]}, "response": {"choices": [...]}}')
    _skip_failed_call(row.get("error"))
    if not isinstance(response, dict):
        raise SkippedRecord(_CALL_FAILED, "The response is missing.")
    status = response.get("status_code", 200)
    if not isinstance(status, int) or status >= 400:
        raise SkippedRecord(_CALL_FAILED, f"The call failed with HTTP {shown(status)}.")
    body = response.get("body", response)
    _skip_failed_call(body.get("error") if isinstance(body, dict) else None)
    requested = request.get("body", request)
    name = row.get("id") or body.get("id") if isinstance(body, dict) else row.get("id")
    return _conversation(_requested_messages(requested), _chat_reply(body), name)


def litellm_log(row: dict[str, Any]) -> Conversation:
    """A StandardLoggingPayload: `messages`, `response` and `status`."""
    if "status" not in row or "messages" not in row:
        raise InvalidRow('"status" or "messages" is missing; a LiteLLM log consists of standard logging payloads')
    if row["status"] != "success":
        raise SkippedRecord(_CALL_FAILED, f"The call failed: {shown(row.get('error_str') or row['status'])}")
    if _is_redacted(row["messages"]):
        raise InvalidRow("the messages were removed by the logger (turn_off_message_logging)")
    _skip_tools(row.get("model_parameters"))
    response = row.get("response")
    reply = response if isinstance(response, str) else _chat_reply(response)
    return _conversation(_messages(row["messages"]), reply, row.get("id"))


def bedrock_invocation(row: dict[str, Any]) -> Conversation:
    """A record of an Amazon Bedrock model invocation log: Converse, or InvokeModel with Anthropic messages; streamed or
    not."""
    requested, output = row.get("input"), row.get("output")
    if not isinstance(requested, dict):
        raise InvalidRow('"input" is missing; a Bedrock log consists of model invocation records')
    if row.get("errorCode"):
        raise SkippedRecord(_CALL_FAILED, f"The call failed: {shown(row['errorCode'])}")
    if "inputBodyJson" not in requested:
        raise SkippedRecord(_NOT_TEXT, "The request is not in the log but in a separate file (inputBodyS3Path).")
    body = requested["inputBodyJson"]
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise SkippedRecord(_NOT_TEXT, "The request is neither Converse nor Anthropic messages.")
    _skip_tools(body)
    system = body.get("system")
    messages = [*([{"role": "system", "content": system}] if not is_empty(system) else []), *body["messages"]]
    reply = _bedrock_reply(output.get("outputBodyJson")) if isinstance(output, dict) else None
    return _conversation(_messages(messages), reply, row.get("requestId"))


# --- the request


def _is_redacted(messages: Any) -> bool:
    """Whether the first message was replaced by a placeholder."""
    first = messages[0] if isinstance(messages, list) and messages else messages
    content = first.get("content", first.get("text")) if isinstance(first, dict) else first
    return isinstance(content, str) and content.startswith(_REDACTED)


def _requested_messages(body: Any) -> Callable[[], list[Message]]:
    """The messages in the body of a chat completion or text completion request."""
    if isinstance(body, dict) and isinstance(body.get("prompt"), str):
        return _messages(body["prompt"])
    if not isinstance(body, dict) or "messages" not in body:
        raise InvalidRow('"request" has neither "messages" nor "prompt"')
    _skip_tools(body)
    return _messages(body["messages"])


def _skip_tools(request: Any) -> None:
    """Skip a call whose request has what the student would not be told of."""
    for key in ("tools", "functions", "toolConfig", "documents") if isinstance(request, dict) else ():
        if request.get(key):
            what = "documents" if key == "documents" else "tools"
            raise SkippedRecord(_NOT_TEXT, f"The request has {what}, which are not supported.")


def _messages(requested: Any) -> Callable[[], list[Message]]:
    """A function that reads messages, or a plain-text prompt."""

    def read() -> list[Message]:
        if isinstance(requested, str):
            return [{"role": "user", "content": requested}]
        if not isinstance(requested, list):
            raise InvalidRow("the messages are neither a list nor text")
        return [_message(message) for message in requested]

    return read


def _message(message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else message
    if not isinstance(message, dict) or not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    if message.get("tool_calls") or message.get("function_call"):
        raise InvalidRow("it has tool calls, which are not supported")
    if message.get("name"):
        raise InvalidRow("it names a participant, which is not supported")
    return {"role": _ROLE_OF[role], "content": plain_text(message.get("content"))}


# --- the reply


def _chat_reply(body: Any) -> str | None:
    """The complete reply in a chat.completion or text completion; None for a truncated or refused one."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise SkippedRecord(_CALL_FAILED, "The response has no choices.")
    choice = choices[0]
    message = choice.get("message")
    reply = message if isinstance(message, dict) else {"content": choice.get("text")}
    if reply.get("tool_calls") or reply.get("function_call"):
        raise SkippedRecord(_NOT_TEXT, "The reply is a tool call, which is not supported.")
    is_whole = is_complete(choice.get("finish_reason")) and not reply.get("refusal")
    return _reply_text(reply.get("content")) if is_whole else None


def _bedrock_reply(body: Any) -> str | None:
    if isinstance(body, list):
        return _streamed_reply(body)
    if not isinstance(body, dict):
        return None
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else body  # Converse, else Anthropic
    is_whole = is_complete(body.get("stopReason", body.get("stop_reason")))
    return _reply_text(message.get("content")) if is_whole and isinstance(message, dict) else None


def _streamed_reply(events: list[Any]) -> str | None:
    """The reply in the events of a stream of Anthropic messages."""
    deltas = [event["delta"] for event in events if isinstance(event, dict) and isinstance(event.get("delta"), dict)]
    reasons = [delta["stop_reason"] for delta in deltas if "stop_reason" in delta]
    if not reasons or not is_complete(reasons[-1]):
        return None
    return "".join(delta["text"] for delta in deltas if isinstance(delta.get("text"), str)) or None


def _reply_text(content: Any) -> str | None:
    try:
        text = plain_text(content)
    except InvalidRow as error:
        raise SkippedRecord(_NOT_TEXT, f"The reply cannot be used: {error}.") from error
    if is_empty(text):
        return None
    if not isinstance(text, str):
        raise SkippedRecord(_NOT_TEXT, "The reply cannot be used: it is not text.")
    return text


# --- both


def _conversation(requested: Callable[[], list[Message]], reply: str | None, row_id: Any) -> Conversation:
    try:
        messages = requested()
        if messages and messages[-1]["role"] == "assistant":
            raise InvalidRow("the request contains the beginning of the reply")
        if reply is not None:
            messages.append({"role": "assistant", "content": reply})
        return conversation(messages, row_id=row_id if isinstance(row_id, str) and row_id else None)
    except InvalidRow as error:
        raise SkippedRecord(_NOT_TEXT, f"The record cannot be used: {error}.") from error


def _skip_failed_call(error: Any) -> None:
    if error:
        message = error.get("message", error) if isinstance(error, dict) else error
        raise SkippedRecord(_CALL_FAILED, f"The call failed: {shown(message)}")
