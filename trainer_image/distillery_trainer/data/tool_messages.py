"""Messages of a conversation with tools. What may be called stands in its first message, so that it is part of every
request, of its key in the reply journal, and of every comparison of two requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import orjson

from distillery_api.runtime.picture_parts import as_image_url, in_parts
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_calls import Tool, calls_of, written


def tools_of(messages: Sequence[Message]) -> list[Tool]:
    """What may be called in a conversation; empty without tools."""
    return messages[0].get("tools", []) if messages else []


def with_tools(messages: Sequence[Message], tools: Sequence[Tool] | None) -> list[Message]:
    """The conversation in which these tools may be called."""
    if not tools:
        return list(messages)
    first, *others = messages
    return [cast("Message", {**first, "tools": list(tools)}), *others]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The messages alone."""
    if not tools_of(messages):
        return list(messages)
    first = {key: value for key, value in messages[0].items() if key != "tools"}
    return [cast("Message", first), *messages[1:]]


def text_of(message: Message) -> str:
    """All that a model reads of a message: its content, its calls, and the tools of the conversation."""
    parts = [message["content"]]
    if calls := message.get("tool_calls"):
        parts.append(written(calls_of(calls)))
    if tools := message.get("tools"):
        parts.append(orjson.dumps(tools).decode())
    return "\n".join(filter(None, parts)) if len(parts) > 1 else parts[0]


def chat_fields(messages: Sequence[Message], picture_url: Callable[[str], str]) -> dict[str, Any]:
    """The fields of a request that say what is asked, in OpenAI's form: messages, whose calls have their arguments as
    text and whose pictures are parts of their content, and tools, of which the model may call any or none.

    `picture_url` gives the URL of a picture by its name.
    """
    in_form = [
        in_parts(message, lambda name: as_image_url(picture_url(name)))
        for message in map(_in_openai_form, without_tools(messages))
    ]
    fields: dict[str, Any] = {"messages": in_form}
    if tools := tools_of(messages):
        fields |= {"tools": tools, "tool_choice": "auto"}
    return fields


def _in_openai_form(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": orjson.dumps(call["function"]["arguments"]).decode()}}
        for call in message["tool_calls"]
    ]
    return cast("Message", {**message, "content": message["content"] or None, "tool_calls": calls})
