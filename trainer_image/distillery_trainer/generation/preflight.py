"""A first look at all rows, before the first paid call: are they good, where do they go, which are not worth asking,
and what will the others cost?"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from distillery_api.run_config import RunConfig
from distillery_trainer.data.records import Example, RejectedRow
from distillery_trainer.data.row_reader import check_rows, read_examples, read_rows
from distillery_trainer.data.sources import Source, sources
from distillery_trainer.data.splits import Splits
from distillery_trainer.estimate import PromptSampler
from distillery_trainer.filters.deduplication import Deduplication
from distillery_trainer.filters.redaction import Redactor
from distillery_trainer.tasks import TaskDefinition


@dataclass(slots=True)
class IndexedRow:
    """A row, where it stands in the input, and the split that it goes to."""

    place: int
    """From 0, over all sources."""
    example: Example
    split: str
    """train, validation or test."""


@dataclass(frozen=True)
class PreparedData:
    """Checked rows, not held but read again."""

    sources: list[Source]
    counts: Mapping[str, int]
    """Rows by the split that they go to."""
    splits: Splits
    """Knows where a row goes."""
    student_prompt: str
    """The student's system prompt, as the first row has it."""
    redactor: Redactor
    """Takes personal data out of each row."""
    screening: Deduplication
    """Knows which rows are not worth asking."""
    sampler: PromptSampler
    """Knows what asking a row should come to."""
    passed_over: Mapping[str, Counter[str]]
    """Records of logs that are no rows, by split and reason; `counts` does not have them."""

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(self.counts.values())

    @property
    def asked(self) -> dict[str, int]:
        """Rows by split that are put to the teacher."""
        rejected = self.screening.rejected
        return {split: rows - rejected.get(split, Counter()).total() for split, rows in self.counts.items()}

    def asked_stream(self) -> Iterator[IndexedRow]:
        """The rows that are put to the teacher, in the order of the input."""
        return (row for row in self.stream() if self.screening.verdict(row.place) is None)

    def stream(self) -> Iterator[IndexedRow]:
        """The rows in the order of the input, without personal data where that was asked for."""
        examples = itertools.chain.from_iterable(map(read_examples, self.sources))
        for place, example in enumerate(examples):
            yield IndexedRow(place, self.redactor.redact(example), self.splits.of(place))

    def rejected_stream(self) -> Iterator[RejectedRow]:
        """The records of logs that are no rows, each with its reason."""
        for source in self.sources:
            if self.passed_over.get(source.split):
                yield from (row for row in read_rows(source) if isinstance(row, RejectedRow))


def prepare(config: RunConfig, task: TaskDefinition) -> PreparedData:
    """Check every row, count them, choose the held-out ones, and find the ones not worth asking. Raises UserError."""
    places, splits = sources(config), Splits(config.data, task.split_group)
    redactor, screening, sampler = Redactor(config), Deduplication(config), PromptSampler(config, task)
    student_prompts: list[str] = []

    def look(example: Example) -> None:
        if not student_prompts:
            student_prompts.append(task.student_prompt(redactor.redact(example)))
        screening.look(example)
        for split in splits.look(example):
            sampler.look(example, split)

    found = check_rows(places, task.row_problem, look)
    counts = splits.decide()
    screening.decide(splits.ranks)
    return PreparedData(
        places,
        counts,
        splits,
        student_prompts[0],
        redactor=redactor,
        screening=screening,
        sampler=sampler,
        passed_over=found.passed_over,
    )
