"""Batches of rows that bring more than their answer: further sequences, and columns of values for its tokens.

The sequences of a row stand in the same micro-batch, so a step sees as many rows as without them. Trainers count the
tokens of `labels` to average the loss; only those of the rows' own answers stand there, and `targets` has all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from distillery_trainer.student.row_encoding import IGNORED, EncodedRow

PictureInputs = Callable[[torch.Tensor, Sequence[str]], dict[str, torch.Tensor]]
"""From the ids of a batch and the names of its pictures, in order, to what the model needs beside the ids."""


def no_inputs(ids: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Those of a model that reads no pictures."""
    return {}


ROW = "row"
"""Column of a dataset: the number of a row in `RowBatches.rows`."""
TARGETS, COLUMNS = "targets", "columns"
"""In a batch: the labels of all sequences, and the columns of their answers."""


def bring_more(rows: Iterable[EncodedRow]) -> bool:
    """Whether any row has further sequences, columns or pictures."""
    return any(row.columns or row.siblings or row.pictures for row in rows)


@dataclass(frozen=True)
class RowBatches:
    """Joins examples of a dataset, `{"input_ids", "labels"}` or `{"row", ...}`, into a batch."""

    rows: Sequence[EncodedRow]
    padding: int
    """Id of the padding token."""
    picture_inputs: PictureInputs = no_inputs
    """What the model needs for the pictures of a batch."""

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Token ids, attention mask and labels, each of shape (sequences, tokens), and the columns of all answers."""
        rows = [self._row(example) for example in examples]
        siblings = [sibling for row in rows for sibling in row.siblings]
        sequences = [*rows, *siblings]
        labels = _padded([row.labels for row in sequences], IGNORED)
        batch = {
            "input_ids": _padded([row.input_ids for row in sequences], self.padding),
            "attention_mask": _padded([[1] * len(row.input_ids) for row in sequences], 0),
            "labels": labels,
        }
        if siblings:
            own = labels.clone()
            own[len(rows) :] = IGNORED
            batch = {**batch, "labels": own, TARGETS: labels}
        batch |= self.picture_inputs(batch["input_ids"], [name for row in sequences for name in row.pictures])
        columns = _columns(sequences)
        return {**batch, COLUMNS: columns} if columns else batch

    def _row(self, example: Mapping[str, Any]) -> EncodedRow:
        if ROW in example:
            return self.rows[int(example[ROW])]
        return EncodedRow(example["input_ids"], example["labels"])


def _padded(sequences: Iterable[list[int]], padding: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True, padding_value=padding)


def _columns(sequences: Sequence[EncodedRow]) -> dict[str, torch.Tensor]:
    """The columns of all answers in a row. Every sequence has those that any has."""
    names = {name: None for row in sequences for name in row.columns}
    return {name: torch.cat([torch.tensor(row.columns[name]) for row in sequences]) for name in names}
