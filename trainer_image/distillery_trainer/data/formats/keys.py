"""Keys of rows that carry a part of a conversation. Every format uses such a key or refuses it; what it does not know
is counted and named, so that nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distillery_trainer.data.formats.conversation import InvalidRow, is_empty, shown

_TOOLS = "tools are not read in this format; write messages in OpenAI's form (OpenAIFineTuning), or remove the row"
_MEDIA = "only text is supported; remove the row"
_REASONING = "reasoning in a key of its own is not read; write it into the reply as <think>…</think>, or remove the key"
_UNSUPPORTED = {
    "tools": _TOOLS,
    "tool_calls": _TOOLS,
    "tool_call_id": _TOOLS,
    "tool_choice": 'models decide themselves whether to call a tool; only "auto" is supported',
    "functions": _TOOLS,
    "function_call": _TOOLS,
    "documents": "documents beside the messages are not supported; write them into the message",
    "reasoning": _REASONING,
    "reasoning_content": _REASONING,
    "thinking": _REASONING,
    "refusal": "refusals are not supported; remove the row",
    **dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), _MEDIA),
}
_NAME = "names of participants are not supported; write them into the content, or remove the key"

SYSTEM_KEYS = ("system", "system_prompt")
CONTEXT_KEYS = ("context", "knowledge")
"""What a user message is about; it becomes a part of that message."""
REPLY_KEYS = ("completion", "output", "response", "chosen")
"""The existing reply of a row; `chosen` is that of a row of preferences."""
COMMON_KEYS = frozenset({"id", "gold", "metadata"})
_PARTS = frozenset(
    (*SYSTEM_KEYS, *CONTEXT_KEYS, *REPLY_KEYS, "rejected", "history", "messages", "conversations", "prompt", "input")
)
KNOWN_KEYS = _PARTS | COMMON_KEYS | {"instruction"}
"""Keys by which a table without named columns is read."""


def unused_keys(row: dict[str, Any], used: frozenset[str]) -> tuple[str, ...]:
    """The keys of a row that its format does not know. Raises InvalidRow for one that carries a part of a row and is
    not `used`."""
    _refuse_unsupported(row, "", used)
    others = [key for key, value in row.items() if key not in used and key not in COMMON_KEYS and not is_blank(value)]
    if parts := [key for key in others if key in _PARTS]:
        raise InvalidRow(f'"{parts[0]}" is no part of this format; remove the key, or join it with another one')
    if row.get("rejected") and is_empty(row.get("chosen")):
        raise InvalidRow('"rejected" is there, but "chosen" is missing; remove the row')
    return tuple(key for key in others if key not in _UNSUPPORTED and key != "weight")


def refuse_mark_of_reply(row: dict[str, Any]) -> None:
    """Raise InvalidRow if a row's `label` says whether its reply is a good one."""
    if str(row.get("label")).lower() in ("true", "false"):
        raise InvalidRow(
            '"label": marks of good and bad replies are not supported; keep the good rows, without the key'
        )


def unused_message_keys(messages: Iterable[Any], used: frozenset[str], name: str) -> tuple[str, ...]:
    """The keys of messages that their format does not know, each once, as NAME.KEY. Raises InvalidRow for one that
    carries a part of a message and is not `used`."""
    unused: dict[str, None] = {}
    for number, message in enumerate(messages, start=1):
        if isinstance(message, dict):
            refuse_unsupported_message(message, f"message {number}: ", used)
            unused.update(dict.fromkeys(key for key in message if key not in used and key not in _EMPTY_KEYS))
    return tuple(f"{name}.{key}" for key in unused)


def refuse_unsupported_message(message: dict[str, Any], where: str, used: frozenset[str] = frozenset()) -> None:
    """Raise InvalidRow for a key of a message that carries what is not supported, and is not `used`."""
    _refuse_unsupported(message, where, used)
    if "name" not in used and not is_blank(message.get("name")):
        raise InvalidRow(f'{where}"name": {_NAME}')


def _refuse_unsupported(part: dict[str, Any], where: str, used: frozenset[str]) -> None:
    for key in (part.keys() & _UNSUPPORTED.keys()) - used:
        if not is_blank(part[key]) and not (key == "tool_choice" and part[key] == "auto"):
            raise InvalidRow(f'{where}"{key}": {_UNSUPPORTED[key]}')
    if not is_blank(weight := part.get("weight")) and weight not in _FULL_WEIGHT:
        raise InvalidRow(
            f'{where}"weight" is {shown(weight)}, but all answers are trained on; remove the answer or the key'
        )


_FULL_WEIGHT = (1, "1", "1.0")
"""As JSON has it, and as the text of a table."""
_EMPTY_KEYS = frozenset({*_UNSUPPORTED, "name", "weight"})
"""Keys of messages that are refused unless they are empty."""


def is_blank(value: Any) -> bool:
    """Whether a value holds nothing: null, blank text, an empty list or object, or one of these as text."""
    return is_empty(value) or value == {} or (isinstance(value, str) and value.strip() in ("[]", "{}", "null"))


def only_value(part: dict[str, Any], keys: Iterable[str], where: str = "") -> Any:
    """The value of the one of these keys that is not empty; None if all are. Raises InvalidRow for two that differ.

    `where` is how that error begins, such as "message 2: ".
    """
    given = [key for key in keys if key in part and not is_empty(part[key])]
    if not given:
        return None
    value = part[given[0]]
    if any(part[key] != value for key in given[1:]):
        raise InvalidRow(f'{where}"{given[0]}" and "{given[1]}" hold the same part of the row; keep one of them')
    return value
