"""The parameters of a request, and what replaces those that a server does not accept."""

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
"""The names of the limit on the length of a reply."""
SCORE_PROMPT = "prompt_logprobs"
"""What asks vLLM for the log-probabilities of the prompt."""
ASK_FOR_LOGPROBS = ("logprobs", SCORE_PROMPT)
_NOT_ACCEPTED = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|not permitted|extra", re.IGNORECASE
)
_TOO_HIGH = re.compile(
    r"too (?:large|big|high|many|long)|at most|exceed|maximum|max allowed|less than|lower than|greater than|range|[<>]",
    re.IGNORECASE,
)
_JSON = re.compile(r"\A\s*(?:```(?:json)?\s*)?[{\[]")
_PLAIN_REPLIES = 3
"""How many replies that are not JSON, from the first on, show that the server ignores the response format."""


def sampling_parameters(generation: Generation, max_tokens: int, schema: dict[str, Any] | None) -> dict[str, Any]:
    """The parameters of a request to the teacher, without those that have no effect; temperature is always included.
    What the manifest adds (extraBody, reasoningEffort) is among them, and so part of the keys of replies."""
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
    parameters |= {"temperature": temperature, "max_tokens": max_tokens, **generation.teachers[0].extra_parameters}
    return parameters if schema is None else parameters | {"response_format": json_format(schema)}


def json_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` for JSON of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}


def with_logprobs(most: int) -> dict[str, Any]:
    """What asks for the log-probabilities of a reply's tokens, and of the `most` likely alternatives of each."""
    return {"logprobs": True, "top_logprobs": most}


TOKEN_IDS = {"return_tokens_as_token_ids": True}
"""What has vLLM name tokens by their ids: it decodes each by itself, and some tokenizers drop the blank before a word
then."""


def scoring_parameters(most: int) -> dict[str, Any]:
    """What asks vLLM for the log-probabilities of an unfinished last message instead of a reply, and of the `most`
    likely alternatives of each token."""
    return {
        SCORE_PROMPT: most,
        "max_tokens": 1,
        "temperature": 0,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }


def output_limit(parameters: Mapping[str, Any]) -> int | None:
    """The maximum length of a reply, in tokens; None without a limit."""
    return next((parameters[name] for name in OUTPUT_LIMITS if name in parameters), None)


def rejected_parameter(response: ErrorResponse, sent: Mapping[str, Any]) -> str | None:
    """The parameter that a response with status 400 or 422 names as its reason, if it was sent."""
    if response.status not in (400, 422):
        return None
    parameter = (response.parameter or "").partition(".")[0]
    if parameter in sent and parameter in _KNOWN:
        return parameter
    if "response_format" in sent and re.search(r"json[_ ]?(schema|object)", response.message):
        return "response_format"
    known = [name for name in _KNOWN if name in sent]
    return next((name for name in known if re.search(rf"\b{name}\b", response.message)), None)


def is_too_high(response: ErrorResponse) -> bool:
    """Whether the server accepts the rejected parameter, but not a value this high."""
    return not _NOT_ACCEPTED.search(response.description) and _TOO_HIGH.search(response.message) is not None


def without_parameter(sent: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """The parameters without one that the server rejected.

    `max_tokens` is replaced by its newer name, and a JSON schema by JSON without a schema.
    """
    kept = {name: value for name, value in sent.items() if name != parameter}
    if parameter == "max_tokens":
        kept["max_completion_tokens"] = sent["max_tokens"]
    if parameter == "response_format" and sent[parameter].get("type") == "json_schema":
        kept[parameter] = {"type": "json_object"}
    return kept


class FormatWatch:
    """Notices a server that accepts a response format and silently ignores it."""

    def __init__(self) -> None:
        self._plain = 0
        self._honoured = False

    def ignores(self, content: str) -> bool:
        """Whether this reply, which was requested as JSON, shows that the server ignores the format."""
        if self._honoured:
            return False
        self._honoured = _JSON.match(content) is not None
        self._plain += not self._honoured
        if self._honoured or self._plain < _PLAIN_REPLIES:
            return False
        self._plain = 0
        return True
