"""Calls as rows write them: arguments as an object or as JSON text, in OpenAI's form or without its outer object."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.conversation import InvalidRow
from distillery_trainer.data.formats.literals import literal
from distillery_trainer.data.tool_calls import Call

_FORM = '{"name": …, "arguments": {…}}'


def loaded(text: str, name: str) -> Any:
    """The value of a JSON text, which errors call `name`. Raises InvalidRow."""
    try:
        return literal(text)
    except ValueError as error:
        raise InvalidRow(f"{name}: the text is no valid JSON ({error})") from error


def call_list(where: str, given: Any) -> list[dict[str, Any]]:
    """The calls of a message, which may be one call, a list or JSON text. Raises InvalidRow."""
    value = loaded(given, f"{where}the calls") if isinstance(given, str) else given
    calls = value if isinstance(value, list) else [value]
    if not all(isinstance(call, dict) for call in calls):
        raise InvalidRow(f"{where}a call is not an object; write {_FORM}")
    return calls


def read_call(where: str, call: Any) -> Call:
    """One call. Raises InvalidRow, whose sentence begins with `where`."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRow(f"{where}a call has no name; write {_FORM}")
    name, given = function["name"], function.get("arguments", function.get("parameters"))
    arguments = given or {}
    if isinstance(arguments, str):
        arguments = loaded(arguments, f'{where}the arguments of "{name}"') if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise InvalidRow(f'{where}the arguments of "{name}" are not an object; write {{"ARGUMENT": value}}')
    return Call(name, arguments)
