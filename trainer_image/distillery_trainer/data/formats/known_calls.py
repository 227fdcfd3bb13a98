"""The gold of a row with tools."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from distillery_trainer.data.formats.calls import read_call
from distillery_trainer.data.formats.conversation import InvalidRow, checked_gold, is_empty
from distillery_trainer.data.known_calls import Acceptable, KnownCalls
from distillery_trainer.data.tool_calls import Call

_FORM = '{"tool_calls": [{"name": …, "arguments": {…}}]}, with an empty list where no call is right'
_ACCEPTABLE = 'write {"FUNCTION": {"ARGUMENT": [value, …]}} for each call'


def gold_text(gold: Any, acceptable: Any = None) -> str | list[str] | None:
    """The known answer, or several, as texts: an object of calls, a list of calls, or the text of an answer without
    calls. Raises InvalidRow."""
    if gold is None:
        if not is_empty(acceptable):
            raise InvalidRow('"acceptable" without "gold"; add the calls that are right as gold')
        return None
    if isinstance(gold, dict):
        return _known(gold, gold.get("acceptable", acceptable)).to_text()
    if isinstance(gold, list) and gold and all(isinstance(each, dict) and "tool_calls" in each for each in gold):
        return [_known(each, each.get("acceptable")).to_text() for each in gold]
    if isinstance(gold, list) and (not gold or any(isinstance(each, dict) for each in gold)):
        return _known({"tool_calls": gold}, acceptable).to_text()
    if isinstance(gold, str) and gold.lstrip()[:1] in ("{", "["):
        return gold_text(_loaded(gold), acceptable)
    return checked_gold(gold)


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise InvalidRow(f"gold is a text that is no valid JSON ({error}); write {_FORM}") from error


def _known(gold: dict[str, Any], acceptable: Any) -> KnownCalls:
    calls = gold.get("tool_calls")
    if not isinstance(calls, list):
        raise InvalidRow(f"gold has no list of calls; write {_FORM}")
    known = tuple(read_call("gold: ", call) for call in calls)
    return KnownCalls(known, None if acceptable is None else _acceptable(acceptable, known))


def _acceptable(listed: Any, calls: tuple[Call, ...]) -> tuple[Acceptable, ...]:
    if not isinstance(listed, list) or not all(isinstance(each, dict) and len(each) == 1 for each in listed):
        raise InvalidRow(f'"acceptable" is not a list with an object for each call; {_ACCEPTABLE}')
    options = tuple((name, values) for each in listed for name, values in each.items())
    if Counter(name for name, _ in options) != Counter(call.name for call in calls):
        raise InvalidRow(f'"acceptable" names other functions than the calls of gold; {_ACCEPTABLE}')
    for name, values in options:
        if not isinstance(values, dict) or not all(isinstance(each, list) and each for each in values.values()):
            raise InvalidRow(f'"acceptable" of "{name}" is not an object with a list for each argument; {_ACCEPTABLE}')
    return options
