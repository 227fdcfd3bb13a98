"""The task's score of a model in training, on validation rows."""

from itertools import pairwise

import pytest
import torch

from distillery_api.stage import Stage
from distillery_trainer.evaluation.validation_score import ScoredRow, ValidationScore, rows_to_score
from distillery_trainer.student.device import Device
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow, RowEncoder
from distillery_trainer.tasks import task_for
from tiny_model import END_OF_TURN, write_tiny_model
from train_evaluate_run import TrainEvaluateRun, training_row

CPU = Device("cpu", torch.float32, "CPU")


def row(answer_tokens=3, text="Is it?"):
    return ScoredRow(EncodedRow([1] * 20 + [2] * answer_tokens, [IGNORED] * 20 + [2] * answer_tokens), text, "yes")


def numbered(count):
    return [row(text=str(number)) for number in range(count)]


@pytest.mark.parametrize(
    ("validation", "train", "scored"),
    [(1_000, 10_000, 100), (1_000, 90, 45), (30, 90, 30), (80, 12, 10), (10, 100, 10), (9, 100, 0)],
)
def test_at_most_100_rows_and_half_as_many_as_train_rows_are_answered(validation, train, scored):
    assert len(rows_to_score(numbered(validation), train)) == scored


def test_rows_are_spread_over_all_and_the_same_in_every_attempt():
    chosen = [each.text for each in rows_to_score(numbered(1_000), 8)]
    assert chosen == ["0", "100", "200", "300", "400", "500", "600", "700", "800", "900"]


@pytest.mark.parametrize("unsuitable", [row(answer_tokens=65), None])
def test_long_answers_and_answers_that_may_be_calls_leave_the_choice_to_the_loss(unsuitable):
    assert rows_to_score([*numbered(20), unsuitable], 100) == []


def test_row_has_the_prompt_and_the_teachers_answer():
    kept = {**training_row(1, "neutral"), "id": "a"}
    encoded = EncodedRow([5, 6, 7, 8], [IGNORED, IGNORED, 7, 8])
    scored = ScoredRow.of(kept, encoded)
    assert (scored.prompt, scored.answer_tokens) == ([5, 6], 2)
    assert (scored.text, scored.reference) == ("Premise: neutral 1.\nHypothesis: 1.", "neutral")
    calls = {"role": "assistant", "content": "", "tool_calls": []}
    assert ScoredRow.of({**kept, "completion": [calls]}, encoded) is None
    assert ScoredRow.of({**kept, "tools": [{"type": "function"}]}, encoded) is None


def always_says(base, answer):
    """A model that writes the same answer after every prompt: each token decides the next one."""
    model = base.load(torch.float32).eval()
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    chain = [*base.tokenizer("\n")["input_ids"], *base.tokenizer(answer)["input_ids"], END_OF_TURN]
    embeddings = model.model.embed_tokens.weight.detach()
    model.lm_head = torch.nn.Linear(embeddings.shape[1], embeddings.shape[0], bias=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    for token, following in pairwise(chain):
        model.lm_head.weight.data[following] = embeddings[token]
    return model


@pytest.mark.parametrize(("answer", "score"), [("neutral", 0.25), ("entailment", 0.75), ("perhaps", 0.0)])
def test_score_is_the_share_of_rows_that_are_answered_as_the_teacher_did(tmp_path, answer, score):
    folder = write_tiny_model(tmp_path / "model")
    base = open_folder(folder, str(folder))
    encoder = RowEncoder(base, 256)
    kept = [training_row(number, "neutral" if number % 4 == 0 else "entailment") for number in range(12)]
    rows = [ScoredRow.of(row, encoder.encode(row)) for row in kept]
    task = task_for(TrainEvaluateRun(tmp_path / "run", folder).config(Stage.TRAIN))
    validation, model = ValidationScore(task, rows, base, CPU), always_says(base, answer)
    assert validation.works(model)
    assert validation(model) == score
