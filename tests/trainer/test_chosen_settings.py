"""What a training is done with where the manifest leaves it out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.spec import Training
from distillery_api.stage_result import TrainingSettings
from distillery_trainer.student.chosen_settings import chosen_settings, explanation

SMALL, ONE_BILLION, EIGHT_BILLION = 134_515_008, 1_235_814_400, 8_030_261_248


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"),
    [
        (8, 2, 30),
        (50, 2, 8),
        (100, 4, 8),
        (200, 4, 4),
        (300, 4, 3),
        (500, 8, 4),
        (2_000, 8, 3),
        (20_000, 16, 3),
        (100_000, 16, 1),
        (1_000_000, 16, 1),
    ],
)
def test_few_rows_are_seen_often_in_small_batches(rows, batch_size, epochs):
    chosen = chosen_settings(Training(), rows, SMALL)
    assert (chosen.batch_size, chosen.epochs, chosen.epochs_without_gain) == (batch_size, epochs, 3)


@pytest.mark.parametrize(
    ("method", "parameters", "rate"),
    [
        ("LoRA", SMALL, 1e-3),
        ("LoRA", 500_000_000, 5e-4),
        ("LoRA", ONE_BILLION, 2e-4),
        ("LoRA", EIGHT_BILLION, 2e-4),
        ("LoRA", 70_000_000_000, 1e-4),
        ("Full", SMALL, 1e-4),
        ("Full", EIGHT_BILLION, 2e-5),
    ],
)
def test_learning_rate_falls_with_the_size_and_is_a_tenth_without_adapters(method, parameters, rate):
    chosen = chosen_settings(Training(method=method), 300, parameters)
    assert chosen.learning_rate == pytest.approx(rate)
    assert (chosen.rank, chosen.alpha) == ((16, 32) if method == "LoRA" else (None, None))


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        (
            {"epochs": 2, "batchSize": 1, "learningRate": 0.01, "lora": {"rank": 4, "alpha": 4}},
            TrainingSettings(method="LoRA", epochs=2, batch_size=1, learning_rate=0.01, rank=4, alpha=4),
        ),
        ({"epochs": 1}, TrainingSettings(method="LoRA", epochs=1, batch_size=4, learning_rate=1e-3, rank=16, alpha=32)),
        (
            {"epochs": 9, "epochsWithoutGain": 2},
            TrainingSettings(
                method="LoRA", epochs=9, epochs_without_gain=2, batch_size=4, learning_rate=1e-3, rank=16, alpha=32
            ),
        ),
        (
            {"batchSize": 8, "lora": {"rank": 64}},
            TrainingSettings(
                method="LoRA", epochs=16, epochs_without_gain=3, batch_size=8, learning_rate=1e-3, rank=64, alpha=128
            ),
        ),
        (
            {"preset": "Azure"},
            TrainingSettings(method="LoRA", epochs=1, batch_size=1, learning_rate=3e-4, rank=8, alpha=128),
        ),
        (
            {"preset": "Azure", "epochs": 3, "lora": {"rank": 32}},
            TrainingSettings(method="LoRA", epochs=3, batch_size=1, learning_rate=3e-4, rank=32, alpha=128),
        ),
    ],
)
def test_what_the_manifest_says_is_kept(given_fields, expected):
    assert chosen_settings(Training.model_validate(given_fields), 100, SMALL) == expected


@given(rows=st.integers(1, 10_000_000), parameters=st.integers(1, 10**12))
def test_every_choice_is_possible(rows, parameters):
    chosen = chosen_settings(Training(), rows, parameters)
    steps = -(-rows // chosen.batch_size) * chosen.epochs
    assert 16 % chosen.batch_size == 0
    assert 1 <= chosen.epochs <= 30
    assert steps <= 10_000 or chosen.epochs == 1
    assert steps >= 150 or chosen.epochs == 30


@given(rows=st.integers(10, 100_000))
def test_small_data_gets_the_steps_that_a_small_student_needs(rows):
    chosen = chosen_settings(Training(), rows, SMALL)
    assert -(-rows // chosen.batch_size) * chosen.epochs >= 150


def test_sentence_says_what_was_chosen_and_for_what():
    training = Training(epochs=5)
    assert explanation(training, chosen_settings(training, 1_200, SMALL), 1_200, SMALL) == (
        "Training: LoRA rank 16, alpha 32, learning rate 0.001, batch size 8, 5 epochs; chosen for 1,200 rows and 135"
        " million parameters: batchSize, learningRate."
    )
    fixed = Training(preset="Azure", method="Full")
    assert explanation(fixed, chosen_settings(fixed, 9, SMALL), 9, SMALL) == (
        "Training: all weights, learning rate 0.0003, batch size 1, 1 epoch."
    )
    chosen = chosen_settings(Training(), 100, SMALL)
    assert chosen.sentence() == (
        "LoRA rank 16, alpha 32, learning rate 0.001, batch size 4, 8 epochs at most, until 3 in a row gain nothing"
    )


def test_batch_larger_than_the_data_is_said_with_a_size_that_makes_more_steps():
    training = Training(batch_size=64, preset="Azure")
    said = explanation(training, chosen_settings(training, 30, SMALL), 30, SMALL)
    assert said.endswith(
        ". training.batchSize is larger than the data: each epoch is a single step of all 30 rows; a size of 2 makes 15"
        " steps of them."
    )
