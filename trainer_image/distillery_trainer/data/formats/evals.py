"""Samples of OpenAI's evals: questions with their ideal answers, and what a run of an eval has recorded."""

from __future__ import annotations

from typing import Any

from distillery_trainer.data.formats.chat import openai_fine_tuning
from distillery_trainer.data.formats.conversation import Conversation, InvalidRow, is_empty
from distillery_trainer.data.formats.keys import unused_keys

_USED = frozenset({"input", "ideal", "item", "datasource_item", "sample"})


def openai_evals(row: dict[str, Any]) -> Conversation:
    """`{"input", "ideal"}`, with messages or text as the input and one or several ideal answers; or an output item of a
    run, `{"sample": {"input": […], "output": […]}}`, whose output is the existing reply."""
    unused = unused_keys(row, _USED)
    sample = row.get("sample")
    if isinstance(sample, dict) and not is_empty(sample.get("input")):
        messages = [*_messages(sample["input"]), *_output(sample.get("output"))]
    elif not is_empty(row.get("input")):
        messages = _messages(row["input"])
    else:
        raise InvalidRow(
            '"input" is missing; for rows of {"item": {...}} name the keys in columns, as prompt: item.question and'
            " gold: item.answer"
        )
    gold = row.get("ideal", row.get("gold"))
    found = openai_fine_tuning({"messages": messages, "gold": None if is_empty(gold) else gold, "id": row.get("id")})
    found.unused_keys = (*unused, *found.unused_keys)
    return found


def _messages(requested: Any) -> list[Any]:
    if isinstance(requested, str):
        return [{"role": "user", "content": requested}]
    if not isinstance(requested, list):
        raise InvalidRow('"input" is neither a list of messages nor text')
    return requested


def _output(output: Any) -> list[Any]:
    """The one reply of a sample."""
    if is_empty(output):
        return []
    if isinstance(output, str):
        return [{"role": "assistant", "content": output}]
    if not isinstance(output, list) or len(output) != 1:
        raise InvalidRow('"sample": the output is not one message')
    return output
