"""The estimated memory of a training, beside what it takes: tiny models here, published figures of large ones."""

import gc
import json

import pytest
import torch
from torch._C._profiler import _EventType
from transformers import LlamaConfig

from distillery_api.spec import Training, TrainingMethod
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.checked_student import CheckedStudent
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.model_sizes import model_sizes
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.trained_weights import load_to_train
from distillery_trainer.student.training_loop import TrainingMonitor, TrainingSetup, train
from distillery_trainer.student.training_memory import TrainingLoad, training_memory
from eight_billion import EIGHT_BILLION
from tiny_model import write_tiny_model

SEQUENCES, LENGTH, ANSWER, RANK = 4, 128, 4, 8


class Recomputing(TrainingSetup):
    keeps_activations = False


def measured(base, method, dtype, folder, *, keeps_activations):
    """The peak of all tensors in memory during a training of three steps, in bytes."""
    quiet_libraries()
    row = EncodedRow([5] * LENGTH, [IGNORED] * (LENGTH - ANSWER) + [5] * ANSWER)
    training = Training(method=method, epochs=1, batchSize=SEQUENCES, lora={"rank": RANK}, warmupSteps=0)
    device = Device("cpu", dtype, "CPU")
    model = load_to_train(base, training.method, device)
    adapters = None
    if training.method.trains_adapters:
        adapters = lora_adapters(training.method, RANK, 2 * RANK, 0.0, adapted_layers(model))
    setup = (TrainingSetup if keeps_activations else Recomputing)(
        model=model,
        tokenizer=base.tokenizer,
        adapters=adapters,
        train_rows=[row] * 3 * SEQUENCES,
        validation_rows=[row],
        training=training,
        settings=chosen_settings(training, 3 * SEQUENCES, model.num_parameters()),
        device=device,
        folder=folder,
    )
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        train(setup, TrainingMonitor(lambda done, total: None))
    return weights + peak(profile)


def peak(profile):
    """The largest sum of all allocations so far."""
    allocations, events = [], list(profile.profiler.kineto_results.experimental_event_tree())
    while events:
        event = events.pop()
        events += event.children
        if event.tag == _EventType.Allocation:
            allocations.append((event.start_time_ns, event.extra_fields.alloc_size))
    total = highest = 0
    for _, size in sorted(allocations):
        total += size
        highest = max(highest, total)
    return highest


@pytest.mark.parametrize(
    ("family", "method", "dtype", "keeps_activations", "sizes"),
    [
        ("Llama", "LoRA", torch.float32, True, {"vocab_size": 512}),
        ("Llama", "LoRA", torch.bfloat16, True, {"vocab_size": 512, "num_hidden_layers": 4}),
        ("Qwen3", "LoRA", torch.float32, False, {"vocab_size": 512, "num_hidden_layers": 4}),
        ("Gemma2", "rsLoRA", torch.float32, True, {"vocab_size": 512}),
        ("Phi3", "DoRA", torch.float32, True, {"vocab_size": 512}),
        ("Qwen2", "Full", torch.bfloat16, True, {"vocab_size": 512}),
        ("Llama", "Full", torch.float32, True, {}),
    ],
)
def test_estimate_is_within_a_fifth_of_what_a_tiny_model_takes(
    family, method, dtype, keeps_activations, sizes, tmp_path
):
    base = open_folder(write_tiny_model(tmp_path / "model", family, **sizes), "tiny")
    load = TrainingLoad(
        method=TrainingMethod(method),
        number_bytes=dtype.itemsize,
        rank=0 if method == "Full" else RANK,
        sequences=SEQUENCES,
        length=LENGTH,
        answer=ANSWER,
        keeps_activations=keeps_activations,
    )
    estimated = training_memory(model_sizes(base.config), load).total
    taken = measured(base, method, dtype, tmp_path / "run", keeps_activations=keeps_activations)
    assert 0.8 * taken < estimated < 1.2 * taken


def eight_billion(method, **changes):
    fields = {"number_bytes": 2, "rank": 8, "sequences": 2, "length": 256, "answer": 128, "keeps_activations": False}
    return training_memory(EIGHT_BILLION, TrainingLoad(method=TrainingMethod(method), **{**fields, **changes}))


def test_sizes_are_those_of_the_configuration():
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4_096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    assert model_sizes(config) == EIGHT_BILLION


def test_all_weights_of_eight_billion_take_sixteen_bytes_each():
    memory = eight_billion("Full", rank=0)
    assert (memory.weights, memory.gradients, memory.optimizer) == (32_121_044_992, 32_121_044_992, 64_242_089_984)
    assert memory.total == pytest.approx(128.5e9, rel=0.01)


def test_adapters_of_eight_billion_take_what_torchtune_has_measured():
    assert eight_billion("LoRA").total == pytest.approx(18.5e9, rel=0.2)


def test_eight_billion_in_4_bits_take_less_than_10_gb():
    assert 5.5e9 < eight_billion("QLoRA").total < 10e9


def test_more_of_anything_never_takes_less():
    small = eight_billion("LoRA").total
    for more in ({"rank": 64}, {"sequences": 4}, {"length": 4_096}, {"keeps_activations": True}, {"answer": 256}):
        assert eight_billion("LoRA", **more).total > small, more


def test_what_the_check_has_found_is_read_as_it_was_written():
    found = CheckedStudent(EIGHT_BILLION, 8_192, 2, on_gpu=True, memory=80_000_000_000)
    assert CheckedStudent.from_json(found.to_json()) == found
    assert CheckedStudent.from_json(CheckedStudent().to_json()) == CheckedStudent()
    assert json.loads(found.to_json())["positions"] == 8_192


def test_sentence_has_every_part():
    assert eight_billion("LoRA").model_copy(update={"available": 24_000_000_000}).sentence() == (
        "about 17.0 GB of 24.0 GB (weights 16.1, gradients 0.084, optimiser 0.2, activations 0.2, logits 0.4) for 2"
        " rows of 256 tokens at a time"
    )
