"""A first look at all rows, before the first paid call: are they good, where do they go, which are not worth asking,
and what will the others cost? They are read twice, since where a row goes is known only when all were seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from distillery_api.run import RunConfig
from distillery_trainer.data.carving import Splits
from distillery_trainer.data.rows import read_examples, read_rows, survey
from distillery_trainer.data.sources import Source, sources
from distillery_trainer.estimate import Sampler
from distillery_trainer.filters.redaction import Redactor
from distillery_trainer.filters.screening import Screening
from distillery_trainer.prompts import TaskPrompt
from distillery_trainer.records import Example, RejectedRow


@dataclass(frozen=True, slots=True)
class Placed:
    """A row, where it stands in the input, and the split that it goes to."""

    place: int
    """From 0, over all sources."""
    example: Example
    split: str
    """train, validation or test."""


@dataclass(frozen=True)
class Data:
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
    screening: Screening
    """Knows which rows are not worth asking."""
    sampler: Sampler
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

    def asked_stream(self) -> Iterator[Placed]:
        """The rows that are put to the teacher, in the order of the input."""
        return (row for row in self.stream() if self.screening.verdict(row.place) is None)

    def stream(self) -> Iterator[Placed]:
        """The rows in the order of the input, without personal data where that was asked for."""
        for row in self.raw_stream():
            yield Placed(row.place, self.redactor.redact(row.example), row.split)

    def raw_stream(self) -> Iterator[Placed]:
        """The rows as they stand in the input."""
        place = 0
        for source in self.sources:
            for example in read_examples(source):
                yield Placed(place, example, self.splits.of(example))
                place += 1

    def rejected_stream(self) -> Iterator[RejectedRow]:
        """The records of logs that are no rows, each with its reason."""
        for source in self.sources:
            if self.passed_over.get(source.split):
                yield from (row for row in read_rows(source) if isinstance(row, RejectedRow))


def look_over(config: RunConfig, prompt: TaskPrompt) -> Data:
    """Check every row, count them, choose the held-out ones, and find the ones not worth asking. Raises UserError."""
    places, splits = sources(config), Splits(config.data, prompt.group)
    student_prompts: list[str] = []

    def look(example: Example) -> None:
        if not student_prompts:
            student_prompts.append(prompt.student_system(example))
        splits.look(example)

    found = survey(places, prompt.problem, look)
    data = Data(
        places,
        splits.decide(),
        splits,
        student_prompts[0],
        redactor=Redactor(config),
        screening=Screening(config),
        sampler=Sampler(config, prompt),
        passed_over=found.passed_over,
    )
    for row in data.raw_stream():
        data.screening.look(row.place, row.split, row.example)
        data.sampler.look(row.example, row.split)
    data.screening.decide()
    return data
