"""The number of tokens of a text, without the teacher's own tokenizer, which only its server has.

The student's tokenizer is used if it is on this machine: on the same text, current tokenizers differ by about a tenth.
Otherwise the text is split into words, numbers and punctuation, as tokenizers do first, and each piece counts for its
typical number of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.token_estimate import PICTURE_TOKENS, TOKENS_PER_MESSAGE
from distillery_trainer.data.locations import resolve
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import text_of
from distillery_trainer.runtime.errors import UserError

_HUB = "hf://"
_TOKENIZER_FILE = "tokenizer.json"
_TOKENS_PER_REQUEST = 3
"""The tokens that start the reply."""

_PIECES = re.compile(
    r"(?P<latin>[A-Za-z\u00c0-\u024f]+)|(?P<digits>[0-9]+)|(?P<east>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+)"
    r"|(?P<letters>[^\W\d_]+)|[^\w\s]+|_+|\n+"
)
_EAST_ASIAN_TOKENS = 0.8
_OTHER_LETTER_TOKENS = 0.45
_DIGITS_PER_TOKEN = 3
_SHORT_WORD = 6
"""Letters of a Latin word that is usually one token; longer ones have one more for every eight more letters."""
_LONG_WORD_STEP = 8
_CORRECTION = 1.04
"""Fitted to English datasets; with it, each of them is within a tenth of the count of a 49,152-word tokenizer."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens of texts."""

    count: Callable[[str], float]
    basis: str
    """How tokens are counted, as part of a sentence."""
    margin: float
    """How far the count may differ from that of the teacher's own tokenizer, as a share."""

    def count_messages(self, messages: list[Message]) -> float:
        """Tokens of a chat, including those of the chat template and of its pictures."""
        texts = sum(TOKENS_PER_MESSAGE + self.count(text_of(message)) for message in messages)
        return _TOKENS_PER_REQUEST + texts + PICTURE_TOKENS * len(pictures_of(messages))


def counter_for(config: RunConfig) -> TokenCounter:
    """The student's tokenizer if it is on this machine, otherwise the approximation. Loads no model and no hub file."""
    file = _tokenizer_file(config)
    count = _with_tokenizer(file) if file else None
    if count is None:
        return TokenCounter(_cached(approximate), "tokens are approximated from words, numbers and punctuation", 0.25)
    return TokenCounter(_cached(count), "tokens are counted with the student's tokenizer", 0.15)


def approximate(text: str) -> float:
    """Tokens of a text in any script, without a tokenizer."""
    return _CORRECTION * sum(_piece_tokens(piece) for piece in _PIECES.finditer(text))


def _piece_tokens(piece: re.Match[str]) -> float:
    length = piece.end() - piece.start()
    match piece.lastgroup:
        case "latin":
            return 1 + max(0, length - _SHORT_WORD) / _LONG_WORD_STEP
        case "digits":
            return -(-length // _DIGITS_PER_TOKEN)
        case "east":
            return length * _EAST_ASIAN_TOKENS
        case "letters":
            return length * _OTHER_LETTER_TOKENS
        case _:
            return 1


def _cached(count: Callable[[str], float]) -> Callable[[str], float]:
    """The same count, cached for repeated texts such as system prompts."""
    return lru_cache(maxsize=256)(count)


def _with_tokenizer(file: Path) -> Callable[[str], float] | None:
    from tokenizers import Tokenizer  # most commands need none

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower; the train stage reports the problem
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _tokenizer_file(config: RunConfig) -> Path | None:
    uri = config.student.model.uri
    if uri.startswith(_HUB):
        return _from_hub_cache(uri)
    try:
        file = Path(resolve(uri, config, "student.model.uri")) / _TOKENIZER_FILE
    except UserError:  # not mounted in this stage
        return None
    return file if file.is_file() else None


def _from_hub_cache(uri: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = uri.removeprefix(_HUB).partition("@")
    found = try_to_load_from_cache(name, _TOKENIZER_FILE, revision=revision or None)
    return Path(found) if isinstance(found, str) else None
