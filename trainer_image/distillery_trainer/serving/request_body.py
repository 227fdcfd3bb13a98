"""The body of a request, checked: a field that this server would ignore, or that could harm it, is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

_NO_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream_options": ({"include_usage": True},),
    "suffix": ("",),
    "temperature": (0,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}
"""Values of fields that ask for what the server does anyway. With another value, the field is refused."""
_WITHOUT_EFFECT = frozenset({"metadata", "seed", "top_k", "top_p", "user"})
"""Fields that change nothing whatever they say: labels, and sampling where nothing is sampled."""


class RefusedRequest(Exception):
    """A request that is not answered. The message says which field is wrong, and what to do."""


class _TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class _PictureUrl(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: str
    """Nothing is fetched for a request: a picture is in it."""
    detail: Literal["auto"] = "auto"


class _PicturePart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["image_url"]
    image_url: _PictureUrl


_Part = Annotated[_TextPart | _PicturePart, Field(discriminator="type")]


class _CalledFunction(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    arguments: str = "{}"


class _ToolCall(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction

    def to_call(self) -> dict[str, Any]:
        """The call with its arguments as an object, or as the text that they are where it is no JSON."""
        try:
            arguments = orjson.loads(self.function.arguments)
        except orjson.JSONDecodeError:
            raise RefusedRequest(f"messages: the arguments of {self.function.name[:80]} are not JSON") from None
        return {"id": self.id, "type": "function", "function": {"name": self.function.name, "arguments": arguments}}


class _Function(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    name: str


class _Tool(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: _Function


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Annotated[list[_Part], Field(min_length=1)] | None = None
    tool_calls: Annotated[list[_ToolCall], Field(min_length=1)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise PydanticCustomError("content", "a message needs content")
        if self.role != "user" and isinstance(self.read_content, list):
            raise PydanticCustomError("content", "only the user's messages may have pictures")
        return self

    @property
    def read_content(self) -> str | list[dict[str, Any]]:
        """The content as one text, or as parts where pictures are among them."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        if any(isinstance(part, _PicturePart) for part in self.content):
            return [part.model_dump() for part in self.content]
        return "".join(part.text for part in self.content if isinstance(part, _TextPart))

    def to_message(self) -> dict[str, Any]:
        """The message as chat templates read it."""
        calls = {"tool_calls": [call.to_call() for call in self.tool_calls]} if self.tool_calls else {}
        result = {"tool_call_id": self.tool_call_id} if self.tool_call_id else {}
        return {"role": self.role, "content": self.read_content, **calls, **result}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool = False


class ChatRequest(_Request):
    """The body of a chat completion."""

    messages: Annotated[list[_Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[_Tool] | None = None

    def to_body(self) -> dict[str, Any]:
        """The request as the Transformers library's handler takes it."""
        if self.tools and self.stream:
            raise RefusedRequest("stream: not supported by this server together with tools; remove it")
        messages = [each.to_message() for each in self.messages]
        limit = self.max_completion_tokens or self.max_tokens
        body = {"model": self.model, "messages": messages, "max_tokens": limit, "stream": self.stream}
        return body | ({"tools": [tool.model_dump() for tool in self.tools]} if self.tools else {})


class CompletionRequest(_Request):
    """The body of a completion."""

    prompt: Annotated[str, Field(min_length=1)]

    def to_body(self) -> dict[str, Any]:
        """The request as the Transformers library's handler takes it."""
        return {"model": self.model, "prompt": self.prompt, "max_tokens": self.max_tokens, "stream": self.stream}


def read_request(
    content: bytes, kind: type[ChatRequest] | type[CompletionRequest], served: Sequence[str]
) -> dict[str, Any]:
    """The request to the model with the names `served` for a handler of the Transformers library, under its first
    name. Raises RefusedRequest."""
    fields = _fields(content)
    try:
        request = TypeAdapter(kind).validate_python(fields)
    except ValidationError as error:
        raise RefusedRequest(_sentence(error)) from None
    if request.model not in served:
        raise RefusedRequest(f"model: this server has only {', '.join(served)}")
    return request.to_body() | {"model": served[0]}


def _fields(content: bytes) -> dict[str, Any]:
    """The fields that mean something here."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise RefusedRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise RefusedRequest("the body is not a JSON object")
    without = {"tools"} if body.get("tool_choice") == "none" else set()
    return {name: value for name, value in body.items() if name not in without and not _has_no_effect(name, value)}


def _has_no_effect(name: str, value: Any) -> bool:
    return value is None or name in _WITHOUT_EFFECT or value in _NO_EFFECT.get(name, ())


def _sentence(error: ValidationError) -> str:
    """The first problem."""
    problem = error.errors(include_input=False, include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        return f"{'.'.join(path)[:200]}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    name = ".".join(path)[:200]
    if name == "temperature":
        return "temperature: this server always gives the most likely answer; remove it, or send 0"
    return f"{name}: not supported by this server with this value; remove it"
