"""Out of memory, a training goes on with smaller micro-batches in the same process, from its last completed step: their
gradients are added up, so the result stays the same, up to rounding."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from distillery_api.run_config import equal_parts
from distillery_trainer.student.device import is_out_of_memory

MOST_REDUCTIONS = 3
"""How often the micro-batches are made smaller; what still does not fit then needs other settings."""

T = TypeVar("T")


class OutOfMemory(MemoryError):
    """The memory was exhausted with each number of rows at a time. The message lists them."""

    def __init__(self, batch_size: int, tried: list[int]) -> None:
        numbers = [f"{batch_size // parts:,}" for parts in dict.fromkeys(tried)]
        shown = " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))
        super().__init__(f"with {shown} {'row' if numbers == ['1'] else 'rows'} at a time")
        self.micro_batches = tried[-1]


def in_less_memory(attempt: Callable[[int, bool], T], batch_size: int, micro_batches: int) -> T:
    """What `attempt` returns. It is given the number of micro-batches in a training batch, and whether to recompute
    activations in place of keeping them. Raises OutOfMemory if each of up to four attempts did not fit, or if
    `attempt` does."""
    tried: list[int] = []
    for parts in _numbers(batch_size, micro_batches):
        if tried:
            rows = batch_size // parts
            sys.stderr.write(f"The memory is exhausted: the training goes on with {rows:,} of {batch_size:,} rows at a")
            sys.stderr.write(" time, and recomputes activations.\n")
        try:
            return attempt(parts, bool(tried))
        except OutOfMemory:  # with as little as there can be
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here, outside of the handler, does nothing refer to the model any longer.
        tried.append(parts)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise OutOfMemory(batch_size, tried)


def _numbers(batch_size: int, micro_batches: int) -> Iterator[int]:
    """The first number of parts, and those that follow: each divides the batch, and is at least twice the one before.
    One row at a time is tried once more, with activations recomputed."""
    parts = micro_batches
    yield micro_batches
    if micro_batches == batch_size:
        yield micro_batches
    for _ in range(MOST_REDUCTIONS):
        more = equal_parts(batch_size, at_least=2 * parts)
        if more is None:
            return
        parts = more
        yield parts
