"""Pairs of a right and a wrong answer to one prompt: of samples that disagree with the kept answer, and of rows that
disagree with their gold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distillery_trainer.student.objectives.samples import Encode
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of a prompt and of two answers to it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class Pairs:
    """Gathers pairs, and counts those that cannot be trained on."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self.found: list[Pair] = []
        self.counts: Counter[str] = Counter()

    def add_kept(self, row: Mapping[str, Any]) -> None:
        """The kept answer of a row before those of its other samples."""
        samples = row.get("samples") or ()
        self._add(row, row["completion"], [sample["completion"] for sample in samples[1:]])

    def add_rejected(self, row: Mapping[str, Any]) -> None:
        """The right answer of a train row that was rejected before its wrong ones."""
        preference = row.get("preference")
        if preference and row.get("split") == "train":
            self._add(preference, preference["chosen"], [sample["completion"] for sample in preference["rejected"]])

    def _add(self, row: Mapping[str, Any], chosen: Any, rejected: Iterable[Any]) -> None:
        prompt = {"prompt": row["prompt"], "tools": row.get("tools")}
        for other in rejected:
            right = self._encode({**prompt, "completion": chosen})
            wrong = self._encode({**prompt, "completion": other})
            pair = _pair(right, wrong) if isinstance(right, EncodedRow) and isinstance(wrong, EncodedRow) else None
            self.counts["pairs" if pair else "untrainablePairs"] += 1
            if pair:
                self.found.append(pair)


def _pair(right: EncodedRow, wrong: EncodedRow) -> Pair | None:
    """None where both are the same to the student."""
    prompt = right.labels.count(IGNORED)
    if right.input_ids == wrong.input_ids:
        return None
    return Pair(right.input_ids[:prompt], right.input_ids[prompt:], wrong.input_ids[prompt:])
