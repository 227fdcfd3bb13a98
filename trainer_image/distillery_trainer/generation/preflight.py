"""The preflight: all rows are checked, split, deduplicated and counted, and their cost estimated, before the first
request."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from distillery_api.run_config import RunConfig
from distillery_api.spec import ObjectiveKind, Task
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.row_reader import check_rows, read_rows, read_valid_rows
from distillery_trainer.data.rows import RejectedRow, Row
from distillery_trainer.data.sources import Source, sources
from distillery_trainer.data.splits import Splits
from distillery_trainer.estimate import PromptSampler
from distillery_trainer.estimate.forecast import Forecast
from distillery_trainer.filters.deduplication import Deduplication
from distillery_trainer.filters.few_rows import where_rows_went
from distillery_trainer.filters.redaction import Redactor
from distillery_trainer.filters.row_counts import RequiredRows, RowCounter, required_rows
from distillery_trainer.generation.shortest_row import first_turn_length
from distillery_trainer.tasks import AnswerKind, TaskDefinition


@dataclass(slots=True)
class IndexedRow:
    """A row, its index in the input, and its split."""

    index: int
    """From 0, over all sources."""
    row: Row
    split: str
    """train, validation or test."""


@dataclass(frozen=True)
class PreparedData:
    """Checked rows. They are not kept in memory but read again."""

    sources: list[Source]
    rows_by_split: Mapping[str, int]
    """Number of rows by the split that they go to."""
    skipped_records: Mapping[str, Counter[str]]
    """Number of skipped records by split and reason; not included in `rows_by_split`."""
    splits: Splits
    """The split of every row."""
    first_row: Row
    """The first row, redacted if the run asks for it."""
    shortest_row: Row
    """The row with the shortest first turn, redacted if the run asks for it."""
    student_prompt: str
    """The student prompt, as it is for the first row."""
    redactor: Redactor
    """Replaces personal data in each row."""
    deduplication: Deduplication
    """The rows that are duplicates or leaks."""
    sampler: PromptSampler
    """What the requests for a row are expected to use."""

    @property
    def row_count(self) -> int:
        """Number of rows of all splits."""
        return sum(self.rows_by_split.values())

    @property
    def rows_to_send_by_split(self) -> dict[str, int]:
        """Number of rows by split that are sent to the teacher."""
        rejected = self.deduplication.rejected
        return {split: rows - rejected.get(split, Counter()).total() for split, rows in self.rows_by_split.items()}

    def forecast(self, stored: Mapping[str, int]) -> Forecast:
        """What the rows are expected to use; nothing for those whose replies are `stored`, counted by split."""
        left = {split: rows - stored.get(split, 0) for split, rows in self.rows_to_send_by_split.items()}
        return replace(self.sampler.forecast(left), stored_rows=sum(stored.values()))

    def rows(self) -> Iterator[IndexedRow]:
        """All rows in the order of the input, redacted if the run asks for it."""
        rows = itertools.chain.from_iterable(map(read_valid_rows, self.sources))
        for index, row in enumerate(rows):
            yield IndexedRow(index, self.redactor.redact(row), self.splits.of(index))

    def rows_to_send(self) -> Iterator[IndexedRow]:
        """The rows that are sent to the teacher, in the order of the input."""
        return (row for row in self.rows() if self.deduplication.rejection(row.index) is None)

    def skipped_rows(self) -> Iterator[RejectedRow]:
        """The skipped records, each with its reason."""
        for source in self.sources:
            if self.skipped_records.get(source.split):
                yield from (row for row in read_rows(source) if isinstance(row, RejectedRow))


def run_preflight(config: RunConfig, task: TaskDefinition) -> PreparedData:
    """Check and count all rows, choose the held-out ones, and find duplicates and leaks. Raises UserError."""
    all_sources, splits = sources(config), Splits(config.data, lambda row: _split_group(task, row))
    redactor, deduplication, sampler = Redactor(config), Deduplication(config), PromptSampler(config, task)
    first_rows: list[Row] = []
    shortest: Row | None = None

    def add(row: Row) -> None:
        nonlocal shortest
        if shortest is None or first_turn_length(row) < first_turn_length(shortest):
            shortest = row
        if not first_rows:
            first_rows.append(redactor.redact(row))
        deduplication.add(row)
        for split in splits.add(row):
            sampler.add(row, split)

    check = check_rows(all_sources, lambda row: _row_problem(config, task, row), add)
    if sampler.sees_pictures and config.generation.redaction is not None:
        sys.stderr.write("generation.redaction: personal data in texts is replaced; pictures are sent as they are.\n")
    rows_by_split = splits.choose()
    deduplication.resolve(splits.split_numbers)
    return PreparedData(
        all_sources,
        rows_by_split,
        check.skipped,
        splits,
        first_rows[0],
        redactor.redact(shortest or first_rows[0]),
        task.student_prompt(first_rows[0]),
        redactor=redactor,
        deduplication=deduplication,
        sampler=sampler,
    )


def _split_group(task: TaskDefinition, row: Row) -> str:
    """Rows that show the same land in the same split; those without pictures in the task's groups."""
    return " ".join(pictures_of(row.messages)) or task.split_group(row)


def _row_problem(config: RunConfig, task: TaskDefinition, row: Row) -> str | None:
    return _tools_problem(task, row) or _pictures_problem(config, task, row) or task.row_problem(row)


def _pictures_problem(config: RunConfig, task: TaskDefinition, row: Row) -> str | None:
    """The rule that a row with pictures breaks where nothing can be learned from them."""
    if not pictures_of(row.messages):
        return None
    if not task.reads_pictures:
        return f"the row has pictures, which the task {task.task} does not read; use another task, or remove the row"
    if config.training.objective.kind is ObjectiveKind.PREFERENCE:
        return "the row has pictures, which training.objective.kind Preference does not read; use Labels or Logits"
    return None


def _tools_problem(task: TaskDefinition, row: Row) -> str | None:
    """The rule that a row with tools breaks where the task does not call any."""
    if task.answer_kind is AnswerKind.CALLS or not (row.tools or any("tool_calls" in each for each in row.messages)):
        return None
    return f"the row has tools, which only the task {Task.TOOL_CALLING} calls; set task to it, or remove the row"


def row_counters(config: RunConfig, data: PreparedData) -> dict[str, RowCounter]:
    """A row counter for each split. Raises UserError if a split has too few rows to begin with."""
    rejected = {
        split: data.skipped_records.get(split, Counter()) + data.deduplication.rejected.get(split, Counter())
        for split in data.rows_by_split
    }
    records = {
        split: rows + data.skipped_records.get(split, Counter()).total() for split, rows in data.rows_by_split.items()
    }
    went = where_rows_went(config.data, records, sum((each.total() for each in rejected.values()), 0))
    ratio = config.generation.min_success_ratio
    return {
        split: RowCounter(split, number, 0, RequiredRows(0))
        if split == "test"
        else RowCounter(split, number, ratio, required_rows(config, split, went), rejected[split])
        for split, number in records.items()
    }
