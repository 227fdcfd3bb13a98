"""A search for training settings: several students of the same rows, of which the best becomes the student."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from distillery_api.base import ApiModel, Rule
from distillery_api.spec.fields import Epochs

MOST_TRIALS = 32


class Combination(NamedTuple):
    """One value of each list; None of a list that is not given."""

    learning_rate: float | None
    epochs: int | None
    rank: int | None


def _different(field: str) -> Rule:
    def holds(search: TrainingSearch) -> bool:
        values = search.lists[field] or ()
        return len(set(values)) == len(values)

    return Rule(
        f"!has(self.{field}) || self.{field}.all(v, self.{field}.exists_one(w, w == v))",
        f"{field}: a value stands there twice; remove one of the two",
        holds,
    )


_FIELDS = ("learningRates", "epochs", "ranks")
_COMBINATIONS = " * ".join(f"(has(self.{field}) ? size(self.{field}) : 1)" for field in _FIELDS)


class TrainingSearch(ApiModel):
    """Several students are trained on the same rows, one after the other, each with another combination of these
    values; the one that is best on the validation rows becomes the student."""

    learning_rates: (
        Annotated[tuple[Annotated[float, Field(strict=True, gt=0, le=1)], ...], Field(min_length=1, max_length=8)]
        | None
    ) = None
    """Learning rates to try, in place of learningRate. Default: the one that is chosen."""
    epochs: Annotated[tuple[Epochs, ...], Field(min_length=1, max_length=8)] | None = None
    """Numbers of epochs to try, in place of epochs. Default: the one that is chosen."""
    ranks: (
        Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=512)], ...], Field(min_length=1, max_length=8)]
        | None
    ) = None
    """Ranks of the adapters to try, in place of lora.rank. Default: the one that is chosen."""
    trials: Annotated[int, Field(strict=True, ge=2, le=MOST_TRIALS)] | None = None
    """Number of students at most. Of more combinations, some are chosen by the seed of the training, so that each value
    is tried about equally often. Default: all combinations, which must not be more than 32 then."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(_different(field) for field in _FIELDS),
        Rule(
            f"{_COMBINATIONS} > 1",
            "one combination is no search; list two values or more in learningRates, epochs or ranks, or"
            " remove search and set learningRate, epochs or lora.rank of training",
            lambda search: search.combinations > 1,
        ),
        Rule(
            f"has(self.trials) || {_COMBINATIONS} <= {MOST_TRIALS}",
            f"there are more than {MOST_TRIALS} combinations; set trials to the number of students to"
            " train, or list fewer values",
            lambda search: search.trials is not None or search.combinations <= MOST_TRIALS,
        ),
    )

    @property
    def lists(self) -> dict[str, tuple[Any, ...] | None]:
        """The values of each list, by its name in a manifest."""
        return {"learningRates": self.learning_rates, "epochs": self.epochs, "ranks": self.ranks}

    @property
    def given(self) -> dict[str, tuple[Any, ...]]:
        """The lists that are given, by their names in a manifest."""
        return {name: values for name, values in self.lists.items() if values}

    @property
    def combinations(self) -> int:
        """Number of combinations."""
        return math.prod(map(len, self.given.values()))

    @property
    def trial_count(self) -> int:
        """Number of students that are trained."""
        return min(self.trials or self.combinations, self.combinations)

    def all_combinations(self) -> Iterator[Combination]:
        """Each combination, by ascending values."""
        lists = (sorted(values) if values else (None,) for values in self.lists.values())
        return itertools.starmap(Combination, itertools.product(*lists))
