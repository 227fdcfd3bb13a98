"""Rows of messages: our own, which are strict, and those for OpenAI's fine-tuning."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.conversation import (
    ROLES,
    Conversation,
    InvalidRow,
    conversation,
    in_words,
    plain_text,
    quoted,
)
from distillery_trainer.data.records import Message

_ROW_KEYS = {"messages", "id", "gold", "metadata"}
_NOT_LEARNED = {
    "tools": "tool calls are not learned here; remove the row",
    "functions": "function calls are not learned here; remove the row",
    "tool_calls": "tool calls are not learned here; remove the row",
    "function_call": "function calls are not learned here; remove the row",
    "tool_call_id": "tool calls are not learned here; remove the row",
    "name": "names of speakers are not learned here; write them into the content, or remove the key",
    "audio": "sound is not learned here; remove the row",
    "refusal": "a refusal is not learned here; remove the row",
}
_REMEDY = "for developers, weights and text in parts give this source the format OpenAIFineTuning"
_ROLE_OF = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def chat(row: dict[str, Any]) -> Conversation:
    """`{"messages": [{"role", "content"}, …]}`, and optionally `id`, `gold` and `metadata`; nothing else."""
    try:
        return strict_chat(row)
    except InvalidRow as error:
        if is_fine_tuning(row):
            raise InvalidRow(f"{error}; {_REMEDY}") from error
        raise


def strict_chat(row: dict[str, Any]) -> Conversation:
    """As `chat`, for messages that another format holds: no other format is named to somebody who broke a rule."""
    if not row.keys() <= _ROW_KEYS:
        unknown = min(row.keys() - _ROW_KEYS)
        raise InvalidRow(f'unknown key "{unknown}"; a row has messages, and optionally id, gold and metadata')
    messages = [_chat_message(place, message) for place, message in enumerate(message_list(row), start=1)]
    return conversation(messages, row.get("gold"), row.get("id"))


def is_fine_tuning(row: dict[str, Any]) -> bool:
    """Whether a message has what OpenAI's rows may have and ours may not: a developer, parts of content, a weight."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(_is_fine_tuning(message) for message in messages)


def _is_fine_tuning(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    parts = isinstance(message.get("content"), list) and message["content"] != []
    return parts or message.get("role") == "developer" or message.get("weight") is not None


def message_list(row: dict[str, Any]) -> list[Any]:
    """The messages, unread."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRow('"messages" is missing or empty; give a list of {"role", "content"}')
    return messages


def _chat_message(place: int, message: Any) -> Message:
    if not isinstance(message, dict):
        raise InvalidRow(f'message {place}: not an object; write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRow(f"message {place}: the role {quoted(role)} is not one of {', '.join(ROLES)}")
    if len(message) > 2:
        extra = sorted(key for key, value in message.items() if value is not None and key not in ("role", "content"))
        if extra:
            raise InvalidRow(f'message {place}: unknown key "{extra[0]}"; a message has role and content')
    return {"role": role, "content": message.get("content")}  # type: ignore[typeddict-item]


def openai_fine_tuning(row: dict[str, Any]) -> Conversation:
    """`{"messages": [{"role", "content", "weight"?}, …]}`; what this product does not learn is refused by name."""
    _refuse_what_is_not_learned(row, "")
    messages = []
    for place, message in enumerate(message_list(row), start=1):
        if not isinstance(message, dict):
            raise InvalidRow(f'message {place}: not an object; write {{"role": ..., "content": ...}}')
        _refuse_what_is_not_learned(message, f"message {place}: ")
        messages.append(_openai_message(place, message))
    return conversation(messages, row.get("gold"), row.get("id"))


def _refuse_what_is_not_learned(row: dict[str, Any], where: str) -> None:
    for key, why in _NOT_LEARNED.items():
        if row.get(key) not in (None, []):
            raise InvalidRow(f'{where}"{key}": {why}')
    if (weight := row.get("weight", 1)) not in (1, None):
        raise InvalidRow(
            f'{where}"weight" is {in_words(weight)}, and every answer is learned here; remove the answer or the key'
        )


def _openai_message(place: int, message: dict[str, Any]) -> Message:
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"message {place}: the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    return {"role": _ROLE_OF[role], "content": plain_text(message.get("content"))}
