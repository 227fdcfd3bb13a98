"""A line of the reply journal, and which lines of a file can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from distillery_trainer.chat.reply import Reply

Key = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(slots=True)
class JournalLine:
    """One line, by the names of its fields."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    key: Key | None = None
    reply: Reply | None = None
    """Stored under the key."""
    requests: int = 0
    """Requests that were answered, 0 or 1."""
    spent: int = 0
    """Tokens: used, reserved, or released where it is negative."""
    cost: float | None = None
    """What they cost; None in lines from before the teacher had a pricing."""
    estimated: tuple[int, int] | None = None
    """Input and output tokens of a reply for which the server did not count them."""
    failed: str | None = None
    """The reason of a request without a reply."""

    @classmethod
    def read(cls, row: dict[str, Any] | None) -> JournalLine | None:
        """The line with these fields; None for a damaged one, or one of a newer release."""
        if row is None:
            return None
        try:
            line = _LINES.validate_python(row)
        except ValidationError:
            return None
        return line if (line.key is None) is (line.reply is None) else None

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens, counted or estimated; 0 without a reply."""
        if self.estimated or self.reply is None:
            return self.estimated or (0, 0)
        return self.reply.input_tokens or 0, self.reply.output_tokens or 0

    @property
    def cached_tokens(self) -> int:
        """The part of the input tokens that the server read from its cache."""
        return (self.reply and self.reply.cached_tokens) or 0


_LINES = TypeAdapter(JournalLine)
