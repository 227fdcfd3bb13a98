"""Tools that a model may call, and its calls: as rows hold them, and as one text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson

Tool = dict[str, Any]
"""A function that may be called, in OpenAI's form: `{"type": "function", "function": {"name", "description"?,
"parameters"}}`, where the parameters are a JSON schema of an object."""


class CalledFunction(TypedDict):
    """What is called, and with which arguments by name."""

    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict):
    """A call in an assistant's message, as chat templates read it: with its arguments as an object."""

    id: str
    """By which a tool's message says that it is the result."""
    type: str
    function: CalledFunction


@dataclass(frozen=True, slots=True)
class Call:
    """A call without its id."""

    name: str
    arguments: dict[str, Any]


def written(calls: Iterable[Call]) -> str:
    """Calls as one text, JSON: `[{"name": …, "arguments": {…}}, …]`, in the order in which they are given."""
    return orjson.dumps([{"name": call.name, "arguments": call.arguments} for call in calls]).decode()


def read_written(text: str) -> list[Call] | None:
    """The calls in a text that `written` wrote; None for any other text."""
    if not text.startswith('[{"name":'):
        return None
    try:
        return [Call(call["name"], call["arguments"]) for call in orjson.loads(text)]
    except (ValueError, LookupError, TypeError):
        return None


def numbered(calls: Sequence[Call], earlier: int = 0) -> list[ToolCall]:
    """Calls of a message, each with an id, after `earlier` calls of the same conversation."""
    return [
        {
            "id": call_id(earlier + number),
            "type": "function",
            "function": {"name": one.name, "arguments": one.arguments},
        }
        for number, one in enumerate(calls, start=1)
    ]


def call_id(number: int) -> str:
    """The id of a conversation's n-th call. Mistral's chat templates demand nine letters and digits."""
    return f"call{number:05}"


def calls_of(tool_calls: Iterable[ToolCall]) -> list[Call]:
    """The calls of a message."""
    return [Call(call["function"]["name"], call["function"]["arguments"]) for call in tool_calls]


def name_of(tool: Tool) -> str:
    """The name by which a tool is called."""
    return str(tool["function"]["name"])
