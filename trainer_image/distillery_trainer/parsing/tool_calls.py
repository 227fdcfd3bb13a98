"""The calls in a model's reply: as JSON, or between the marks of the Hermes form.

A server with a parser for its model sends calls apart from the text, and `chat/` writes them as JSON; a student, or a
server without such a parser, writes them into the text as its chat template does. What looks like a call and cannot be
read is unreadable; anything else is an answer without calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.formats import hermes
from distillery_trainer.data.tool_calls import Call
from distillery_trainer.parsing.json_values import with_whole_characters
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

_BEGINNINGS = ("[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>")
"""What some families write before their calls."""
_FENCE = "```"
_BETWEEN = re.compile(r"[\s;,]*")
_NAMED = re.compile(r"([A-Za-z_][\w.-]{0,63})\s?(?:\[ARGS\])?\s?(?=\{)")
"""A name right before its arguments, as in Mistral's newer models."""
_LIKE_A_CALL = re.compile(
    r'"name"\s{0,9}:\s{0,9}"[^"\n]{1,99}"\s{0,9},\s{0,9}"(?:arguments|parameters)"'
    r"|</?tool_call>|\[TOOL_CALLS\]|<function[=_]|<\|python_tag\|>"
)
_ARGUMENTS = ("arguments", "parameters")


def read_calls(text: str) -> list[Call] | Unreadable:
    """The calls of a reply in their order; an empty list where it makes none."""
    text = with_whole_characters(without_reasoning(text)).strip()
    if hermes.CALL[0] in text:
        return _in_blocks(text)
    values = _values(_unwrapped(text))
    if values is not None and any(map(_is_call, values)):
        return _calls(values)
    if _LIKE_A_CALL.search(text):
        return Unreadable(
            RejectionReason.BAD_JSON,
            "The reply has a call inside of other text; call the function, or answer in words.",
        )
    return []


def _in_blocks(text: str) -> list[Call] | Unreadable:
    values: list[Any] = []
    for block in hermes.blocks(text, hermes.CALL):
        found = _values(block)
        if not found:
            return Unreadable(RejectionReason.BAD_JSON, "A call of the reply is not valid JSON.")
        values += found
    return _calls(values)


def _unwrapped(text: str) -> str:
    """The text without a code fence around all of it, and without the mark of a family before it."""
    if text.startswith(_FENCE) and text.endswith(_FENCE) and len(text) > 2 * len(_FENCE):
        first, _, rest = text.partition("\n")
        text = rest.removesuffix(_FENCE).strip() if first.strip("`").strip().isalpha() or first == _FENCE else text
    for beginning in _BEGINNINGS:
        text = text.removeprefix(beginning).strip()
    return text


def _values(text: str) -> list[Any] | None:
    """The JSON values that make up a text, lists taken apart; None where it holds anything else."""
    values = list(_read_values(text))
    if not values or values[-1] is None:
        return None
    listed = [_listed(value) for value in values]
    return [one for value in listed for one in (value if isinstance(value, list) else [value])]


def _listed(value: Any) -> Any:
    """The calls of a whole message, where a value is one."""
    calls = value.get("tool_calls") if isinstance(value, dict) and "name" not in value else None
    return calls if isinstance(calls, list) and calls else value


def _read_values(text: str) -> Iterator[Any]:
    """The values in their order, and None at the end where the rest of the text is none."""
    position = _end_of_gap(text, 0)
    while position < len(text):
        named = _NAMED.match(text, position)
        start = named.end() if named else position
        try:
            value, position = _DECODER.raw_decode(text, start)
            orjson.dumps(value)  # what cannot be written again cannot be stored
        except (ValueError, TypeError, RecursionError):
            yield None
            return
        yield {"name": named[1], "arguments": value} if named else value
        position = _end_of_gap(text, position)


_DECODER = json.JSONDecoder()


def _end_of_gap(text: str, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position


def _function(value: Any) -> Any:
    function = value.get("function") if isinstance(value, dict) else None
    return function if isinstance(function, dict) else value


def _is_call(value: Any) -> bool:
    function = _function(value)
    return isinstance(function, dict) and "name" in function and any(key in function for key in _ARGUMENTS)


def _calls(values: list[Any]) -> list[Call] | Unreadable:
    calls = []
    for value in values:
        if not _is_call(value):
            return Unreadable(RejectionReason.BAD_JSON, "The reply holds something else beside its calls.")
        function = _function(value)
        name, arguments = function["name"], _arguments(function)
        if not isinstance(name, str) or not name:
            return Unreadable(RejectionReason.BAD_JSON, "A call of the reply has no name.")
        if not isinstance(arguments, dict):
            return Unreadable(RejectionReason.BAD_JSON, f'The arguments of "{name[:80]}" are not a JSON object.')
        calls.append(Call(name, arguments))
    return calls


def _arguments(function: dict[str, Any]) -> Any:
    given = function.get("arguments", function.get("parameters"))
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}
    if not isinstance(given, str):
        return given
    values = _values(given)
    return values[0] if values is not None and len(values) == 1 else given
