"""Rows of messages: our own strict format, and that of OpenAI's fine-tuning."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.conversation import (
    ROLES,
    Conversation,
    InvalidRow,
    conversation,
    named,
    plain_text,
    quoted,
)
from distillery_trainer.data.formats.keys import unused_keys, unused_message_keys
from distillery_trainer.data.rows import Message

_ROW_KEYS = {"messages", "id", "gold", "metadata"}
_FINE_TUNING_KEYS = frozenset({"messages", "parallel_tool_calls"})
_MESSAGE_KEYS = frozenset({"role", "content"})
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
        unknown = named(min(row.keys() - _ROW_KEYS))
        raise InvalidRow(f"unknown key {unknown}; a row has messages, and optionally id, gold and metadata")
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
    if isinstance(messages, str) and messages.lstrip().startswith("["):
        raise InvalidRow('"messages" is text that holds a list; write the list itself')
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
            raise InvalidRow(f"message {number}: unknown key {named(extra[0])}; a message has role and content")
    return {"role": role, "content": message.get("content")}  # type: ignore[typeddict-item]


def openai_fine_tuning(row: dict[str, Any]) -> Conversation:
    """`{"messages": [{"role", "content", "weight"?}, …]}`; unsupported keys are refused by name."""
    given = message_list(row)
    unused = (*unused_keys(row, _FINE_TUNING_KEYS), *unused_message_keys(given, _MESSAGE_KEYS, "messages"))
    messages = [_openai_message(number, message) for number, message in enumerate(given, start=1)]
    found = conversation(messages, row.get("gold"), row.get("id"))
    found.unused_keys = unused
    return found


def _openai_message(number: int, message: Any) -> Message:
    if not isinstance(message, dict):
        raise InvalidRow(f'message {number}: not an object; write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"message {number}: the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    return {"role": _ROLE_OF[role], "content": plain_text(message.get("content"))}
