"""How many tokens a request and its reply have, without the model's tokenizer, which only the server has."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.chat.reply import Reply
from distillery_trainer.data.records import Message

TOKENS_PER_MESSAGE = 4
"""The role and the special tokens around a message, in most chat templates."""
_MOST_TOKENS_PER_MESSAGE = 2 * TOKENS_PER_MESSAGE
"""Twice the usual number, as an upper bound that holds for unusual templates as well."""
_MOST_EXTRA_TOKENS = 32
"""Tokens that a server may add to a prompt by itself, such as a default system prompt."""
_USUAL_TOKENS_PER_BYTE = 0.25
_PRIOR_BYTES = 4096
"""How many bytes the usual ratio counts for, beside the bytes of the prompts that were counted."""


class TokenEstimate:
    """How many tokens a text of one model may have at most, and how many it probably has."""

    def __init__(self) -> None:
        self._extra_tokens = _MOST_EXTRA_TOKENS
        self._bytes = float(_PRIOR_BYTES)
        self._tokens = _PRIOR_BYTES * _USUAL_TOKENS_PER_BYTE

    def at_most(self, messages: Sequence[Message]) -> int:
        """An upper bound for a prompt's tokens: no tokenizer makes more than one of a byte.

        What servers add by themselves is the most that was seen.
        """
        return _size(messages) + _MOST_TOKENS_PER_MESSAGE * len(messages) + self._extra_tokens

    def probably(self, size: int) -> int:
        """The tokens that a text of `size` bytes has at the mean of what was seen, a quarter of them at first."""
        return round(size * self._tokens / self._bytes)

    def of_prompt(self, messages: Sequence[Message]) -> int:
        """The tokens that a prompt probably has."""
        return self.probably(_size(messages))

    def of_reply(self, reply: Reply) -> int:
        """The tokens that a reply probably has, its thoughts included."""
        return self.probably(len(reply.content.encode()) + len((reply.reasoning or "").encode()))

    def learn(self, messages: Sequence[Message], tokens: int) -> None:
        """Take note of a prompt's real tokens."""
        size = _size(messages)
        self._bytes += size
        self._tokens += tokens
        self._extra_tokens = max(self._extra_tokens, tokens - size - _MOST_TOKENS_PER_MESSAGE * len(messages))


def _size(messages: Sequence[Message]) -> int:
    """Bytes of the text."""
    return sum(len(message["content"].encode()) for message in messages)
