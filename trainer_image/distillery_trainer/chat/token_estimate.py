"""How many tokens a request and its reply have, without the model's tokenizer, which only the server has."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.chat.reply import Reply
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import text_of

TOKENS_PER_MESSAGE = 4
"""The role and the special tokens around a message, in most chat templates."""
_MAX_TOKENS_PER_MESSAGE = 2 * TOKENS_PER_MESSAGE
"""For an upper bound: twice the usual number, so that the bound holds for other templates as well."""
_SERVER_TOKENS = 32
"""For an upper bound: tokens that a server adds to a prompt by itself, until more are observed."""
_USUAL_TOKENS_PER_BYTE = 0.25
PICTURE_TOKENS = 1024
"""What a picture is expected to take until the server has counted some: servers differ from 85 to several thousand."""
_PICTURE_BYTES = round(PICTURE_TOKENS / _USUAL_TOKENS_PER_BYTE)
"""As many bytes of text take as many tokens. For an upper bound, each of them is a token."""
_PRIOR_BYTES = 4096
"""Weight of the usual tokens per byte: as if it had been observed for this many bytes."""


class TokenEstimate:
    """Estimates tokens of one model's texts, from the prompts whose tokens the server has counted so far."""

    def __init__(self) -> None:
        self._server_tokens = _SERVER_TOKENS
        self._bytes = float(_PRIOR_BYTES)
        self._tokens = _PRIOR_BYTES * _USUAL_TOKENS_PER_BYTE

    def at_most(self, messages: Sequence[Message]) -> int:
        """An upper bound for a prompt's tokens: tokenizers make at most one token per byte.

        What the server adds by itself counts as the most that was observed.
        """
        return _size(messages) + _MAX_TOKENS_PER_MESSAGE * len(messages) + self._server_tokens

    def expected(self, size: int) -> int:
        """The expected tokens of a text of `size` bytes: at the observed mean, a quarter of the bytes at first."""
        return round(size * self._tokens / self._bytes)

    def of_prompt(self, messages: Sequence[Message]) -> int:
        """The expected tokens of a prompt."""
        return self.expected(_size(messages))

    def of_reply(self, reply: Reply) -> int:
        """The expected tokens of a reply, reasoning included."""
        return self.expected(len(reply.content.encode()) + len((reply.reasoning or "").encode()))

    def learn(self, messages: Sequence[Message], tokens: int) -> None:
        """Take a prompt's real number of tokens into account."""
        size = _size(messages)
        self._bytes += size
        self._tokens += tokens
        self._server_tokens = max(self._server_tokens, tokens - size - _MAX_TOKENS_PER_MESSAGE * len(messages))


def _size(messages: Sequence[Message]) -> int:
    """Bytes of the text, and what stands for the pictures."""
    text = sum(len(text_of(message).encode()) for message in messages)
    return text + _PICTURE_BYTES * len(pictures_of(messages))
