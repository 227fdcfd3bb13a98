"""The calls that a server sends apart from a reply's text. A reply keeps them as text, like everything else that a
model writes; what they mean is read where replies are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson


def calls_as_text(message: dict[str, Any]) -> str:
    """The calls of a message as JSON, `[{"name", "arguments"}, …]`; "" where it has none. Arguments, which servers send
    as JSON text or as an object, are an object where they can be read."""
    sent = message.get("tool_calls") or [message.get("function_call")]
    calls = [call for call in map(_call, sent if isinstance(sent, list) else []) if call is not None]
    return orjson.dumps(calls).decode() if calls else ""


def _call(sent: Any) -> dict[str, Any] | None:
    function = sent.get("function", sent) if isinstance(sent, dict) else None
    if not isinstance(function, dict) or "name" not in function:
        return None
    arguments = function.get("arguments")
    return {"name": function["name"], "arguments": {} if arguments in (None, "") else _loaded(arguments)}


def _loaded(arguments: Any) -> Any:
    try:
        return orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments


def joined_calls(deltas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls that the parts of a stream make up: a part names its call by its index, and continues its arguments."""
    calls: dict[int, dict[str, Any]] = {}
    for part in (part for delta in deltas for part in _listed(delta.get("tool_calls"))):
        function = part.get("function")
        index = part["index"] if isinstance(part.get("index"), int) else len(calls)
        call = calls.setdefault(index, {"arguments": ""})
        if not isinstance(function, dict):
            continue
        if function.get("name"):
            call["name"] = function["name"]
        arguments = function.get("arguments")
        call["arguments"] = call["arguments"] + arguments if isinstance(arguments, str) else arguments
    return [{"function": call} for _, call in sorted(calls.items())]


def _listed(parts: Any) -> list[dict[str, Any]]:
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
