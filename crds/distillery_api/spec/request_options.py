"""What a request to a remote model carries beside messages and sampling: for one provider or gateway only.

Values that are secret come from Secrets: manifests, logs and status show all others.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from distillery_api.base import ApiModel, NotIdentity, Rule, matches
from distillery_api.spec.fields import SecretKeyReference

_RESERVED_HEADERS = (
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
)
_SECRET_HEADERS = (
    "api-key",
    "authorization",
    "cookie",
    "ocp-apim-subscription-key",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
)
_OWN_FIELDS = {
    "model": "model",
    "messages": "data",
    "temperature": "generation.sampling.temperature",
    "top_p": "generation.sampling.topP",
    "max_tokens": "generation.sampling.maxTokens",
    "max_completion_tokens": "generation.sampling.maxTokens",
    "frequency_penalty": "generation.sampling.frequencyPenalty",
    "presence_penalty": "generation.sampling.presencePenalty",
    "stop": "generation.sampling.stop",
    "n": "generation.samples",
    "reasoning_effort": "reasoningEffort",
    "response_format": "task",
    "tools": "data",
}
"""Keys of a request that fields of the manifest decide."""
_STREAMS = ("stream", "stream_options")
_MAX_BYTES = 16 * 1024
_MAX_DEPTH = 10


def _body_problem(body: dict[str, Any]) -> str | None:
    """What is wrong with the extra body, as the end of a sentence."""
    for key in body:
        if key in _OWN_FIELDS:
            return f"extraBody has {key}, which {_OWN_FIELDS[key]} sets; remove it there"
        if key in _STREAMS:
            return f"extraBody has {key}, but replies are never streamed; remove it"
    if _depth(body) > _MAX_DEPTH:
        return f"extraBody is nested in more than {_MAX_DEPTH} levels; flatten it"
    if _has_odd_number(body):
        return "extraBody has a number that JSON has not (NaN or an infinity); remove it"
    if len(json.dumps(body)) > _MAX_BYTES:
        return f"extraBody is longer than {_MAX_BYTES:,} bytes of JSON; shorten it"
    return None


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _has_odd_number(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_odd_number, inner)) or (isinstance(value, float) and not math.isfinite(value))


def _checked_body(body: dict[str, Any]) -> dict[str, Any]:
    if problem := _body_problem(body):
        raise PydanticCustomError("rule", "{message}", {"message": problem})
    return body


ExtraBody = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], JsonValue],
    Field(min_length=1, max_length=50),
    AfterValidator(_checked_body),
    # CEL cannot look into an object without a schema; the operator and the command line check it.
    WithJsonSchema({"type": "object", "maxProperties": 50, "x-kubernetes-preserve-unknown-fields": True}),
]
_Value = Annotated[
    str,
    Field(max_length=1000),
    matches(r"^[!-~]([ -~]*[!-~])?$", "not a value that can be sent; use printable ASCII without spaces around it"),
]


def _has_one_value(given: Header | QueryParameter) -> bool:
    return (given.value is None) != (given.secret is None)


def _names_key_of_secret(header: Header) -> bool:
    return header.value is None or header.name.lower() not in _SECRET_HEADERS


_ONE_VALUE = Rule(
    "has(self.value) != has(self.secret)",
    "set either value, or secret with the secretName and the key that hold it",
    _has_one_value,
)


class Header(ApiModel):
    """A header of each request."""

    name: Annotated[
        str,
        Field(max_length=100),
        matches("^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$", "not the name of a header; use letters, digits and -"),
        Rule(
            f"!(self.lowerAscii() in {list(_RESERVED_HEADERS)})",
            f"is set by the client itself, as are {', '.join(_RESERVED_HEADERS)}; remove it",
            lambda name: name.lower() not in _RESERVED_HEADERS,
        ),
    ]
    """Name of the header."""
    value: _Value | None = None
    """Its value, if that is no secret. Set either this or secret."""
    secret: Annotated[SecretKeyReference | None, NotIdentity] = None
    """Secret with its value. Set either this or value."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _ONE_VALUE,
        Rule(
            f"!has(self.value) || !(self.name.lowerAscii() in {list(_SECRET_HEADERS)})",
            "the value of this header is a key, which anyone could read here; name the Secret that holds it in secret",
            _names_key_of_secret,
        ),
    )


class QueryParameter(ApiModel):
    """A parameter in the URL of each request."""

    name: Annotated[
        str,
        Field(max_length=100),
        matches("^[-._~$a-zA-Z0-9]+$", "not the name of a parameter; use letters, digits, -, _, . and ~"),
    ]
    """Name of the parameter, such as api-version."""
    value: _Value | None = None
    """Its value, if that is no secret. Set either this or secret."""
    secret: SecretKeyReference | None = None
    """Secret with its value. Set either this or value."""

    rules: ClassVar[tuple[Rule, ...]] = (_ONE_VALUE,)


class RequestOptions(ApiModel):
    """What all requests to a model carry beside messages and sampling."""

    reasoning_effort: (
        Annotated[str, Field(max_length=20), matches("^[a-z]+$", "not an effort; use for example low, medium or high")]
        | None
    ) = None
    """How long a reasoning model reasons: reasoning_effort of its API, such as minimal, low, medium or high. Default:
    the server's."""
    extra_body: ExtraBody | None = None
    """Further keys of each request, as JSON, for example {chat_template_kwargs: {enable_thinking: false}}. Not
    messages, stream, or what another field sets. Default: none."""
    headers: Annotated[tuple[Header, ...], Field(min_length=1, max_length=16)] | None = None
    """Headers of each request. Default: none."""
    query: Annotated[Annotated[tuple[QueryParameter, ...], Field(min_length=1, max_length=8)] | None, NotIdentity] = (
        None
    )
    """Parameters in the URL of each request. Default: none."""

    @property
    def extra_parameters(self) -> dict[str, Any]:
        """What the body of each request has of these options."""
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return {**effort, **(self.extra_body or {})}

    @property
    def request_secrets(self) -> tuple[SecretKeyReference, ...]:
        """The Secrets with values of headers and of parameters."""
        given: list[Header | QueryParameter] = [*(self.headers or ()), *(self.query or ())]
        return tuple(each.secret for each in given if each.secret is not None)

    def sends(self, header: str) -> bool:
        """Whether a header of this name, in lower case, is given."""
        return any(each.name.lower() == header for each in self.headers or ())
