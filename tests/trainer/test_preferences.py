"""Preferences: pairs of right and rejected answers, from the generate stage to the student that has learned them."""

import pytest
import torch

from distillery_api.stage import Stage
from distillery_trainer.data.rows import Rejection
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train
from distillery_trainer.stages.preferences import preferences_note
from distillery_trainer.student.checkpoints import CheckpointNote, seal
from distillery_trainer.student.objectives.pairs import Pair, Pairs
from distillery_trainer.student.objectives.preference import too_few
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher
from tiny_model import read_model, read_tokenizer, write_tiny_model
from train_evaluate_run import TrainEvaluateRun, chat, training_row, write_rows
from waiting import wait_until

SYSTEM = "Answer."
LEARNED, PREFERRED = chat("A dog is an animal.", SYSTEM), chat("A cat runs.", SYSTEM)
FAST = {"epochs": 1, "batchSize": 4, "learningRate": 0.005, "warmupSteps": 0}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


# --- what generate stores


def test_row_that_disagrees_with_its_gold_has_the_right_answer_before_the_wrong_one(tmp_path):
    rows = nli_rows(9)
    gold = gold_of(rows)
    with gold_teacher({**gold, next(iter(gold)): "neutral"}) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=rows, validation=nli_rows(3, 100), test=nli_rows(2, 200))
        run.generation = {"filters": {"disagreesWithGold": True}, "minSuccessRatio": 0.0}
        run.run()
    kept = {row["id"] for row in run.rows("train")}
    wrong = next(row for row in run.rows("rejected") if row["split"] == "train")
    assert (wrong["id"] in kept, wrong["reason"]) == (False, "disagrees_with_gold")
    assert wrong["preference"]["prompt"][-1]["content"] == wrong["userMessage"]
    assert wrong["preference"]["chosen"] == answer(rows[0]["gold"])
    assert wrong["preference"]["rejected"] == [{"completion": answer("neutral"), "count": 1}]


# --- pairs


def encode(row) -> EncodedRow | Rejection:
    text = row["completion"][0]["content"]
    if text == "special":
        return Rejection("special_token", "")
    return EncodedRow([1, *map(ord, text)], [IGNORED, *map(ord, text)])


def test_pairs_are_made_of_other_samples_and_of_train_rows_that_disagree_with_gold():
    pairs = Pairs(encode)
    samples = [{"completion": answer(text), "count": 1} for text in ("a", "b", "a", "special")]
    pairs.add_kept({"prompt": [], "completion": answer("a"), "samples": samples})
    pairs.add_kept({"prompt": [], "completion": answer("a")})
    wrong = {"prompt": [], "chosen": answer("c"), "rejected": [{"completion": answer("d"), "count": 3}]}
    for split in ("train", "validation"):
        pairs.add_rejected({"split": split, "preference": wrong})
    pairs.add_rejected({"split": "train", "reason": "bad_json"})
    assert pairs.found == [Pair([1], [97], [98]), Pair([1], [99], [100])]
    assert pairs.counts == {"pairs": 2, "untrainablePairs": 2}


@pytest.mark.parametrize(
    ("number", "beginning"), [(0, "There are no pairs of"), (1, "There is 1 pair of"), (7, "There are 7 pairs of")]
)
def test_few_pairs_are_said_to_be_few(number, beginning):
    said = too_few([Pair([1], [2], [3])] * number)
    assert said is not None
    assert said.startswith(beginning)
    assert too_few([Pair([1], [2], [3])] * 8) is None


# --- the training


def preferring(tmp_path, tiny, pairs: int, **changes) -> TrainEvaluateRun:
    """A run whose rows teach one answer, and whose rejected rows prefer another one for another text."""
    rows = [{**training_row(number, "entailment"), "prompt": LEARNED} for number in range(12)]
    run = TrainEvaluateRun(
        tmp_path,
        tiny,
        train=rows,
        validation=rows[:2],
        training={**FAST, "objective": {"kind": "Preference"}, **changes},
    )
    wrong = {
        "prompt": PREFERRED,
        "tools": None,
        "chosen": answer("contradiction"),
        "rejected": [{"completion": answer("entailment"), "count": 1}],
    }
    rejected = [{"split": "train", "reason": "disagrees_with_gold", "preference": wrong}] * pairs
    write_rows(run.folder(Stage.GENERATE) / "rejected.jsonl", rejected)
    return run


def trained(run: TrainEvaluateRun):
    return train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))


def share_of_contradiction(run: TrainEvaluateRun) -> float:
    folder = run.folder(Stage.TRAIN) / "model"
    tokenizer = read_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(PREFERRED, add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        logits = read_model(folder)(prompt["input_ids"]).logits[0, -1].float()
    firsts = [tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in ("contradiction", "entailment")]
    return float(logits[firsts].softmax(0)[0])


def test_student_prefers_right_answers_to_rejected_ones(tiny, tmp_path):
    run = preferring(tmp_path / "few", tiny, 7)
    few = trained(run)
    before = share_of_contradiction(run)
    run = preferring(tmp_path / "many", tiny, 16)
    many = trained(run)
    assert share_of_contradiction(run) > before + 0.02
    assert few.training.objective.note.startswith("There are 7 pairs of a right and a rejected answer")
    assert many.training.objective.rows == {"pairs": 16}
    assert many.training.objective.note == "16 pairs, 12 steps."
    said = "Objective Preference: 16 pairs of a right and a rejected answer. 16 pairs, 12 steps."
    assert many.message.endswith(said)
    assert many.training.steps == few.training.steps == 3


def test_preferences_change_all_weights_where_all_are_trained(tiny, tmp_path):
    digests = [trained(preferring(tmp_path / str(n), tiny, n, method="Full")).training.model_digest for n in (7, 8)]
    assert digests[0] != digests[1]


def test_checkpoints_of_preferences_are_of_one_student_and_one_set_of_pairs(tmp_path):
    first, second = tmp_path / "checkpoint-3", tmp_path / "checkpoint-6"
    for checkpoint, rank in ((first, 8), (second, 16)):
        checkpoint.mkdir()
        seal(checkpoint, CheckpointNote({"training.lora.rank": rank}))
    pair, other = Pair((1,), (2,), (3,)), Pair((1,), (2,), (4,))
    notes = [preferences_note(first, [pair]), preferences_note(first, [other]), preferences_note(second, [pair])]
    assert preferences_note(first, [pair]) == notes[0]
    assert [note.settings["student before"] for note in notes] == ["checkpoint-3", "checkpoint-3", "checkpoint-6"]
    assert [note.settings["training.lora.rank"] for note in notes] == [8, 8, 16]
    assert notes[0].settings["pairs"] != notes[1].settings["pairs"]


def test_training_that_was_killed_among_its_preferences_ends_as_one_that_was_not(tiny, tmp_path):
    whole = trained(preferring(tmp_path / "whole", tiny, 12)).training
    run = preferring(tmp_path / "killed", tiny, 12)
    process = run.start(Stage.TRAIN)
    wait_until(lambda: list(run.folder(Stage.TRAIN).glob("checkpoints/preference/checkpoint-*/complete.json")), 300)
    process.kill()
    process.wait()
    resumed = trained(run).training
    assert whole.objective.note == "12 pairs, 9 steps."
    assert (resumed.objective, resumed.model_digest) == (whole.objective, whole.model_digest)
