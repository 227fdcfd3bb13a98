"""Batched generation: token for token the same as the library's own `generate`, one prompt at a time."""

import pytest
import torch

from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest, _compacted
from distillery_trainer.student.device import Device
from tiny_model import read_model, write_tiny_model

CPU = Device("cpu", torch.float32, "cpu")
BEGINNING = list(range(1000, 1020))
PROMPTS = [[*BEGINNING, *range(start, end)] for start, end in ((5, 8), (8, 9), (300, 340), (9, 11), (70, 90), (41, 44))]
LIMITS = [24] * len(PROMPTS)


@pytest.fixture(scope="module", params=[("Llama", 0.4), ("Qwen2", 0.4), ("Gemma3", 0.02)], ids=lambda param: param[0])
def tiny(request, tmp_path_factory):
    """A model whose greedy answers wander, so that they end at different lengths."""
    family, spread = request.param
    folder = write_tiny_model(tmp_path_factory.mktemp(family) / "model", family, initializer_range=spread)
    return read_model(folder)


ENDS = tuple(range(0, 49152, 9))
"""Ids that end a turn: one in nine."""


def generated(model, prompts, limits, max_rows=128):
    generator = BatchedGenerator(model, CPU, ENDS, padding=0, max_rows=max_rows)
    return dict(generator.generate([GenerationRequest(*request) for request in zip(prompts, limits, strict=True)]))


def expected(model, prompt, limit):
    """The library's answer, without the id that ended it, and whether one did."""
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False, eos_token_id=list(ENDS)
    )
    new = output[0, len(prompt) :].tolist()
    return (new[:-1], True) if new[-1] in ENDS else (new, False)


def test_answers_are_those_of_the_library(tiny):
    found = generated(tiny, PROMPTS, LIMITS)
    assert len({len(reply.ids) for reply in found.values()}) > 1
    assert [(found[row].ids, found[row].finished) for row in range(len(PROMPTS))] == [
        expected(tiny, prompt, 24) for prompt in PROMPTS
    ]


def test_each_answer_has_its_own_limit(tiny):
    found = generated(tiny, PROMPTS, [1, 5, 24, 3, 2, 9])
    assert [(found[row].ids, found[row].finished) for row in range(len(PROMPTS))] == [
        expected(tiny, prompt, limit) for prompt, limit in zip(PROMPTS, [1, 5, 24, 3, 2, 9], strict=True)
    ]


def test_batches_of_any_size_give_the_same(tiny):
    assert generated(tiny, PROMPTS, LIMITS, max_rows=1) == generated(tiny, PROMPTS, LIMITS, max_rows=3)


@pytest.mark.parametrize(
    ("continues", "rows"),
    [
        ([True, True, True], [0, 1, 2]),
        ([False, True, True, True], [3, 1, 2]),
        ([True, False, True, False, True], [0, 4, 2]),
        ([False, False, True], [2]),
        ([True, False, False], [0]),
        ([False, False], []),
    ],
)
def test_last_rows_take_the_positions_of_those_that_ended(continues, rows):
    assert _compacted(continues) == rows
