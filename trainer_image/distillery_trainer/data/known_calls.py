"""The known answer of a row with tools: the calls that are right, or none. As a row holds it, it is a text like any
other gold."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from distillery_trainer.data.tool_calls import Call, read_written, written

MAY_BE_LEFT_OUT = ""
"""Among the acceptable values of an argument: it may also be left out."""
Acceptable = tuple[str, Mapping[str, list[Any]]]
"""A function and, by argument, every value that is right."""


@dataclass(frozen=True, slots=True)
class KnownCalls:
    """The right calls, in any order."""

    calls: tuple[Call, ...] = ()
    """Empty where no call is right."""
    acceptable: tuple[Acceptable, ...] | None = None
    """For each call its acceptable values; None where only the calls' own values are right."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The known answer in a row's gold, or in an answer that others are compared with. A text without calls says
        that none is right."""
        if text.startswith('{"tool_calls":'):
            with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                return cls._stored(orjson.loads(text))
        return cls(tuple(read_written(text) or ()))

    @classmethod
    def _stored(cls, stored: Any) -> Self:
        listed = tuple((name, values) for each in stored["acceptable"] for name, values in each.items())
        return cls(tuple(Call(call["name"], call["arguments"]) for call in stored["tool_calls"]), listed)

    def to_text(self) -> str:
        """The known answer as a row's gold."""
        if self.acceptable is None:
            return written(self.calls)
        calls = [{"name": call.name, "arguments": call.arguments} for call in self.calls]
        acceptable = [{name: values} for name, values in self.acceptable]
        return orjson.dumps({"tool_calls": calls, "acceptable": acceptable}).decode()

    @property
    def options(self) -> tuple[Acceptable, ...]:
        """For each call the values that are right."""
        if self.acceptable is not None:
            return self.acceptable
        return tuple((call.name, {name: [value] for name, value in call.arguments.items()}) for call in self.calls)
