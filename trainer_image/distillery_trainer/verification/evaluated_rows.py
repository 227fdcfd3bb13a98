"""The rows that the student answered in the evaluation, and the few of them that its server is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path

from distillery_trainer.data.rows import HeldOutRow, Message
from distillery_trainer.data.tool_messages import tools_of, with_tools, without_tools
from distillery_trainer.evaluation.systems import System
from distillery_trainer.runtime.files import read_rows

VERIFIED_ROWS = 16
"""Number of rows that the server is asked."""
MORE_ROWS = 48
"""Number of further rows that it is asked where it answered one of them otherwise."""


@dataclass(frozen=True, slots=True)
class EvaluatedRow:
    """A row and the student's reply to it in the evaluation."""

    id: str
    messages: list[Message]
    """The messages under the student prompt."""
    reply: str
    answer: str | None
    """None for a reply that was cut off or unreadable."""


def evaluated_rows(held_out: Path, predictions: Path) -> list[EvaluatedRow]:
    """The rows that the student replied to, from the files of generate and evaluate.

    Raises OSError, ValueError, LookupError or TypeError where they are not as those stages write them.
    """
    prompts = {row.id: row.studentPrompt for row in map(HeldOutRow.read, read_rows(held_out))}
    of_student = (row for row in read_rows(predictions) if row["system"] == System.STUDENT)
    return [
        EvaluatedRow(row["id"], prompts[row["id"]], row["reply"], row["answer"])
        for row in of_student
        if row["reply"] is not None
    ]


def without_prompt(row: EvaluatedRow, prompt: str) -> EvaluatedRow:
    """The row as a server with `prompt` in its template is asked; a system message of the row's own stays."""
    first, *others = without_tools(row.messages)
    is_under = first == {"role": "system", "content": prompt}
    return replace(row, messages=with_tools(others, tools_of(row.messages))) if is_under else row


def rows_to_ask(rows: Sequence[EvaluatedRow]) -> list[EvaluatedRow]:
    """The rows for both rounds in their order, always the same ones: as many different answers as possible, each about
    as often as the others. A reply that was cut off says less, so those with an answer come first."""
    answered = [row for row in rows if row.answer is not None]
    unanswered = [row for row in rows if row.answer is None]
    return list(islice(chain(_by_turns(answered), unanswered), VERIFIED_ROWS + MORE_ROWS))


def _by_turns(rows: Sequence[EvaluatedRow]) -> Iterator[EvaluatedRow]:
    """The rows with each answer in turn."""
    by_answer: dict[str | None, list[EvaluatedRow]] = {}
    for row in rows:
        by_answer.setdefault(row.answer, []).append(row)
    turns = zip_longest(*by_answer.values())
    return (row for turn in turns for row in turn if row is not None)
