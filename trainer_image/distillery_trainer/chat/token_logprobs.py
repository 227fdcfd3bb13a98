"""The log-probabilities of a reply's tokens, as servers send them, and in the few bytes in which they are stored.

OpenAI's form names tokens by their text, in `choices[0].logprobs.content`; vLLM names them by their ids there where it
is asked to (`return_tokens_as_token_ids`), and always in `prompt_logprobs`, the log-probabilities of a text that it was
given and did not write itself.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Token = str | int
"""A token: its text, or its id where the server states that. Bytes that are no text are lone surrogates, as in Python's
`surrogateescape`."""

MOST_ALTERNATIVES = 20
"""Tokens that a server states for one position at most, beside the one that stands there."""
LEAST_PROBABILITY = 1e-4
"""Less likely alternatives are left out: their probability counts as that of all other tokens together."""
_LEAST = math.log(LEAST_PROBABILITY)
_LOWEST = -9999.0
"""What servers send for a probability of 0."""
_TOKEN_ID = re.compile(r"token_id:([0-9]{1,9})")
_ERRORS = "surrogateescape"
_MOST_BYTES = 16 * 1024 * 1024
"""Of unpacked log-probabilities; a longer reply has no answer that a student could learn."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token of a text, and what else might have stood in its place."""

    text: str
    """The token's text."""
    alternatives: tuple[tuple[Token, float], ...]
    """The token itself, then the most likely others, each with its natural log-probability."""


def text_bytes(text: str) -> bytes:
    """The bytes of a token's text."""
    return text.encode("utf-8", _ERRORS)


def joined_bytes(positions: Iterable[Position]) -> bytes:
    """The text of consecutive positions: a character may be in several tokens."""
    return b"".join(text_bytes(position.text) for position in positions)


def without_blanks(text: bytes) -> bytes:
    """A text without any white space."""
    return b"".join(text.split())


# --- as servers send them


def read_content(logprobs: Any) -> list[Position]:
    """The positions in the `logprobs` of a choice, in OpenAI's form; none for anything else."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return []
    positions = [_position(entry) for entry in content]
    return [position for position in positions if position] if all(positions) else []


def _position(entry: Any) -> Position | None:
    token = _token(entry)
    value = _value(entry.get("logprob")) if token is not None else None
    if token is None or value is None:
        return None
    listed = entry.get("top_logprobs")
    others = [(_token(each), _value(each.get("logprob"))) for each in listed or [] if isinstance(each, dict)]
    return Position(_text(entry), _alternatives(token, value, others))


def _token(entry: Any) -> Token | None:
    """The token of an entry: its id where it is stated, else its text."""
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    found = _TOKEN_ID.fullmatch(entry["token"])
    return int(found[1]) if found else _text(entry)


def _text(entry: Mapping[str, Any]) -> str:
    listed = entry.get("bytes")
    if isinstance(listed, list) and all(isinstance(each, int) and 0 <= each < 256 for each in listed):
        return bytes(listed).decode("utf-8", _ERRORS)
    return str(entry["token"])


def _value(logprob: Any) -> float | None:
    if not isinstance(logprob, int | float) or isinstance(logprob, bool) or math.isnan(logprob):
        return None
    return max(_LOWEST, min(0.0, float(logprob)))


def _alternatives(
    token: Token, value: float, others: Iterable[tuple[Token | None, float | None]]
) -> tuple[tuple[Token, float], ...]:
    likely = {other: logprob for other, logprob in others if other is not None and logprob is not None}
    likely.pop(token, None)
    ordered = sorted(((other, logprob) for other, logprob in likely.items() if logprob > _LEAST), key=lambda x: -x[1])
    return ((token, value), *ordered[:MOST_ALTERNATIVES])


def read_prompt(logprobs: Any, given: str) -> list[Position]:
    """The positions of `given`, the text with which a prompt ends, in vLLM's `prompt_logprobs`; none for anything else.

    A position is `{id: {"logprob", "decoded_token"}, …}`, with the token that stands there first. Before a text that
    begins within a token stands the rest of that token. Blanks are not counted: a server may have lost those before
    words.
    """
    positions: list[Position] = []
    missing = len(without_blanks(given.encode("utf-8", "replace")))
    for entry in reversed(logprobs if isinstance(logprobs, list) else []):
        if missing <= 0:
            break
        position = _prompt_position(entry)
        if position is None:
            return []
        positions.append(position)
        missing -= len(without_blanks(text_bytes(position.text)))
    return positions[::-1] if missing <= 0 else []


def _prompt_position(entry: Any) -> Position | None:
    if not isinstance(entry, dict):
        return None
    stated = [(int(name), each) for name, each in entry.items() if name.isdecimal() and isinstance(each, dict)]
    values = [(token, _value(each.get("logprob"))) for token, each in stated]
    if not stated or values[0][1] is None or not isinstance(stated[0][1].get("decoded_token"), str):
        return None
    return Position(stated[0][1]["decoded_token"], _alternatives(values[0][0], values[0][1], values[1:]))


# --- as they are stored


def pack(positions: Sequence[Position]) -> str:
    """The positions as text: the tokens as JSON, then the log-probabilities as half-precision numbers, compressed."""
    tokens = [[position.text, *(token for token, _ in position.alternatives)] for position in positions]
    values = [value for position in positions for _, value in position.alternatives]
    content = json.dumps(tokens, separators=(",", ":")).encode() + b"\n" + struct.pack(f"<{len(values)}e", *values)
    return base64.b64encode(zlib.compress(content, 9)).decode()


def unpack(packed: str) -> list[Position]:
    """The positions of a packed text. Raises ValueError where it is damaged."""
    try:
        tokens, values = _unpacked(packed)
    except (ValueError, zlib.error, struct.error, TypeError) as error:
        raise ValueError(f"damaged log-probabilities ({error})") from error
    return [Position(text, tuple((token, next(values)) for token in row)) for text, *row in tokens]


def _unpacked(packed: str) -> tuple[list[list[Any]], Any]:
    content = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
    head, _, rest = content.partition(b"\n")
    tokens = json.loads(head)
    count = sum(len(row) - 1 for row in tokens)
    return tokens, iter(struct.unpack(f"<{count}e", rest))
