"""Rows in which a model may call tools. Whatever their form, they are read into OpenAI's: tools as JSON schemas of
functions, calls in the assistant's messages, each result in a message of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from distillery_trainer.data.formats import hermes
from distillery_trainer.data.formats.calls import call_list, loaded, read_call
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    checked_id,
    is_empty,
    need_text,
    plain_text,
    quoted,
    text_problem,
)
from distillery_trainer.data.formats.keys import is_blank
from distillery_trainer.data.formats.known_calls import gold_text
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_calls import Tool, ToolCall, name_of, numbered
from distillery_trainer.data.tool_messages import text_of
from distillery_trainer.data.tool_schemas import schema_problem
from distillery_trainer.runtime.files import ROW_LIMIT

TOOL_ROLES = ("tool", "function", "ipython", "observation", "function_response", "tool_response")
"""Who speaks where a tool's result is told."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FORM = '{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}'
_NO_PARAMETERS = {"type": "object", "properties": {}}


def is_about_tools(turns: Sequence[Any], tools: Any) -> bool:
    """Whether a row has tools, calls or results, in any form."""
    return not is_blank(tools) or any(map(_is_about_tools, turns))


def _is_about_tools(turn: Any) -> bool:
    if not isinstance(turn, dict):
        return False
    content = turn.get("content")
    return (
        turn.get("role") == "tool"
        or not is_blank(turn.get("tool_calls"))
        or (turn.get("role") == "system" and isinstance(content, str) and hermes.tools_in(content) is not None)
    )


def tool_conversation(
    turns: Sequence[dict[str, Any]], tools: Any, gold: Any = None, acceptable: Any = None, row_id: Any = None
) -> Conversation:
    """The conversation of `turns`: role (system, user, assistant or tool), content, and where there are any
    `tool_calls` and `tool_call_id`. Raises InvalidRow."""
    described = None
    if is_blank(tools) and turns and turns[0]["role"] == "system" and isinstance(turns[0].get("content"), str):
        described = hermes.tools_in(turns[0]["content"])
    if described is not None:
        system = hermes.without_tools(turns[0]["content"])
        turns = [*([{**turns[0], "content": system}] if system else []), *turns[1:]]
    read = read_tools(described or tools)
    messages = _Messages().read(turns)
    _check_order(messages)
    if sum(len(text_of(message)) for message in messages) + len(orjson.dumps(read)) > ROW_LIMIT:
        raise InvalidRow(f"the row is longer than {ROW_LIMIT:,} characters; split or shorten it")
    return Conversation(messages, gold_text(gold, acceptable), checked_id(row_id), tools=read)


# --- tools


def read_tools(value: Any) -> list[Tool]:
    """The tools of a row, also as JSON text. Raises InvalidRow."""
    value = loaded(value, '"tools"') if isinstance(value, str) and not is_blank(value) else value
    if is_blank(value):
        return []
    if not isinstance(value, list):
        raise InvalidRow(f'"tools" is not a list; write [{_FORM}]')
    tools = [_tool(f"tool {number}", tool) for number, tool in enumerate(value, start=1)]
    names = [name_of(tool) for tool in tools]
    if repeated := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise InvalidRow(f'two tools have the name "{repeated}"; rename or remove one')
    return tools


def _tool(where: str, tool: Any) -> Tool:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        raise InvalidRow(f"{where}: not an object; write {_FORM}")
    if tool.get("type", "function") != "function" and "function" not in tool and "parameters" not in tool:
        raise InvalidRow(f"{where}: the type {quoted(tool['type'])} is not supported; only functions are")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRow(
            f"{where}: the name {quoted(name)} is not one of 1 to 64 letters, digits, dots, dashes and underscores"
        )
    where = f'{where} ("{name}")'
    described = {} if is_empty(function.get("description")) else {"description": function["description"]}
    if described:
        need_text(described["description"], f"{where}: the description")
    return {"type": "function", "function": {"name": name, **described, "parameters": _parameters(where, function)}}


def _parameters(where: str, function: dict[str, Any]) -> Any:
    given = function.get("parameters", function.get("input_schema"))
    parameters = loaded(given, f"{where}: the parameters") if isinstance(given, str) else given
    if parameters is None or parameters == {}:
        return _NO_PARAMETERS
    if isinstance(parameters, dict) and "type" not in parameters and "properties" not in parameters:
        raise InvalidRow(
            f'{where}: the parameters are not a schema of an object; write {{"type": "object", "properties": {{…}}}}'
        )
    if problem := schema_problem(parameters):
        raise InvalidRow(f"{where}: the parameters {problem}")
    return parameters


# --- messages


class _Messages:
    """Reads the messages of one row: each call gets an id, and each result that of its call."""

    def __init__(self) -> None:
        self._calls = 0
        self._open: list[tuple[Any, str]] = []
        """The calls without a result so far: the id in the row, and ours."""

    def read(self, turns: Sequence[dict[str, Any]]) -> list[Message]:
        """The messages. Raises InvalidRow."""
        messages: list[Message] = []
        for number, turn in enumerate(turns, start=1):
            where = f"message {number}: "
            messages += self._results(where, turn) if turn["role"] == "tool" else [self._message(where, turn)]
        if self._open and messages[-1]["role"] != "assistant":
            raise InvalidRow(f"the last call has no result; {_ONE_RESULT_EACH}")
        return messages

    def _message(self, where: str, turn: dict[str, Any]) -> Message:
        if self._open:
            raise InvalidRow(f"{where}{len(self._open)} calls before it have no result; {_ONE_RESULT_EACH}")
        content = plain_text(turn.get("content"))
        if turn["role"] == "assistant" and (calls := self._numbered(where, turn, content)):
            said = hermes.outside(content, hermes.CALL) if isinstance(content, str) else ""
            return {"role": "assistant", "content": said, "tool_calls": calls}
        if problem := text_problem(content):
            raise InvalidRow(f"{where}the content {problem}")
        return {"role": turn["role"], "content": content}

    def _numbered(self, where: str, turn: dict[str, Any], content: Any) -> list[ToolCall]:
        given = turn.get("tool_calls")
        raw = [] if is_blank(given) else call_list(where, given)
        if not raw and isinstance(content, str) and hermes.CALL[0] in content:
            raw = [loaded(block, f"{where}a call") for block in hermes.blocks(content, hermes.CALL)]
        calls = numbered([read_call(where, call) for call in raw], self._calls)
        self._calls += len(calls)
        self._open = [(one.get("id"), call["id"]) for one, call in zip(raw, calls, strict=True)]
        return calls

    def _results(self, where: str, turn: dict[str, Any]) -> list[Message]:
        texts = _result_texts(turn.get("content"), len(self._open))
        for text in texts:
            if not isinstance(text, str) or "\0" in text:
                raise InvalidRow(f"{where}the content {text_problem(text)}")
        return [
            {"role": "tool", "content": text, "tool_call_id": self._answered(where, turn.get("tool_call_id"))}
            for text in texts
        ]

    def _answered(self, where: str, given: Any) -> str:
        """The id of the call that a result belongs to: the one that it names, else the next one."""
        if not self._open:
            raise InvalidRow(f"{where}a result without a call before it; {_ONE_RESULT_EACH}")
        named = [pair for pair in self._open if given is not None and pair[0] == given]
        known = any(pair[0] is not None for pair in self._open)
        if given is not None and known and not named:
            raise InvalidRow(f"{where}the result names the call {quoted(given)}, which is not made before it")
        pair = named[0] if named else self._open[0]
        self._open.remove(pair)
        return pair[1]


_ONE_RESULT_EACH = "write one result for each call, right after the message with the calls"


def _result_texts(content: Any, calls: int) -> list[Any]:
    """The results in one message: as many as there are calls where it holds a list or several blocks of them."""
    if isinstance(content, str) and hermes.RESULT[0] in content:
        return list(hermes.blocks(content, hermes.RESULT))
    if isinstance(content, dict):
        return [orjson.dumps(content).decode()]
    text = plain_text(content) if _is_parts(content) else content
    listed = _list_in(text)
    if calls > 1 and listed is not None and len(listed) == calls:
        return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in listed]
    return [text if isinstance(text, str) or text is None else orjson.dumps(text).decode()]


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content)


def _list_in(text: Any) -> list[Any] | None:
    if isinstance(text, list):
        return text
    try:
        value = orjson.loads(text) if isinstance(text, str) and text.lstrip().startswith("[") else None
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _check_order(messages: Sequence[Message]) -> None:
    """Raise InvalidRow unless user and assistant alternate, with the results of calls between two of the assistant's
    messages."""
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not any(message["role"] == "user" for message in turns):
        raise InvalidRow("the row has no user message")
    expected = {"user"}
    for message in turns:
        if message["role"] not in expected:
            order = ", ".join(each["role"] for each in messages)
            raise InvalidRow(
                f"wrong order of roles ({order}); write an optional system message, then user and assistant in turn,"
                " and the results of an assistant's calls before its next message"
            )
        calls = message["role"] == "assistant" and "tool_calls" in message
        expected = {
            "user": {"assistant"},
            "tool": {"tool", "assistant"},
            "assistant": {"tool"} if calls else {"user"},
        }[message["role"]]
