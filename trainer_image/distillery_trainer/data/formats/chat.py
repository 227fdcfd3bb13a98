"""Rows of messages: our own strict format, and that of OpenAI's fine-tuning."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.conversation import (
    ROLES,
    Conversation,
    InvalidRow,
    conversation,
    named,
    quoted,
)
from distillery_trainer.data.formats.keys import is_blank, only_value, unused_keys, unused_message_keys
from distillery_trainer.data.formats.picture_parts import message_of_parts
from distillery_trainer.data.formats.tools import is_about_tools, tool_conversation
from distillery_trainer.data.rows import Message

_ROW_KEYS = {"messages", "id", "gold", "metadata"}
_FINE_TUNING_KEYS = frozenset({"messages", "tools", "functions", "parallel_tool_calls", "acceptable"})
_MESSAGE_KEYS = frozenset({"role", "content", "tool_calls", "function_call", "tool_call_id"})
_REMEDY = "for developer messages, weights, content parts and tools set the format of this source to OpenAIFineTuning"
_ROLE_OF = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"} | dict.fromkeys(
    ("tool", "function"), "tool"
)


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
    """Whether a row has what only OpenAI's rows may have: tools, the role developer, content parts or a weight."""
    messages = row.get("messages")
    has_tools = isinstance(messages, list) and not is_blank(row.get("tools"))
    return has_tools or (isinstance(messages, list) and any(_is_fine_tuning(message) for message in messages))


def _is_fine_tuning(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    parts = isinstance(message.get("content"), list) and message["content"] != []
    special = message.get("role") in ("developer", "tool", "function") or not is_blank(message.get("tool_calls"))
    return parts or special or message.get("weight") is not None


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
    """`{"messages": [{"role", "content", "tool_calls"?, "weight"?}, …], "tools"?}`; unsupported keys are refused by
    name."""
    given = message_list(row)
    unused = unused_keys(row, _FINE_TUNING_KEYS)
    turns = [openai_turn(number, message) for number, message in enumerate(given, start=1)]
    unused += unused_message_keys(given, _MESSAGE_KEYS | ({"name"} if _has_results(turns) else set()), "messages")
    found = _conversation(row, turns)
    found.unused_keys = unused
    return found


def _has_results(turns: list[dict[str, Any]]) -> bool:
    return any(turn["role"] == "tool" for turn in turns)


def _conversation(row: dict[str, Any], turns: list[dict[str, Any]]) -> Conversation:
    tools = only_value(row, ("tools", "functions"))
    if is_about_tools(turns, tools):
        return tool_conversation(turns, tools, row.get("gold"), row.get("acceptable"), row.get("id"))
    messages = [message_of_parts(number, turn["role"], turn["content"]) for number, turn in enumerate(turns, start=1)]
    return conversation(messages, row.get("gold"), row.get("id"))


def openai_turn(number: int, message: Any) -> dict[str, Any]:
    """A message with its role in our words, and its content, calls and ids as they stand there. Raises InvalidRow."""
    if not isinstance(message, dict):
        raise InvalidRow(f'message {number}: not an object; write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLE_OF:
        raise InvalidRow(f"message {number}: the role {quoted(role)} is not one of {', '.join(_ROLE_OF)}")
    calls = only_value(message, ("tool_calls", "function_call"), f"message {number}: ")
    found = {"role": _ROLE_OF[role], "content": message.get("content")}
    return found | {
        key: value
        for key, value in (("tool_calls", calls), ("tool_call_id", message.get("tool_call_id")))
        if value is not None
    }
