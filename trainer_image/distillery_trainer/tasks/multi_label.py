"""Classification with several labels: which of the user's own labels fit a text, if any?

An answer is written as a list in the order of `data.labels`, such as `price, service`, or as `none`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import ClassVar

from distillery_api.run_config import RunConfig
from distillery_api.spec import NO_LABEL
from distillery_trainer.data.rows import Gold, Row, known_answers
from distillery_trainer.parsing.label_sets import LabelSetParser
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.classification import ITEM, ClassificationTask, listed_labels
from distillery_trainer.tasks.labels import not_a_label
from distillery_trainer.tasks.short_answer import chain_of_thought_prompt
from distillery_trainer.tasks.task_definition import AnswerKind, JsonSchema

_STUDENT_PROMPT = """\
Classify the text. Reply with all of these labels that apply, in this order, with a comma between them, and nothing \
else; reply {none} if no label applies:{labels}"""
_ANSWER_TOKENS = 256
"""Maximum length of an answer, in tokens, where the labels together are longer."""


class MultiLabelTask(ClassificationTask):
    """Rows with one text each; the answer is any number of the user's labels."""

    answer_kind: ClassVar[AnswerKind] = AnswerKind.LABELS
    answer_key: ClassVar[str] = "labels"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        listed = listed_labels(self.definitions)
        self._sets = LabelSetParser(self.labels, self.answer_key)
        self._student_prompt = _STUDENT_PROMPT.format(labels=listed, none=NO_LABEL)
        self._teacher_prompt = chain_of_thought_prompt(
            role="You are a careful assistant who classifies texts.",
            item=ITEM,
            thinking="what does the text say, which labels come into question, and what speaks for and against each?",
            conclusion=f"Conclude with all labels that your reasoning supports, or none. Allowed labels:{listed}",
            key=self.answer_key,
            answer="a list of the labels as strings, each spelled exactly as above; an empty list if none applies",
        )

    @property
    def student_max_answer_tokens(self) -> int:
        """All labels, up to a limit."""
        return max(super().student_max_answer_tokens, min(_ANSWER_TOKENS, sum(len(label) + 2 for label in self.labels)))

    def answer_schema(self) -> JsonSchema:
        """A list of labels."""
        return {"type": "array", "items": {"type": "string", "enum": list(self.labels)}}

    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The labels in the reply, written as one list."""
        return self._sets.read(text)

    def written(self, labels: Collection[str]) -> str:
        """The answer that is these labels."""
        return self._sets.written(labels)

    def labels_in(self, answer: str) -> frozenset[str]:
        """The labels of an answer, or of a gold answer."""
        return self._labels_of_gold(answer) or frozenset()

    def labels_of(self, gold: Gold) -> frozenset[str]:
        """The labels of a row: those of its gold, or of all items where gold is a list."""
        return frozenset().union(*map(self.labels_in, known_answers(gold)))

    def score(self, answer: str, gold: Gold) -> float:
        """1 if the labels are exactly those of gold, else 0."""
        return float(self.labels_in(answer) == self.labels_of(gold))

    def written_gold(self, row: Row) -> str | None:
        """The labels as one list."""
        return None if row.gold is None else self.written(self.labels_of(row.gold))

    def gold_problem(self, gold: str, row: Row) -> str | None:
        """Gold must be a list of labels, or none."""
        if self._labels_of_gold(gold) is not None:
            return None
        return f"{not_a_label(gold, self.labels)}; write several labels as a, b, and no label as {NO_LABEL}"

    def _labels_of_gold(self, gold: str) -> frozenset[str] | None:
        """The labels of one gold answer, by name or value; None if it has anything else."""
        if (values := _json_list(gold)) is not None:
            found = {self.label_of_gold(value if isinstance(value, str) else json.dumps(value)) for value in values}
            return None if None in found else frozenset(label for label in found if label is not None)
        listed = self._sets.listed(gold, self.label_of_gold)
        return None if listed is None else frozenset(listed)


def _json_list(text: str) -> list[object] | None:
    """The list that a cell of a table holds as JSON; None if it holds none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None
