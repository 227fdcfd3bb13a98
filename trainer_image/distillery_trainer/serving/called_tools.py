"""Calls in a chat completion, apart from the text. The Transformers library's own server reads those of a few families
only."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from distillery_trainer.data.tool_calls import Call
from distillery_trainer.parsing.tool_calls import read_calls

_DONE = 200


def with_calls(response: Response) -> Response:
    """The response with the calls that its text makes as `tool_calls`; unchanged where it makes none, or none that can
    be read."""
    if response.status_code != _DONE:
        return response
    completion = orjson.loads(bytes(response.body))
    for choice in completion["choices"]:
        calls = read_calls(choice["message"].get("content") or "")
        if isinstance(calls, list) and calls:
            choice["message"] |= {"content": None, "tool_calls": _listed(calls, completion.get("id"))}
            choice["finish_reason"] = "tool_calls" if choice["finish_reason"] == "stop" else choice["finish_reason"]
    return JSONResponse(completion)


def _listed(calls: list[Call], request: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{request}-call-{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
        }
        for number, call in enumerate(calls)
    ]
