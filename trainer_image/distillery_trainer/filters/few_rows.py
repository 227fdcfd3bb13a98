"""What there is to say about few rows: where they went, which split is small, and what that costs.

Few rows are no reason to refuse a run, except where nothing can be learned or measured at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from distillery_api.evaluation import SMALL_SAMPLE
from distillery_api.spec import Data

FEWEST_ROWS: Mapping[str, int] = {"train": 8, "validation": 1}
"""Rows that a split must keep at least, unless the manifest says otherwise."""
_ENOUGH_ROWS: Mapping[str, tuple[int, str]] = {
    "train": (100, "small students learn little from fewer than {enough}"),
    "validation": (20, "fewer than {enough} choose the checkpoint badly"),
    "test": (SMALL_SAMPLE, "scores on fewer than {enough} are imprecise"),
}
_SAID_BELOW = 1_000
"""Rows of all splits from which on nothing is said: whoever has so many has chosen the splits."""
_NAMES: Mapping[str, str] = {"train": "train", "validation": "validation", "test": "held-out"}


def where_rows_went(data: Data, rows: Mapping[str, int], rejected: int) -> str:
    """Where the rows went, in sentences. `rejected` is the number of those that are rejected before any request."""
    train, validation, held_out = (rows.get(split, 0) for split in _NAMES)
    said = [
        f"{train + validation + held_out:,} rows were read: {train:,} train, {validation:,} validation and"
        f" {held_out:,} held-out rows."
    ]
    if rejected:
        said.append(f"{rejected:,} of them are rejected.")
    if data.validation_fraction is not None:
        said.append(
            f"Validation rows are taken from the train rows (data.validationFraction {data.validation_fraction:g})."
        )
    if data.test is None:
        said.append("About half of the validation rows are held out, since there is no data.test.")
    return " ".join(said)


def few_rows_note(rows: Mapping[str, int]) -> str:
    """What the numbers of rows of the splits are too few for, as a sentence; empty where there are enough."""
    if sum(rows.values()) >= _SAID_BELOW:
        return ""
    said = [
        f"{rows.get(split, 0):,} {_NAMES[split]} rows ({because.format(enough=enough)})"
        for split, (enough, because) in _ENOUGH_ROWS.items()
        if rows.get(split, 0) < enough
    ]
    return f"Few rows: {', '.join(said)}." if said else ""
