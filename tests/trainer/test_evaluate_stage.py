"""The evaluate stage on a tiny model: the table, and what counts as wrong."""

import shutil

import pytest

from distillery_api.result import Reason, Stage, StageState
from student_run import StudentRun, held_out_row, held_out_rows, read_rows
from tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def evaluated(run, tiny):
    """The stage's result, with the untrained model standing for the trained one."""
    trained = run.folder(Stage.TRAIN) / "model"
    if not trained.exists():
        shutil.copytree(tiny, trained)
    process = run.start(Stage.EVALUATE)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


SHORT_REPLIES = {"sampling": {"maxTokens": 8}}


def test_everybody_answers_the_same_rows(tiny, tmp_path):
    run = StudentRun(tmp_path, tiny, generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)

    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.sample_size, table.carved_from_validation) == ("accuracy", 6, False)
    assert table.teacher.score == 1.0
    assert table.base == table.student.model_copy(update={"latency_seconds": table.base.latency_seconds})
    assert table.student.unreadable == 1.0  # random weights write no label
    assert table.student.score == 0.0
    assert table.majority.score == pytest.approx(1 / 3, abs=1e-4)
    assert table.shallow.score == 1.0  # the label is a word of the premise
    predictions = read_rows(run.folder(Stage.EVALUATE) / "predictions.jsonl")
    assert len(predictions) == 6 * 6
    assert {row["contestant"] for row in predictions} == {
        "teacher",
        "baseElaborate",
        "base",
        "student",
        "majority",
        "shallow",
    }


def test_missing_teacher_reply_is_a_wrong_answer(tiny, tmp_path):
    unanswered = held_out_row(0, reply=None, answer=None, reason="timeout", outputTokens=None)
    run = StudentRun(tmp_path, tiny, test=[unanswered, held_out_row(1)], generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    assert run.result(Stage.EVALUATE).evaluation.teacher.score == 0.5
    assert run.result(Stage.EVALUATE).evaluation.teacher.unreadable == 0.5


def test_without_gold_the_measure_is_agreement_with_the_teacher(tiny, tmp_path):
    rows = [{**row, "gold": None, "carved": True} for row in held_out_rows(4)]
    run = StudentRun(tmp_path, tiny, test=rows, generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.carved_from_validation) == ("agreement", True)
    assert table.teacher is None
    assert table.gap_closed is None
    assert "carved from the validation split" in said


def test_a_stage_started_again_asks_no_model_twice(tiny, tmp_path):
    run = StudentRun(tmp_path, tiny, generation=SHORT_REPLIES)
    evaluated(run, tiny)
    folder = run.folder(Stage.EVALUATE)
    first = run.result(Stage.EVALUATE).evaluation
    for gone in ("result.json", "predictions.jsonl"):
        (folder / gone).unlink()
    kept = {path.name: path.read_bytes() for path in folder.glob("replies-*.jsonl")}
    assert len(kept) == 3
    code, said = evaluated(run, tiny)
    assert code == 0, said
    assert {path.name: path.read_bytes() for path in folder.glob("replies-*.jsonl")} == kept
    assert run.result(Stage.EVALUATE).evaluation == first


def test_no_row_to_score_is_a_sentence(tiny, tmp_path):
    rows = [held_out_row(0, reply=None, answer=None) | {"gold": None}]
    run = StudentRun(tmp_path, tiny, test=rows)
    code, said = evaluated(run, tiny)
    assert code == 2
    assert run.result(Stage.EVALUATE).state is StageState.FAILED
    assert run.result(Stage.EVALUATE).reason is Reason.TOO_FEW_ROWS
    assert "none has gold or an answer" in said
