"""A second request after a reply that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.data.rows import Message

_BEGINNING = "That reply cannot be used: "
_ASK_AGAIN = _BEGINNING + "{problem} Answer the same request again, in exactly the form that was asked for."


def repeated_request(messages: Sequence[Message], reply: str, problem: str) -> list[Message]:
    """The same request once more, with the reply that cannot be used and what is wrong with it, as a sentence."""
    return [
        *messages,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": _ASK_AGAIN.format(problem=problem)},
    ]


def is_repeated(messages: Sequence[Message]) -> bool:
    """Whether a request is one that `repeated_request` made."""
    return len(messages) > 2 and messages[-1]["content"].startswith(_BEGINNING)
