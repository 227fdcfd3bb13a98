"""Log-probabilities in the protocol's form, and in vLLM's, for a chat server that has a token model.

OpenAI states them of a reply (`logprobs: true, top_logprobs: N`), vLLM also of the text that a request ends with
(`prompt_logprobs: N`, with `continue_final_message`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chat_protocol import Message, text_of


@dataclass(frozen=True)
class WrittenToken:
    """A token of a text, and what might have stood in its place."""

    text: str
    alternatives: Mapping[str, float]
    """Probabilities of the token itself and of others, by their texts, the most likely first."""


class TokenModel(Protocol):
    """What a server knows about tokens."""

    def tokens(self, messages: Sequence[Message], text: str) -> Sequence[WrittenToken]:
        """The tokens of a text as the answer to messages."""

    def id_of(self, token: str) -> int:
        """The id of a token."""


def with_logprobs(reply: dict[str, Any], body: Mapping[str, Any], model: TokenModel, *, scores: bool) -> dict[str, Any]:
    """A completion with the log-probabilities that its request asks for; those of the prompt only where the server
    `scores` given texts."""
    if body.get("logprobs"):
        most = int(body.get("top_logprobs") or 0)
        for choice in reply["choices"]:
            tokens = model.tokens(body["messages"], choice["message"].get("content") or "")
            ids = model if scores and body.get("return_tokens_as_token_ids") else None
            choice["logprobs"] = {"content": [_entry(token, most, ids) for token in tokens]}
    if scores and "prompt_logprobs" in body:
        reply["prompt_logprobs"] = _of_prompt(body, model)
    return reply


def _entry(token: WrittenToken, most: int, ids: TokenModel | None) -> dict[str, Any]:
    """A token with its most likely alternatives, by their texts or, as vLLM does on demand, by their ids."""
    others = [_named(text, probability, ids) for text, probability in list(token.alternatives.items())[:most]]
    return {**_named(token.text, token.alternatives[token.text], ids), "top_logprobs": others}


def _named(text: str, probability: float, ids: TokenModel | None) -> dict[str, Any]:
    name = f"token_id:{ids.id_of(text)}" if ids else text
    return {"token": name, "logprob": _logarithm(probability), "bytes": list(text.encode())}


def _logarithm(probability: float) -> float:
    return math.log(probability) if probability > 0 else -9999.0


def _of_prompt(body: Mapping[str, Any], model: TokenModel) -> list[dict[str, Any] | None]:
    *before, last = body["messages"]
    most = int(body["prompt_logprobs"])
    begin = [{str(model.id_of("user")): {"logprob": -1.0, "rank": 1, "decoded_token": "user"}} for _ in before]
    return [None, *begin, *(_of_given(token, most, model) for token in model.tokens(before, text_of(last)))]


def _of_given(token: WrittenToken, most: int, model: TokenModel) -> dict[str, Any]:
    """The token that stands there first, then the most likely ones."""
    ranked = {text: rank for rank, text in enumerate(token.alternatives, start=1)}
    listed = [token.text, *(text for text in list(ranked)[:most] if text != token.text)]
    return {
        str(model.id_of(text)): {
            "logprob": _logarithm(token.alternatives[text]),
            "rank": ranked[text],
            "decoded_token": text,
        }
        for text in listed
    }
