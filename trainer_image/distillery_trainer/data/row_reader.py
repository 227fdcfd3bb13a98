"""The user's rows, whatever they are written in: read one at a time, and all checked before the first paid call."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy

from distillery_api.reasons import Reason
from distillery_api.spec import DataFormat, Replies
from distillery_trainer.data.file_types import records, unit
from distillery_trainer.data.formats import READERS, Reader, by_columns, detect, named_format
from distillery_trainer.data.formats.conversation import Conversation, InvalidRow, SkippedRecord, listed
from distillery_trainer.data.records import Example, RejectedRow
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import LineError

SHOWN_PROBLEMS = 20
_MESSAGES = {DataFormat.CHAT, DataFormat.OPENAI_FINE_TUNING}

TaskRule = Callable[[Example], str | None]
"""A task's own rule: what is wrong with a row, None for a good one."""


# --- reading rows


def read_examples(source: Source) -> Iterator[Example]:
    """The rows of a checked source. Raises UserError where it is not what it was when it was checked."""
    return (row for row in read_rows(source) if isinstance(row, Example))


def read_rows(source: Source) -> Iterator[Example | RejectedRow]:
    """The rows of a checked source, and in their places the records of a log that are no rows.

    Raises UserError where it is not what it was when it was checked.
    """
    for item in parsed_rows(source):
        if isinstance(item, LineError):
            raise source.changed(f"{unit(source).capitalize()} {item.line}: {item.rule}.")
        yield item


def parsed_rows(source: Source) -> Iterator[Example | RejectedRow | LineError]:
    """Each row, or in its place why it is none, or what is wrong with it."""
    rows = _Rows(source)
    with source.opened() as stream:
        for record in records(source, stream):
            yield record if isinstance(record, LineError) else rows.read(*record)


class _Rows:
    """Turns the records of one source into rows. Its format is that of the first record, where it is not named."""

    def __init__(self, source: Source) -> None:
        columns = source.settings.columns
        self._split, self._keeps = source.split, source.settings.replies is Replies.KEEP
        self._format = named_format(source.settings)
        self._reader: Reader | None = by_columns(columns) if columns else READERS.get(self._format or DataFormat.AUTO)

    def read(self, number: int, record: dict[str, Any]) -> Example | RejectedRow | LineError:
        """One record."""
        try:
            return self._example(number, self._choose_reader(record)(record))
        except InvalidRow as error:
            return LineError(number, f"{error}{self._looks_like_another(record)}")
        except SkippedRecord as error:
            place = f"{self._split}-{number}"
            return RejectedRow(self._split, place, number, error.reason, error.message, reply=None, requestId=None)

    def _choose_reader(self, record: dict[str, Any]) -> Reader:
        if self._reader is None:
            self._format = detect(record)
            if self._format is None:
                raise InvalidRow(
                    f"a row with the keys {listed(record) or 'of nothing'} is of no known format; write"
                    f' {{"messages": [...]}}, or say in data.{self._split}.columns which column holds what'
                )
            self._reader = READERS[self._format]
        return self._reader

    def _example(self, number: int, found: Conversation) -> Example:
        messages = found.messages
        reply = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
        own = found.id or f"{self._split}-{number}"
        return Example(self._split, number, own, messages, found.gold, reply, self._keeps)

    def _looks_like_another(self, record: dict[str, Any]) -> str:
        """What helps with a file of two formats."""
        other = detect(record)
        if self._format is None or other in (None, self._format) or {other, self._format} == _MESSAGES:
            return ""
        return f" (the row looks like {other}, in a file that is read as {self._format}; write one format a file)"


# --- checking all of it


@dataclass
class InputCheck:
    """What a first pass over the data found."""

    rows: dict[str, int] = field(default_factory=dict)
    """Good rows by split."""
    passed_over: dict[str, Counter[str]] = field(default_factory=dict)
    """Records of logs that are no rows, by split and reason."""
    problems: list[str] = field(default_factory=list)
    """The first sentences about bad rows, each with file, line and rule."""
    bad_rows: int = 0

    def add_problem(self, source: Source, line: int, rule: str) -> None:
        """Note a bad row."""
        self.bad_rows += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"{source.uri}, {unit(source)} {line}: {rule}")

    def raise_problems(self) -> None:
        """Raise UserError with the problems, if there are any."""
        if not self.problems:
            return
        heading = "One row breaks a rule" if self.bad_rows == 1 else f"{self.bad_rows:,} rows break a rule"
        more = [f"and {hidden:,} more"] if (hidden := self.bad_rows - len(self.problems)) else []
        lines = "\n".join(f"  {problem}" for problem in [*self.problems, *more])
        raise UserError(f"{heading}; nothing was asked of the teacher.\n{lines}", reason=Reason.INVALID_DATA)


def check_rows(
    all_sources: Iterable[Source], task_rule: TaskRule, look: Callable[[Example], None] = lambda _: None
) -> InputCheck:
    """Read every row once and count them; `look` sees each good one. Raises UserError that lists the bad ones."""
    found = InputCheck()
    for source in all_sources:
        _survey_source(found, source, task_rule, look)
    found.raise_problems()
    return found


def _survey_source(found: InputCheck, source: Source, task_rule: TaskRule, look: Callable[[Example], None]) -> None:
    hashes, bad_before = array("q"), found.bad_rows
    passed_over = found.passed_over.setdefault(source.split, Counter())
    for item in parsed_rows(source):
        if isinstance(item, RejectedRow):
            passed_over[item.reason] += 1
        elif rule := item.rule if isinstance(item, LineError) else task_rule(item):
            found.add_problem(source, item.line, rule)
        elif isinstance(item, Example):
            hashes.append(hash(item.id))
            look(item)
    if not hashes and found.bad_rows == bad_before:
        raise _no_rows(source, passed_over)
    found.rows[source.split] = len(hashes)
    for line, rule in _duplicate_ids(source, hashes):
        found.add_problem(source, line, rule)


def _no_rows(source: Source, passed_over: Counter[str]) -> UserError:
    counted = ", ".join(f"{count:,} {reason}" for reason, count in passed_over.items())
    but = f" that can be learned from ({counted})" if counted else ""
    return UserError(f"data.{source.split}: {source.uri} holds no rows{but}.", reason=Reason.INVALID_DATA)


def _duplicate_ids(source: Source, hashes: array[int]) -> Iterator[tuple[int, str]]:
    """Rows whose id an earlier row has.

    Eight bytes a row tell whether any two ids may be the same; only then are those ids read again and compared.
    """
    values, counts = numpy.unique(numpy.frombuffer(hashes, dtype=numpy.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return
    first_line: dict[str, int] = {}
    for item in parsed_rows(source):
        if not isinstance(item, Example) or hash(item.id) not in suspects:
            continue
        earlier = first_line.setdefault(item.id, item.line)
        if earlier != item.line:
            yield item.line, f'the id "{item.id}" is that of {unit(source)} {earlier} already'
