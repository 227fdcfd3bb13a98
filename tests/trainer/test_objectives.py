"""What the student learns from each row beside one answer. Each loss is shown to move a tiny model: a test fails where
it is left out."""

from typing import Any

import pytest
import torch

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import SampleUse
from distillery_api.stage import Stage
from distillery_api.stage_result import ObjectiveFigures
from distillery_trainer.data.rows import Rejection
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train
from distillery_trainer.student.objectives.rationales import with_rationale
from distillery_trainer.student.objectives.row_batches import RowBatches
from distillery_trainer.student.objectives.samples import with_samples
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.tasks.prompts import rationale_prompt
from tiny_model import read_model, read_tokenizer, write_tiny_model
from train_evaluate_run import TrainEvaluateRun, chat, training_row

FAST = {"method": "Full", "epochs": 1, "batchSize": 4, "learningRate": 0.005, "warmupSteps": 0}
TEXT = "Premise: A dog.\nHypothesis: An animal."


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def answer(label: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": label}]


def sampled(*answers: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"completion": answer(label), "count": count} for label, count in answers]


def row_of(label: str, number: int, *samples: tuple[str, int]) -> dict[str, Any]:
    return {**training_row(number, label, TEXT), "samples": sampled(*samples)}


def trained(tmp_path, tiny, rows, objective, **generation):
    """Train on the rows. Returns the run and its figures."""
    run = TrainEvaluateRun(
        tmp_path,
        tiny,
        train=rows,
        validation=rows[:2],
        training={**FAST, "objective": objective},
        generation=generation,
    )
    return run, train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))


def probability(run, label: str, others: tuple[str, ...], prompt=None) -> float:
    """The share of a label's first token among those of all labels."""
    folder = run.folder(Stage.TRAIN) / "model"
    tokenizer = read_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(prompt or chat(TEXT), add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        logits = read_model(folder)(prompt).logits[0, -1].float()
    firsts = [tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in (label, *others)]
    return float(logits[firsts].softmax(0)[0])


# --- several samples


def encode(row) -> EncodedRow | Rejection:
    text = row["completion"][0]["content"]
    if text == "special":
        return Rejection(RejectionReason.SPECIAL_TOKEN, "")
    return EncodedRow([1, 2, *map(ord, text)], [IGNORED, IGNORED, *map(ord, text)])


SPLIT = {"completion": answer("ab"), "samples": sampled(("ab", 3), ("c", 1), ("special", 1))}
OWN = encode(SPLIT)


def test_majority_leaves_a_row_as_it_is():
    assert with_samples(SPLIT, OWN, SampleUse.MAJORITY, 6, encode) is OWN


def test_weight_is_the_share_of_all_samples_unreadable_ones_included():
    weighted = with_samples(SPLIT, OWN, SampleUse.WEIGHTED, 6, encode)
    assert weighted == EncodedRow([1, 2, 97, 98], [-100, -100, 97, 98], {"weight": [0.5, 0.5]})


def test_soft_labels_are_all_answers_that_can_be_trained_on_and_add_up_to_one():
    soft = with_samples(SPLIT, OWN, SampleUse.SOFT, 6, encode)
    assert soft.columns == {"weight": [0.75, 0.75]}
    assert soft.siblings == (EncodedRow([1, 2, 99], [-100, -100, 99], {"weight": [0.25]}),)


@pytest.mark.parametrize("use", [SampleUse.WEIGHTED, SampleUse.SOFT])
def test_row_without_samples_counts_one(use):
    row = {"completion": answer("ab")}
    assert with_samples(row, OWN, use, 5, encode) == OWN.weighted(1.0)


def test_soft_labels_make_the_student_as_unsure_as_its_teacher(tiny, tmp_path):
    rows = [row_of("entailment", number, ("entailment", 3), ("neutral", 1)) for number in range(80)]
    shares = {}
    for use in ("Majority", "Soft"):
        run, result = trained(tmp_path / use, tiny, rows, {"samples": use}, samples=4)
        shares[use] = probability(run, "neutral", ("entailment",))
        assert result.training.objective == ObjectiveFigures(kind="Labels", rows={"split": 80} if use == "Soft" else {})
        assert result.training.steps == 20
    assert shares["Majority"] < 0.1
    assert 0.15 < shares["Soft"] < 0.45


def test_rows_that_few_samples_agree_on_count_less(tiny, tmp_path):
    unsure = [row_of("neutral", number, ("neutral", 1)) for number in range(40)]
    sure = [row_of("entailment", number, ("entailment", 8)) for number in range(40, 80)]
    run, _ = trained(tmp_path, tiny, unsure + sure, {"samples": "Weighted"}, samples=8)
    assert probability(run, "neutral", ("entailment",)) < 0.35, "counted alike, it would be a half"


# --- rationales


REASON = "Because dogs are animals."
REASONED = {"prompt": chat(TEXT), "completion": answer("ab"), "reasoning": "xyz!"}


def test_second_task_has_a_prompt_of_its_own_and_weighs_what_it_should():
    seen = []

    def encode_and_note(row):
        seen.append(row["prompt"])
        return encode(row)

    own, counted = with_rationale(REASONED, OWN, 0.5, encode_and_note)
    (second,) = own.siblings
    assert (own.columns["weight"], second.columns["weight"], counted) == ([1.0, 1.0], [0.25] * 4, "rationales")
    assert seen[0][0]["content"].startswith("Explain step by step what leads to the right answer")
    assert (chat(TEXT)[0]["content"] in seen[0][0]["content"], seen[0][1:]) == (True, chat(TEXT)[1:])


@pytest.mark.parametrize(
    ("changes", "rejected", "counted"),
    [
        ({"reasoning": None}, None, "noRationale"),
        ({"reasoning": ""}, None, "noRationale"),
        ({}, RejectionReason.TOO_LONG, "longRationale"),
        ({}, RejectionReason.SPECIAL_TOKEN, "untrainableRationale"),
    ],
)
def test_row_without_usable_reasoning_has_the_first_task_alone(changes, rejected, counted):
    row = {**REASONED, **changes}
    assert with_rationale(row, OWN, 0.5, lambda _: Rejection(rejected, "")) == (OWN.weighted(1.0), counted)


def test_rationales_are_learned_under_their_own_prompt_and_leave_the_answers(tiny, tmp_path):
    row = training_row(0, "entailment", TEXT)
    rows = [{**row, "reasoning": REASON}] * 78 + [row, {**row, "reasoning": "very " * 300}]
    prompt = rationale_prompt(chat(TEXT))
    shares = {}
    for use, weight in (("None", {}), ("Auxiliary", {"rationaleWeight": 2})):
        run, result = trained(tmp_path / use, tiny, rows, {"rationales": use, **weight}, chainOfThought=True)
        second = probability(run, "Because", ("entailment",), prompt)
        shares[use] = (second, probability(run, "entailment", ("Because", "neutral")))
    assert shares["None"][0] < 0.3
    assert min(shares["Auxiliary"]) > 0.5
    assert result.training.objective.rows == {"rationales": 78, "noRationale": 1, "longRationale": 1}
    assert result.rows.kept == 82


# --- batches


def test_siblings_stand_in_the_batch_of_their_row_and_do_not_count_as_its_tokens():
    sibling = EncodedRow([1, 4, 5], [IGNORED, 4, 5], {"weight": [0.25, 0.25]})
    first = EncodedRow([1, 2], [IGNORED, 2], {"weight": [0.75]}, (sibling,))
    second = EncodedRow([1, 2, 3, 3], [IGNORED, IGNORED, 3, 3], {"weight": [1.0, 1.0]})
    batch = RowBatches([first, second], padding=9)([{"row": 0}, {"row": 1}])
    assert batch["input_ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 3], [1, 4, 5, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 2, -100, -100], [-100, -100, 3, 3], [-100] * 4]
    assert batch["targets"].tolist() == [[-100, 2, -100, -100], [-100, -100, 3, 3], [-100, 4, 5, -100]]
    assert batch["columns"]["weight"].tolist() == [0.75, 1.0, 1.0, 0.25, 0.25]


def test_validation_rows_are_batches_of_their_answers_alone():
    batch = RowBatches([], padding=9)([{"input_ids": [1, 2], "labels": [IGNORED, 2]}])
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[1, 2]],
        "attention_mask": [[1, 1]],
        "labels": [[-100, 2]],
    }
