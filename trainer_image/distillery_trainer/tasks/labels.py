"""What the tasks share whose answer is one of the labels that all rows have."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Gold, Row, known_answers
from distillery_trainer.parsing.labels import LABEL_REPLY_TOKENS, LabelParser
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.short_answer import ShortAnswerTask
from distillery_trainer.tasks.task_definition import JsonSchema

_SHOWN_LABELS = 20


class LabelTask(ShortAnswerTask):
    """Rows with one user message each; the answer is one of `data.labels`."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._parser = LabelParser(self.labels, self.answer_key)

    @property
    def student_max_answer_tokens(self) -> int:
        """The longest label and a few words around it."""
        return max(LABEL_REPLY_TOKENS, *map(len, self.labels))

    def answer_schema(self) -> JsonSchema:
        """One of the labels."""
        return {"type": "string", "enum": list(self.labels)}

    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The label in the reply."""
        return self._parser.read(text)

    def label_of_gold(self, gold: str) -> str | None:
        """The label that a gold answer is; None if it is none."""
        return self._parser.exact_match(gold)

    def score(self, answer: str, gold: Gold) -> float:
        """1 if the label is gold, else 0; case is ignored."""
        return float(answer in map(self.label_of_gold, known_answers(gold)))

    def written_gold(self, row: Row) -> str | None:
        """The name of the label."""
        return self.label_of_gold(row.known_answers[0]) if row.known_answers else None

    def gold_problem(self, gold: str, row: Row) -> str | None:
        """Gold must be one of the labels."""
        if self.label_of_gold(gold) is not None:
            return None
        return not_a_label(gold, self.labels)


def not_a_label(gold: str, labels: Sequence[str]) -> str:
    """What is wrong with gold that is none of the labels."""
    more = ", …" if len(labels) > _SHOWN_LABELS else ""
    allowed = ", ".join(labels[:_SHOWN_LABELS]) + more
    return f'the gold label "{gold}" is not one of {allowed}; correct it or add it to data.labels'
