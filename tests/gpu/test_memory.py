"""The estimated memory of a training beside the memory of the GPU that it takes."""

import gc

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from distillery_api.spec import Training, TrainingMethod
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.device import choose_device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.model_sizes import model_sizes
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.trained_weights import load_to_train
from distillery_trainer.student.training_loop import TrainingMonitor, TrainingSetup, train
from distillery_trainer.student.training_memory import TrainingLoad, training_memory

SEQUENCES, LENGTH, ANSWER, RANK = 4, 512, 64, 16
LLAMA = {
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "0.4B": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 16},
}


def random_llama(size, dtype):
    """A model of this size on the GPU, with random weights."""
    config = LlamaConfig(vocab_size=128_256, num_key_value_heads=8, tie_word_embeddings=False, **LLAMA[size])
    with torch.device("cuda"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return LlamaForCausalLM(config)
        finally:
            torch.set_default_dtype(before)


def taken_and_estimated(model, method, tokenizer, folder):
    quiet_libraries()
    row = EncodedRow([5] * LENGTH, [IGNORED] * (LENGTH - ANSWER) + [5] * ANSWER)
    training = Training(method=method, epochs=1, batchSize=SEQUENCES, lora={"rank": RANK}, warmupSteps=0)
    adapters = None
    if training.method.trains_adapters:
        adapters = lora_adapters(training.method, RANK, 2 * RANK, 0.0, adapted_layers(model))
    sizes = model_sizes(model.config)
    setup = TrainingSetup(
        model=model,
        tokenizer=tokenizer,
        adapters=adapters,
        train_rows=[row] * 3 * SEQUENCES,
        validation_rows=[row],
        training=training,
        settings=chosen_settings(training, 3 * SEQUENCES, sizes.parameters),
        device=choose_device(),
        folder=folder,
    )
    load = TrainingLoad(
        method=TrainingMethod(method),
        number_bytes=2,
        rank=RANK if adapters else 0,
        sequences=SEQUENCES,
        length=LENGTH,
        answer=ANSWER,
        keeps_activations=setup.keeps_activations,
    )
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    train(setup, TrainingMonitor(lambda done, total: None))
    taken = torch.cuda.max_memory_allocated()
    print(f"{method}: {taken / 1e9:.2f} GB taken, {training_memory(sizes, load).total / 1e9:.2f} GB estimated")
    return taken, training_memory(sizes, load).total


@pytest.mark.parametrize(
    ("size", "method"), [("8B", "LoRA"), ("8B", "DoRA"), ("0.4B", "LoRA"), ("0.4B", "rsLoRA"), ("0.4B", "Full")]
)
def test_estimate_is_within_a_fifth_of_what_a_model_takes(size, method, student, tmp_path):
    model = random_llama(size, torch.float32 if method == "Full" else torch.bfloat16)
    taken, estimated = taken_and_estimated(model, method, open_folder(student, "student").tokenizer, tmp_path)
    assert 0.8 * taken < estimated < 1.2 * taken


@pytest.mark.parametrize("method", ["LoRA", "QLoRA"])
def test_estimate_is_within_a_fifth_of_what_the_real_student_takes(method, student, tmp_path):
    base = open_folder(student, "student")
    model = load_to_train(base, TrainingMethod(method), choose_device())
    taken, estimated = taken_and_estimated(model, method, base.tokenizer, tmp_path)
    assert 0.8 * taken < estimated < 1.2 * taken
