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


def row(answer_tokens=3, text="Is it?", may_call=False):
    encoded = EncodedRow([1] * 20 + [2] * answer_tokens, [IGNORED] * 20 + [2] * answer_tokens)
    return ScoredRow(encoded, text, "yes", may_call)


def numbered(count, **more):
    return [row(text=str(number), **more) for number in range(count)]


@pytest.mark.parametrize(
    ("validation", "train", "scored"),
    [(1_000, 10_000, 100), (1_000, 90, 45), (30, 90, 30), (80, 12, 10), (10, 100, 10), (9, 100, 0)],
)
def test_at_most_100_rows_and_half_as_many_as_train_rows_are_answered(validation, train, scored):
    assert len(rows_to_score(numbered(validation), train)) == scored


def test_rows_are_spread_over_all_and_the_same_in_every_attempt():
    chosen = [each.text for each in rows_to_score(numbered(1_000), 8)]
    assert chosen == ["0", "100", "200", "300", "400", "500", "600", "700", "800", "900"]


def test_one_long_answer_leaves_the_choice_to_the_loss():
    assert rows_to_score([*numbered(20), row(answer_tokens=65)], 100) == []


@pytest.mark.parametrize(
    ("short", "long", "scored"), [(20, 0, 20), (18, 2, 18), (17, 3, 0), (10, 1, 10), (9, 1, 0), (9, 0, 0)]
)
def test_calls_are_scored_where_nine_in_ten_are_short(short, long, scored):
    rows = [*numbered(short, may_call=True, answer_tokens=192), *numbered(long, may_call=True, answer_tokens=193)]
    assert len(rows_to_score(rows, 100)) == scored


def test_row_has_the_prompt_and_the_teachers_answer():
    kept = {**training_row(1, "neutral"), "id": "a"}
    encoded = EncodedRow([5, 6, 7, 8], [IGNORED, IGNORED, 7, 8])
    scored = ScoredRow.of(kept, encoded)
    assert (scored.prompt, scored.answer_tokens) == ([5, 6], 2)
    assert (scored.text, scored.reference) == ("Premise: neutral 1.\nHypothesis: 1.", "neutral")


def test_the_answer_of_a_row_with_tools_is_what_the_teacher_calls(tmp_path):
    function = {"name": "weather", "arguments": {"city": "Bonn", "days": 2}}
    calls = {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    kept = {**training_row(1), "completion": [calls], "tools": [{"type": "function", "function": {"name": "weather"}}]}
    scored = ScoredRow.of(kept, EncodedRow([5, 6], [IGNORED, 6]))
    assert scored.may_call
    task = task_for(TrainEvaluateRun(tmp_path, tmp_path, task="ToolCalling", labels=()).config(Stage.TRAIN))
    said = '<tool_call>{"name": "weather", "arguments": {"days": 2.0, "city": "Bonn"}}</tool_call>'
    assert task.score(task.read_answer(said, scored.text), scored.reference) == 1
    assert task.score(task.read_answer(said.replace("2.0", "3"), scored.text), scored.reference) == 0
    assert task.score("I do not know.", scored.reference) == 0


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
