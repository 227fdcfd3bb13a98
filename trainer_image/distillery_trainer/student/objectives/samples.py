"""Rows of several samples: a weight by how many of them agree, or every answer with its share (soft labels)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distillery_api.spec import SampleUse
from distillery_trainer.data.rows import Rejection
from distillery_trainer.student.row_encoding import EncodedRow

Encode = Callable[[Mapping[str, Any]], EncodedRow | Rejection]


def with_samples(row: Mapping[str, Any], own: EncodedRow, use: SampleUse, drawn: int, encode: Encode) -> EncodedRow:
    """The encoded row as the samples of the row weigh it; `drawn` is their number, unreadable ones included. A row
    without samples, such as one with an existing reply, counts 1."""
    if use is SampleUse.MAJORITY:
        return own
    samples = row.get("samples") or [{"count": drawn}]
    if use is SampleUse.WEIGHTED:
        return own.weighted(min(1.0, samples[0]["count"] / drawn))
    return _soft(row, own, samples, encode)


def _soft(row: Mapping[str, Any], own: EncodedRow, samples: list[Mapping[str, Any]], encode: Encode) -> EncodedRow:
    """The kept answer and, as its siblings, the other ones that can be trained on; their weights add up to 1."""
    kept, *rest = samples
    encoded = [(encode({**row, "completion": other["completion"]}), other["count"]) for other in rest]
    others = [(answer, count) for answer, count in encoded if isinstance(answer, EncodedRow)]
    total = kept["count"] + sum(count for _, count in others)
    siblings = tuple(answer.weighted(count / total) for answer, count in others)
    return own.weighted(kept["count"] / total).with_siblings(*siblings)
