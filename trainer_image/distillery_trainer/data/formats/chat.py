"""Rows of messages: our own strict format, and that of OpenAI's fine-tuning."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.conversation import (
    ROLES,
    Conversation,
    InvalidRow,
    conversation,
    plain_text,
    quoted,
    shown,
)
from distillery_trainer.data.rows import Message

_ROW_KEYS = {"messages", "id", "gold", "metadata"}
_UNSUPPORTED = {
    "tools": "tool calls are not supported; remove the row",
    "functions": "function calls are not supported; remove the row",
    "tool_calls": "tool calls are not supported; remove the row",
    "function_call": "function calls are not supported; remove the row",
    "tool_call_id": "tool calls are not supported; remove the row",
    "name": "names of participants are not supported; write them into the content, or remove the key",
    "audio": "audio is not supported; remove the row",
    "refusal": "refusals are not supported; remove the row",
}
_REMEDY = "for developer messages, weights and content parts set the format of this source to OpenAIFineTuning"
_ROLE_OF = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def chat(row: dict[str, Any]) -> Conversation:
    """`{"messages": [{"role", "content"}, …]}`, and optionally `id`, `gold` and `metadata`; no other keys."""
    try:
        return strict_chat(row)
    except InvalidRow as error:
        if is_fine_tuning(row):
            raise InvalidRow(f"{error}; {_REMEDY}") from error
        raise


def strict_chat(row: dict[str, Any]) -> Conversation:
    """Like `chat`, for messages within another format: errors do not suggest a format."""
    if not row.keys() <= _ROW_KEYS:
        unknown = min(row.keys() - _ROW_KEYS)
        raise InvalidRow(f'unknown key "{unknown}"; a row has messages, and optionally id, gold and metadata')
    messages = [_chat_message(number, message) for number, message in enumerate(message_list(row), start=1)]
    return conversation(messages, row.get("gold"), row.get("id"))


def is_fine_tuning(row: dict[str, Any]) -> bool:
    """Whether a message has what only OpenAI's rows may have: the role developer, content parts or a weight."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(_is_fine_tuning(message) for message in messages)


def _is_fine_tuning(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    parts = isinstance(message.get("content"), list) and message["content"] != []
    return parts or message.get("role") == "developer" or message.get("weight") is not None


def message_list(row: dict[str, Any]) -> list[Any]:
    """The messages, unchecked."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRow('"messages" is missing or empty; write a list of {"role", "content"}')
    return messages


def _chat_message(number: int, message: Any) -> Message:
    if not isinstance(message, dict):
        raise InvalidRow(f'message {number}: not an object; write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRow(f"message {number}: the role {quoted(role)} is not one of {', '.join(ROLES)}")
    if len(message) > 2:
        extra = sorted(key for key, value in message.items() if value is not None and key not in ("role", "content"))
        if extra:
            raise InvalidRow(f'message {number}: unknown key "{extra[0]}"; a message has role and content')
    return {"role": role, "content": message.get("content")}  # type: ignore[typeddict-item]


def openai_fine_tuning(row: dict[str, Any]) -> Conversation:
    """`{"messages": [{"role", "content", "weight"?}, …]}`; unsupported keys are refused by name."""
    _refuse_unsupported(row, "")
    messages = []
    for number, message in enumerate(message_list(row), start=1):
        if not isinstance(message, dict):
            raise InvalidRow(f'message {number}: not an object; write {{"role": ..., "content": ...}}')
        _refuse_unsupported(message, f"message {number}: ")
        messages.append(_openai_message(number, message))
    return conversation(messages, row.get("gold"), row.get("id"))


def _refuse_unsupported(row: dict[str, Any], where: str) -> None:
    for key, problem in _UNSUPPORTED.items():
        if row.get(key) not in (None, []):
            raise InvalidRow(f'{where}"{key}": {problem}')
    if (weight := row.get("weight", 1)) not in (1, None):
        raise InvalidRow(
            f'{where}"weight" is {shown(weight)}, but all answers are trained on; remove the answer or the key'
        )


def _openai_message(number: int, message: dict[str, Any]) -> Message:
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"message {number}: the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    return {"role": _ROLE_OF[role], "content": plain_text(message.get("content"))}
