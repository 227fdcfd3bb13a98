"""Rows for instruction tuning: prompt and completion, Alpaca with its relatives (Dolly, histories), ShareGPT. Keys that
no format knows are counted, since published data sets have many."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.chat import openai_turn, strict_chat
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    is_empty,
    need_text,
    quoted,
)
from distillery_trainer.data.formats.keys import (
    CONTEXT_KEYS,
    SYSTEM_KEYS,
    is_blank,
    only_value,
    refuse_mark_of_reply,
    unused_keys,
    unused_message_keys,
)
from distillery_trainer.data.formats.tools import is_about_tools, tool_conversation

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
    "function_call": "assistant",
    "tool_call": "assistant",
} | dict.fromkeys(("tool", "function", "observation", "function_response", "tool_response"), "tool")
_CALLERS = ("function_call", "tool_call")
"""Who says nothing but calls."""
_AROUND = frozenset({*SYSTEM_KEYS, "history", "chosen", "rejected"})
_PROMPT_COMPLETION = _AROUND | {"prompt", "completion", "response", *CONTEXT_KEYS}
_ALPACA = _AROUND | {"instruction", "input", "output", "response", *CONTEXT_KEYS}
_SHARE_GPT = _AROUND - {"history"} | {"conversations", "tools", "functions", "acceptable"}
_TURN = frozenset({"from", "value", "role", "content", "tool_calls", "tool_call_id"})


def prompt_completion(row: dict[str, Any]) -> Conversation:
    """`{"prompt", "completion"?, "system"?}`, as strings or as lists of messages. The reply may be called `response`,
    or `chosen` in a row of preferences, whose `chosen` may also repeat the prompt. Messages may come with `tools`."""
    refuse_mark_of_reply(row)
    reply = only_value(row, ("completion", "response", "chosen"))
    messages = _with_reply(_prompt(row, reply), reply)
    has_messages = isinstance(row.get("prompt"), list)
    if has_messages and is_about_tools(messages, row.get("tools")):
        messages = [openai_turn(number, message) for number, message in enumerate(messages, start=1)]
    used = _PROMPT_COMPLETION | ({"tools", "acceptable"} if has_messages else set())
    return _row(row, messages, unused_keys(row, used))


def _prompt(row: dict[str, Any], reply: Any) -> list[Any]:
    prompt = row.get("prompt")
    if not isinstance(prompt, list):
        is_in_the_reply = prompt is None and isinstance(reply, list)
        return [] if is_in_the_reply else [{"role": "user", "content": _text_with_context("prompt", row)}]
    if only_value(row, CONTEXT_KEYS) is not None:
        raise InvalidRow(f"{_name_of(row, CONTEXT_KEYS)} beside a list of messages; write it into a message")
    return prompt


def alpaca(row: dict[str, Any]) -> Conversation:
    """`{"instruction", "input"?, "output"?, "system"?, "history"?}`: the input follows the instruction after a blank
    line. Dolly's `context` does as well, and its `response` is the reply."""
    text = _text_with_context("instruction", row)
    if not is_empty(row.get("input")):
        text += "\n\n" + need_text(row["input"], '"input"')
    reply = only_value(row, ("output", "response", "chosen"))
    return _row(row, _with_reply([{"role": "user", "content": text}], reply), unused_keys(row, _ALPACA))


def share_gpt(row: dict[str, Any]) -> Conversation:
    """`{"conversations": [{"from": "human"|"gpt"|"system"|"function_call"|"observation", "value"}, …], "system"?,
    "tools"?, "chosen"?}`."""
    turns, chosen = row.get("conversations"), row.get("chosen")
    if not isinstance(turns, list) or not turns:
        raise InvalidRow('"conversations" is missing or empty; write a list of {"from", "value"}')
    unused = (*unused_keys(row, _SHARE_GPT), *unused_message_keys(turns, _TURN, "conversations"))
    messages = [_turn(number, turn) for number, turn in enumerate(turns, start=1)]
    reply = [_turn(len(turns) + 1, chosen)] if isinstance(chosen, dict) else chosen
    return _row(row, _with_reply(messages, reply), unused)


def _turn(number: int, turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise InvalidRow(f'message {number}: not an object; write {{"from": ..., "value": ...}}')
    speaker = turn.get("from", turn.get("role"))
    name = speaker.lower() if isinstance(speaker, str) else ""
    role = _SPEAKERS.get(name)
    if role is None:
        raise InvalidRow(f'message {number}: "from" is {quoted(speaker)}, which is not one of {", ".join(_SPEAKERS)}')
    if name in _CALLERS:
        return {"role": role, "content": None, "tool_calls": _said(number, turn)}
    links = {key: turn[key] for key in ("tool_calls", "tool_call_id") if not is_blank(turn.get(key))}
    return {"role": role, "content": _said(number, turn), **links}


def _said(number: int, turn: dict[str, Any]) -> Any:
    """What a turn says; of one that says nothing, the value that is no text."""
    said = only_value(turn, ("value", "content"), f"message {number}: ")
    return turn.get("value", turn.get("content")) if said is None else said


def _text_with_context(key: str, row: dict[str, Any]) -> str:
    """The text of a user message, and after it what it is about."""
    text = need_text(row.get(key), f'"{key}"')
    context = only_value(row, CONTEXT_KEYS)
    return text if context is None else f"{text}\n\n{need_text(context, _name_of(row, CONTEXT_KEYS))}"


def _name_of(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next(f'"{key}"' for key in keys if not is_empty(row.get(key)))


def _with_reply(messages: list[Any], reply: Any) -> list[Any]:
    """The messages and the reply, which is a text or a list of messages that may repeat the ones before it."""
    if is_empty(reply):
        return messages
    if not isinstance(reply, list):
        return [*messages, {"role": "assistant", "content": reply}]
    if messages and reply[: len(messages)] != messages and not _is_answer(reply[0]):
        raise InvalidRow("the reply begins with another prompt than the row; keep one of them")
    return reply if not messages or reply[: len(messages)] == messages else [*messages, *reply]


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"


def _row(row: dict[str, Any], messages: list[Any], unused: tuple[str, ...]) -> Conversation:
    """The conversation, after its system message and its history."""
    system = only_value(row, SYSTEM_KEYS)
    before = [] if system is None else [{"role": "system", "content": system}]
    before += _history(row.get("history"))
    gold, row_id = (None if is_empty(row.get(key)) else row[key] for key in ("gold", "id"))
    turns = [*before, *messages]
    tools = only_value(row, ("tools", "functions"))
    if is_about_tools(turns, tools):
        found = tool_conversation(turns, tools, gold, row.get("acceptable"), row_id)
    else:
        found = strict_chat({"messages": turns, "gold": gold, "id": row_id})
    found.unused_keys = unused
    return found


def _history(turns: Any) -> list[Any]:
    """Earlier turns: pairs of a user's text and its answer, or messages."""
    if is_empty(turns) or turns == "[]":
        return []
    if not isinstance(turns, list):
        raise InvalidRow('"history" is not a list; write [["question", "answer"], …]')
    return [message for turn in turns for message in _earlier_turn(turn)]


def _earlier_turn(turn: Any) -> list[Any]:
    if isinstance(turn, dict):
        return [turn]
    if not isinstance(turn, list) or len(turn) != 2:
        raise InvalidRow('"history" holds something else than pairs; write [["question", "answer"], …]')
    return [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
