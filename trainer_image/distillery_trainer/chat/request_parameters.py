"""The parameters of a request, and what becomes of those that a server does not take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from distillery_api.spec import Generation
from distillery_trainer.chat.error_responses import ErrorResponse

_KNOWN = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "response_format",
)
OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens")
"""The names of the limit on a reply's length."""
_NOT_TAKEN = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|not permitted|extra", re.IGNORECASE
)
_TOO_MUCH = re.compile(
    r"too (?:large|big|high|many|long)|at most|exceed|maximum|max allowed|less than|lower than|greater than|range|[<>]",
    re.IGNORECASE,
)
_JSON = re.compile(r"\A\s*(?:```(?:json)?\s*)?[{\[]")
_PLAIN_REPLIES = 3
"""Replies that are no JSON, one after the other from the first on, that show a response format to be ignored."""


def sampling_parameters(generation: Generation, max_tokens: int, schema: dict[str, Any] | None) -> dict[str, Any]:
    """The request's parameters, without those that have their neutral value; the temperature always stands there."""
    sampling = generation.sampling
    top_p = generation.top_p_by_default if sampling.top_p is None else sampling.top_p
    temperature = generation.temperature_by_default if sampling.temperature is None else sampling.temperature
    chosen = {
        "top_p": (top_p, 1),
        "frequency_penalty": (sampling.frequency_penalty, 0),
        "presence_penalty": (sampling.presence_penalty, 0),
        "stop": (sampling.stop, None),
    }
    parameters: dict[str, Any] = {name: value for name, (value, neutral) in chosen.items() if value != neutral}
    parameters |= {"temperature": temperature, "max_tokens": max_tokens}
    return parameters if schema is None else parameters | {"response_format": json_format(schema)}


def json_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` that asks for JSON of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}


def output_limit(parameters: Mapping[str, Any]) -> int | None:
    """The longest reply, in tokens; None where nothing limits it."""
    return next((parameters[name] for name in OUTPUT_LIMITS if name in parameters), None)


def refused_parameter(refusal: ErrorResponse, sent: Mapping[str, Any]) -> str | None:
    """The parameter that a 400 or 422 complains about, if it was sent."""
    if refusal.status not in (400, 422):
        return None
    named = refusal.error.get("param")
    if isinstance(named, str) and (parameter := named.partition(".")[0]) in sent and parameter in _KNOWN:
        return parameter
    if "response_format" in sent and re.search(r"json[_ ]?(schema|object)", refusal.text):
        return "response_format"
    known = [name for name in _KNOWN if name in sent]
    return next((name for name in known if re.search(rf"\b{name}\b", refusal.text)), None)


def is_too_much(refusal: ErrorResponse) -> bool:
    """Whether a refused parameter is one that the server takes, but not with so high a value."""
    return not _NOT_TAKEN.search(f"{refusal.code} {refusal.text}") and _TOO_MUCH.search(refusal.text) is not None


def without_parameter(sent: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """The parameters without one that the server refused.

    `max_tokens` goes by its newer name instead, and a JSON schema becomes the plain wish for JSON.
    """
    kept = {name: value for name, value in sent.items() if name != parameter}
    if parameter == "max_tokens":
        kept["max_completion_tokens"] = sent["max_tokens"]
    if parameter == "response_format" and sent[parameter].get("type") == "json_schema":
        kept[parameter] = {"type": "json_object"}
    return kept


class FormatWatch:
    """Notices a server that takes a response format without a word and then ignores it."""

    def __init__(self) -> None:
        self._plain = 0
        self._honoured = False

    def ignores(self, content: str) -> bool:
        """Whether this reply, asked for as JSON, shows that the format is ignored."""
        if self._honoured:
            return False
        self._honoured = _JSON.match(content) is not None
        self._plain += not self._honoured
        if self._honoured or self._plain < _PLAIN_REPLIES:
            return False
        self._plain = 0
        return True
