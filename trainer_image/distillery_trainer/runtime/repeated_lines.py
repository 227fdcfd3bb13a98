"""What would stand in a stage's log again and again is said once, and counted: the same exception at many rows, the
same warning of a library in each step. The counts follow at the end of the stage."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass

from distillery_api.formatting import cleaned

_NUMBERS = re.compile(r"\d+([.,:]\d+)*")
_DECISION = "is_first_of_its_kind"
_MOST_KINDS = 1_000
"""Kinds that are remembered; of further ones, every line is said."""
_LINE_LIMIT = 200
"""Bytes of a line that its count quotes."""


@dataclass
class _Kind:
    line: str
    further: int = 0


class RepeatedLines:
    """The kinds of lines that were said in this process."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def is_new(self, kind: str, line: str) -> bool:
        """Whether a line is the first of its kind, and so to be said; others are counted."""
        known = self._kinds.get(kind)
        if known is not None:
            known.further += 1
        elif len(self._kinds) < _MOST_KINDS:
            self._kinds[kind] = _Kind(cleaned(line, _LINE_LIMIT))
        return known is None

    def say_counts(self) -> None:
        """Say how often each kind came again, once."""
        for kind in self._kinds.values():
            if kind.further:
                sys.stderr.write(f"{kind.further:,} more like this one: {kind.line}\n")
        self._kinds.clear()


REPEATED = RepeatedLines()
"""Of this process."""


class FirstOfItsKind(logging.Filter):
    """Lets through the first record of a kind: from one logger, with one text, whatever its numbers are."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first, for every handler that it comes to."""
        if not hasattr(record, _DECISION):
            line = record.getMessage()
            setattr(record, _DECISION, REPEATED.is_new(f"{record.name} {_NUMBERS.sub('0', line)}", line))
        return bool(getattr(record, _DECISION))
