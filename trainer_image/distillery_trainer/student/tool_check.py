"""Whether a student's chat template can be trained to call tools: it writes them, and what it writes is read again."""

from __future__ import annotations

from typing import Any

from distillery_api.runtime.tool_call_parser import parser_of
from distillery_trainer.data.rows import Message, Rejection
from distillery_trainer.data.tool_calls import Call, Tool, call_id, name_of, numbered
from distillery_trainer.data.tool_messages import with_tools
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.student.chat_template import render
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import IGNORED, RowEncoder

_PROBE: Tool = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Distillery asks whether tools are rendered.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}, "limit": {"type": "integer"}}},
    },
}
_CALLS = [
    Call("look_up", {"text": 'An "ä" and a\nline', "limit": 3}),
    Call("look_up", {"text": "B", "more": {"deep": [1.5, True]}}),
]
_ANSWER: Message = {"role": "assistant", "content": "B"}
_CHAT: list[Message] = [{"role": "system", "content": "A"}, {"role": "user", "content": "A"}]
_REMEDY = "set student.toolFormat to Hermes, or use a model whose template calls tools."


def check_tools(base: ModelFolder, encoder: RowEncoder) -> None:
    """Check that the student's chat template writes tools, and calls that are read again as they were. Raises
    InvalidModel."""
    chat = with_tools(_CHAT, [_PROBE])
    prompt = _rendered(base, chat)
    if name_of(_PROBE) not in prompt or _PROBE["function"]["description"] not in prompt:
        raise InvalidModel(base.uri, f"the chat template does not write tools; {_REMEDY}")
    calls: Message = {"role": "assistant", "content": "", "tool_calls": numbered(_CALLS)}
    written = _written(base, encoder, chat, calls)
    if read_calls(written) != _CALLS:
        raise InvalidModel(
            base.uri, f"the chat template writes calls in a form that is not read here ({written[:200]!r}); {_REMEDY}"
        )
    if parser_of(str(base.tokenizer.chat_template)) is None:
        raise InvalidModel(base.uri, f"no parser of vLLM is known for the calls of its chat template; {_REMEDY}")
    results: list[Message] = [
        {"role": "tool", "content": f"result {number}", "tool_call_id": call_id(number)} for number in (1, 2)
    ]
    _written(base, encoder, [*chat, calls, *results], _ANSWER)
    if "result 2" not in _rendered(base, [*chat, calls, *results]):
        raise InvalidModel(base.uri, f"the chat template does not write the results of calls; {_REMEDY}")


def _rendered(base: ModelFolder, messages: list[Message]) -> str:
    try:
        return render(base.tokenizer, base.uri, messages, add_generation_prompt=True)
    except InvalidModel as error:
        raise InvalidModel(base.uri, f"{error.problem.rstrip('.')}. Or {_REMEDY}") from error


def _written(base: ModelFolder, encoder: RowEncoder, prompt: list[Message], answer: Message) -> str:
    """The text that the student is trained to write for an answer. Raises InvalidModel where it cannot be."""
    row: dict[str, Any] = {"prompt": prompt, "completion": [answer]}
    try:
        encoded = encoder.encode(row)
    except InvalidModel as error:
        raise InvalidModel(base.uri, f"{error.problem.rstrip('.')}. Or {_REMEDY}") from error
    if isinstance(encoded, Rejection):
        raise InvalidModel(base.uri, f"the chat template is not suitable for tools: {encoded.message} {_REMEDY}")
    ids = [label for label in encoded.labels if label != IGNORED]
    return str(base.tokenizer.decode(ids, skip_special_tokens=True)).strip()
