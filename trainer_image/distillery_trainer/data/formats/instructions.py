"""Rows for instruction tuning: prompt and completion, Alpaca, ShareGPT. Unknown keys are ignored, since published data
sets have many."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.chat import strict_chat
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    conversation,
    from_texts,
    is_empty,
    need_text,
    quoted,
)
from distillery_trainer.data.rows import Message

_SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}


def prompt_completion(row: dict[str, Any]) -> Conversation:
    """`{"prompt", "completion"?, "system"?}`, as strings or as lists of messages."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, list):
        messages = [*prompt, *_reply_messages(completion)]
        return strict_chat({"messages": messages, "gold": row.get("gold"), "id": row.get("id")})
    return from_texts(
        row.get("system"), need_text(prompt, '"prompt"'), completion, row.get("gold"), row_id=row.get("id")
    )


def _reply_messages(completion: Any) -> list[Any]:
    if is_empty(completion):
        return []
    return completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]


def alpaca(row: dict[str, Any]) -> Conversation:
    """`{"instruction", "input"?, "output"?, "system"?}`: the input follows the instruction after a blank line."""
    text = need_text(row.get("instruction"), '"instruction"')
    if not is_empty(row.get("input")):
        text += "\n\n" + need_text(row["input"], '"input"')
    return from_texts(row.get("system"), text, row.get("output"), row.get("gold"), row_id=row.get("id"))


def share_gpt(row: dict[str, Any]) -> Conversation:
    """`{"conversations": [{"from": "human"|"gpt"|"system", "value"}, …], "system"?}`."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise InvalidRow('"conversations" is missing or empty; write a list of {"from", "value"}')
    messages = [_turn(number, turn) for number, turn in enumerate(turns, start=1)]
    if not is_empty(row.get("system")):
        messages.insert(0, {"role": "system", "content": row["system"]})
    return conversation(messages, row.get("gold"), row.get("id"))


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise InvalidRow(f'message {number}: not an object; write {{"from": ..., "value": ...}}')
    speaker = turn.get("from", turn.get("role"))
    role = _SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise InvalidRow(f'message {number}: "from" is {quoted(speaker)}, which is not one of {", ".join(_SPEAKERS)}')
    return {"role": role, "content": turn.get("value", turn.get("content"))}  # type: ignore[typeddict-item]
