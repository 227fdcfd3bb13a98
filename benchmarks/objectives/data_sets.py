"""The public rows that the students learn from."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teacher import Known

from chat_protocol import text_of
from teacher_server import prompt_key, read_lines

VALIDATION_ROWS = 50
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataSet:
    """One of them."""

    folder: str
    task: str

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]


DATA_SETS = (
    DataSet("nli/conjnli", "NLI"),
    DataSet("mcqa/commonsenseqa", "MultipleChoice"),
    DataSet("math/gsm8k", "Math"),
)
_REASONS = {
    "entailment": "Whatever makes the premise true makes the hypothesis true as well, so it is entailment.",
    "neutral": "The premise leaves open whether the hypothesis is true, so it is neutral.",
    "contradiction": "The premise and the hypothesis cannot both be true, so it is a contradiction.",
}


def write_rows(data: Path, data_set: DataSet, train_rows: int, held_out_rows: int, out: Path) -> dict[str, Known]:
    """Write the splits: validation and held-out rows are the same for each number of train rows, and fewer train rows
    are a part of more. Returns what the teacher knows, by the last user message."""
    folder = data / data_set.folder
    gold = {line["prompt_key"]: line for line in read_lines(folder / "gold.jsonl")}
    learned = list(read_lines(folder / "train.jsonl"))
    random.Random(0).shuffle(learned)
    held_out = list(read_lines(folder / "validation.jsonl"))[:held_out_rows]
    splits = (learned[VALIDATION_ROWS:][:train_rows], learned[:VALIDATION_ROWS], held_out)
    answers = sorted({str(line["gold"]) for line in gold.values()})
    known: dict[str, Known] = {}
    out.mkdir(parents=True, exist_ok=True)
    for split, rows in zip(SPLITS, splits, strict=True):
        with (out / f"{split}.jsonl").open("w") as stream:
            for row in rows:
                line = gold[prompt_key(row["messages"])]
                text = text_of(row["messages"][-1])
                known[text] = _known(line, _options(text) or answers)
                stream.write(json.dumps({**row, **({"gold": line["gold"]} if split == "test" else {})}) + "\n")
    return known


def _known(line: Mapping[str, Any], answers: list[str]) -> Known:
    answer = str(line["gold"])
    reason = line.get("rationale") or _REASONS.get(answer)
    if reason is None:
        reason = f"What fits the question best is {line['gold_text']}, which is {answer}."
    return Known(answer, [other for other in answers if other != answer], reason)


def _options(text: str) -> list[str]:
    """The letters of a row's own options."""
    return [letter for letter in "ABCDE" if f"\n({letter}) " in text]
