"""The user's rows in any format: read one at a time, and all checked before the first request."""

from __future__ import annotations

import itertools
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_api.spec import DataFormat, Replies
from distillery_trainer.data.file_types import records
from distillery_trainer.data.formats import READERS, Reader, by_columns, detect, named_format
from distillery_trainer.data.formats.conversation import Conversation, InvalidRow, SkippedRecord, listed, named
from distillery_trainer.data.picture_addresses import RowPictures
from distillery_trainer.data.rows import Gold, RejectedRow, Row, reply_of
from distillery_trainer.data.selection import Selection
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import LineError

SHOWN_PROBLEMS = 20
"""Rules; of the rows that break one, the first few are named."""
_SHOWN_LINES = 3
_SHOWN_BYTES = 700
_SHOWN_KEYS = 12
_COUNTED_KEYS = 1000
_HOPELESS_ROWS = 1_000
_MESSAGES = {DataFormat.CHAT, DataFormat.OPENAI_FINE_TUNING}

T = TypeVar("T")
TaskRule = Callable[[Row], str | None]
"""A task's own rule: what is wrong with a row, None for a valid one."""


# --- reading rows


def read_valid_rows(source: Source) -> Iterator[Row]:
    """The rows of a checked source. Raises UserError if the source has changed since it was checked."""
    return (row for row in read_rows(source) if isinstance(row, Row))


def read_rows(source: Source) -> Iterator[Row | RejectedRow]:
    """The rows and the skipped records of a checked source, in order.

    Raises UserError if the source has changed since it was checked.
    """
    for item in parsed_rows(source):
        if isinstance(item, LineError):
            raise source.changed(f"{source.unit.capitalize()} {item.line}: {item.rule}.")
        yield item


def parsed_rows(
    source: Source, unused_keys: Counter[str] | None = None, selection: Selection | None = None
) -> Iterator[Row | RejectedRow | LineError]:
    """Each record of a source: a row, a skipped record, or the error of an invalid row. The keys of rows that are not
    used are counted in `unused_keys`, those of conditions in `selection`, if it is given."""
    rows = _Rows(
        source,
        unused_keys if unused_keys is not None else Counter(),
        selection or Selection(source.settings.where),
    )
    with source.opened() as stream:
        for record in records(source, stream):
            yield record if isinstance(record, LineError) else rows.read(*record)


class _Rows:
    """Turns the records of one source into rows. The first record determines the format if the user does not."""

    def __init__(self, source: Source, unused_keys: Counter[str], selection: Selection) -> None:
        self._unused_keys, self._selection = unused_keys, selection
        columns = source.settings.columns
        self._split, self._replies, self._id = source.split, source.settings.replies, source.row_id
        self._gold_key = (columns and columns.gold) or "gold"
        self._empty_gold = source.empty_gold
        self._format = named_format(source.settings)
        self._pictures = RowPictures(source)
        self._reader: Reader | None = by_columns(columns) if columns else READERS.get(self._format or DataFormat.AUTO)

    def read(self, number: int, record: dict[str, Any]) -> Row | RejectedRow | LineError:
        """The row of one record."""
        try:
            self._selection.check(record, self._format or detect(record))
            reader = self._choose_reader(record)
            if self._format is DataFormat.CHAT:  # which has no other keys
                record = self._selection.without_conditions(record)
            return self._row(number, reader(self._with_gold(record)))
        except InvalidRow as error:
            return LineError(number, f"{error}{self._looks_like_another(record)}")
        except SkippedRecord as error:
            row_id = self._id(number)
            return RejectedRow(self._split, row_id, number, error.reason, error.message, reply=None, requestId=None)

    def _with_gold(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record, with a word for gold that is an empty list, where that is an answer."""
        is_answer = self._empty_gold is not None and record.get(self._gold_key) == []
        return {**record, self._gold_key: self._empty_gold} if is_answer else record

    def _choose_reader(self, record: dict[str, Any]) -> Reader:
        if self._reader is None:
            self._format = detect(record)
            if self._format is None:
                no_match = f"the keys {listed(record)} match" if record else "an empty object matches"
                raise InvalidRow(
                    f"{no_match} no known format;"
                    f' write {{"messages": [...]}}, or name the columns in data.{self._split}.columns'
                )
            self._reader = READERS[self._format]
        return self._reader

    def _row(self, number: int, found: Conversation) -> Row:
        self._count_unused(found.unused_keys)
        messages = self._pictures.read(found.messages)
        reply = reply_of(messages.pop()) if messages[-1]["role"] == "assistant" else None
        row_id = found.id or self._id(number)
        if self._replies is Replies.GOLD:
            gold = _gold_of(found.gold, reply)
            return Row(self._split, number, row_id, messages, gold, tools=found.tools)
        keeps = self._replies is Replies.KEEP
        return Row(self._split, number, row_id, messages, found.gold, reply, keeps, found.tools)

    def _count_unused(self, keys: Iterable[str]) -> None:
        """Count keys, of which any row may have others."""
        for key in keys:
            if key in self._unused_keys or len(self._unused_keys) < _COUNTED_KEYS:
                self._unused_keys[key] += 1

    def _looks_like_another(self, record: dict[str, Any]) -> str:
        """A hint for a file with two formats."""
        other = detect(record)
        if self._format is None or other in (None, self._format) or {other, self._format} == _MESSAGES:
            return ""
        return f" (the row looks like {other}, but the file is read as {self._format}; use one format per file)"


def _gold_of(gold: Gold | None, reply: str | None) -> Gold | None:
    """The known answer of a row whose reply is one. Raises InvalidRow for a row with two."""
    if gold is None or reply is None or reply == gold:
        return reply if gold is None else gold
    raise InvalidRow("gold and the reply differ, but replies is Gold; keep one of the two, or set replies to Replace")


# --- checking all of it


@dataclass
class RepeatedProblem:
    """The rows of a file that break one rule in the same words."""

    lines: list[int] = field(default_factory=list)
    """The first of them."""
    rows: int = 0

    def add(self, line: int) -> None:
        """Count a row."""
        self.rows += 1
        if len(self.lines) < _SHOWN_LINES:
            self.lines.append(line)

    def where(self, unit: str) -> str:
        """Where they are: `line 7`, or `lines 2, 3, 4 and 12 more`."""
        lines = ", ".join(map(str, self.lines))
        hidden = f" and {self.rows - len(self.lines):,} more" if self.rows > len(self.lines) else ""
        return f"{unit}{'s' if self.rows > 1 else ''} {lines}{hidden}"


@dataclass
class InputCheck:
    """What the check of all rows has found."""

    rows: dict[str, int] = field(default_factory=dict)
    """Number of valid rows by split."""
    skipped: dict[str, Counter[str]] = field(default_factory=dict)
    """Number of skipped records by split and reason."""
    problems: dict[tuple[str, str, str], RepeatedProblem] = field(default_factory=dict)
    """The first rules that rows break, by file, its unit of rows, and rule."""
    invalid_rows: int = 0

    def add_invalid_row(self, source: Source, line: int, rule: str) -> None:
        """Count an invalid row."""
        self.invalid_rows += 1
        key = (source.uri, source.unit, cleaned(rule, _SHOWN_BYTES))
        if key in self.problems or len(self.problems) < SHOWN_PROBLEMS:
            self.problems.setdefault(key, RepeatedProblem()).add(line)

    def until_hopeless(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until so many rows are invalid that the others need no check."""
        return itertools.takewhile(lambda _: self.invalid_rows < _HOPELESS_ROWS, items)

    def raise_problems(self) -> None:
        """Raise UserError that lists the invalid rows, if there are any."""
        if not self.problems:
            return
        heading = "1 row is invalid" if self.invalid_rows == 1 else f"{self.invalid_rows:,} rows are invalid"
        if self.invalid_rows >= _HOPELESS_ROWS:
            heading += ", and the others were not checked"
        shown = [f"{uri}, {problem.where(unit)}: {rule}" for (uri, unit, rule), problem in self.problems.items()]
        hidden = self.invalid_rows - sum(problem.rows for problem in self.problems.values())
        more = [f"and {hidden:,} more"] if hidden else []
        lines = "\n".join(f"  {line}" for line in [*shown, *more])
        raise UserError(f"{heading}. No request was sent to the teacher.\n{lines}", reason=Reason.INVALID_DATA)


def check_rows(
    all_sources: Iterable[Source], task_rule: TaskRule, on_row: Callable[[Row], None] = lambda _: None
) -> InputCheck:
    """Read and count all rows; `on_row` is called with each valid one. Raises UserError that lists the invalid ones."""
    found = InputCheck()
    for _, files in itertools.groupby(all_sources, key=lambda source: source.split):
        _SplitCheck(list(files), task_rule, on_row).run(found)
    found.raise_problems()
    return found


class _SplitCheck:
    """Checks the files of one split."""

    def __init__(self, files: list[Source], task_rule: TaskRule, on_row: Callable[[Row], None]) -> None:
        self._files, self._task_rule, self._on_row = files, task_rule, on_row
        self._split, self._settings = files[0].split, files[0].settings
        self._hashes = array("q")
        self._skipped: Counter[str] = Counter()
        self._unused_keys: Counter[str] = Counter()
        self._selection = Selection(self._settings.where)
        self._has_replies = False

    def run(self, found: InputCheck) -> None:
        """Read all rows. Raises UserError if there are none, or none of the replies that are to be used."""
        invalid_before = found.invalid_rows
        found.skipped[self._split] = self._skipped
        for file in self._files:
            self._check_file(file, found)
        if found.invalid_rows == invalid_before:
            self._check_usable()
        found.rows[self._split] = len(self._hashes)
        for file, line, rule in _duplicate_ids(self._files, self._hashes):
            found.add_invalid_row(file, line, rule)
        if self._unused_keys:
            keys = _counted(self._unused_keys)
            sys.stderr.write(f"data.{self._split}: these keys of the rows are not used: {keys}.\n")

    def _check_file(self, file: Source, found: InputCheck) -> None:
        for item in found.until_hopeless(parsed_rows(file, self._unused_keys, self._selection)):
            if isinstance(item, RejectedRow):
                self._skipped[item.reason] += 1
            elif rule := item.rule if isinstance(item, LineError) else self._task_rule(item):
                found.add_invalid_row(file, item.line, rule)
            elif isinstance(item, Row):
                self._hashes.append(hash(item.id))
                self._has_replies = self._has_replies or _has_reply(item, self._settings.replies)
                self._on_row(item)

    def _check_usable(self) -> None:
        location = _location(self._files)
        if problem := self._selection.problem():
            raise UserError(f"data.{self._split}: {location}: {problem}.", reason=Reason.INVALID_DATA)
        if not self._hashes:
            counts = ", ".join(f"{count:,} {reason}" for reason, count in self._skipped.items())
            usable = f"usable rows (skipped records: {counts})" if counts else "rows"
            raise UserError(f"data.{self._split}: {location} contains no {usable}.", reason=Reason.INVALID_DATA)
        if self._settings.replies is not Replies.REPLACE and not self._has_replies:
            raise UserError(
                f"data.{self._split}: {location}: replies is {self._settings.replies}, but no row has a reply. Set"
                f" replies to Replace, or name the column with the replies in data.{self._split}.columns.reply.",
                reason=Reason.INVALID_DATA,
            )


def _location(files: list[Source]) -> str:
    """Where the rows of a split are."""
    return files[0].uri if len(files) == 1 else f"{files[0].uri} and {len(files) - 1:,} more"


def _has_reply(row: Row, replies: Replies) -> bool:
    """Whether a row has what its source says is there: a reply to keep, or to take as gold."""
    return row.gold is not None if replies is Replies.GOLD else row.existing_replies != [None]


def _counted(keys: Counter[str]) -> str:
    """The keys, the most frequent ones first, each with its number of rows."""
    shown = [f"{named(key)} ({count:,})" for key, count in keys.most_common(_SHOWN_KEYS)]
    return ", ".join([*shown, "…"] if len(keys) > _SHOWN_KEYS else shown)


def _duplicate_ids(files: list[Source], hashes: array[int]) -> Iterator[tuple[Source, int, str]]:
    """Rows that have the id of an earlier row of the split, each with its file, its line and the rule.

    Eight bytes per row tell whether two ids may be equal; only those ids are read again and compared.
    """
    values, counts = numpy.unique(numpy.frombuffer(hashes, dtype=numpy.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return
    first: dict[str, tuple[Source, int]] = {}
    for file in files:
        for item in parsed_rows(file):
            if not isinstance(item, Row) or hash(item.id) not in suspects:
                continue
            earlier, line = first.setdefault(item.id, (file, item.line))
            if (earlier, line) != (file, item.line):
                where = f"{file.unit} {line}" if earlier == file else f"{earlier.unit} {line} of {earlier.uri}"
                yield file, item.line, f"the id {named(item.id)} is already that of {where}"
