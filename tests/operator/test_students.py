"""The students of a folder: neither a run without one nor an interrupted one hides the last, or its scores."""

import pytest

from distillery_api.evaluation import Evaluation, Score
from distillery_api.reasons import Reason
from distillery_operator.local.example_message import example_message
from distillery_operator.local.run_result import RunResult, RunState
from distillery_operator.local.students import MOST, with_a_student, with_students


def run(folder=None, score=None):
    """A result whose run made a student, or none."""
    files = {"model": f"{folder}/model", "test": "generate-a/test.jsonl"} if folder else {}
    evaluation = None
    if score is not None:
        table = {"metric": "accuracy", "sample_size": 9, "held_out_from_validation": False}
        evaluation = Evaluation(**table, student=Score(score=score))
    return RunResult(name="x", state=RunState.DONE, reason=Reason.SUCCEEDED, files=files, evaluation=evaluation)


def after(*results):
    """The last of some results that were written one after the other."""
    before = None
    for result in results:
        before = with_students(result, before)
    return before


def scores(result):
    return [(each.folder, each.evaluation and each.evaluation.student.score) for each in result.students]


def test_the_scores_of_earlier_students_are_kept_the_newest_first():
    result = after(run("train-a", 0.5), run("train-b", 0.7), run(), run("train-c"))
    assert scores(result) == [("train-c", None), ("train-b", 0.7), ("train-a", 0.5)]


def test_a_student_that_is_met_again_comes_first_and_keeps_its_scores():
    result = after(run("train-a", 0.5), run("train-b", 0.7), run("train-a"))
    assert sorted(scores(result)) == [("train-a", 0.5), ("train-b", 0.7)]
    assert scores(after(run("train-a", 0.5), run("train-b", 0.7), run("train-a", 0.6)))[0] == ("train-a", 0.6)


def test_a_result_of_an_earlier_release_is_remembered():
    assert scores(with_students(run(), run("train-a", 0.5))) == [("train-a", 0.5)]


def test_not_every_student_is_remembered():
    assert len(after(*(run(f"train-{number}", 0.5) for number in range(30))).students) == MOST


@pytest.mark.parametrize("last", [run(), run("train-c")])
def test_the_student_that_is_served_is_the_last_one_that_was_made(tmp_path, last):
    for name in ("train-a", "train-b", "train-c"):
        (tmp_path / name / "model").mkdir(parents=True)
    result = with_a_student(after(run("train-a", 0.5), run("train-b", 0.7), last), tmp_path)
    expected = last.files.get("model", "train-b/model")
    assert result.files["model"] == expected
    assert result.evaluation == (None if expected == "train-c/model" else run("train-b", 0.7).evaluation)


def test_a_deleted_student_is_not_served(tmp_path):
    (tmp_path / "train-a" / "model").mkdir(parents=True)
    result = after(run("train-a", 0.5), run("train-b", 0.7), run())
    assert with_a_student(result, tmp_path).files["model"] == "train-a/model"
    assert "model" not in with_a_student(run(), tmp_path).files


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"studentPrompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "A\\nB"}]}\n', "A\nB"),
        ('{"studentPrompt": [{"role": "user", "content": "' + "x" * 500 + '"}]}\n', "x" * 400 + "…"),
        ('{"studentPrompt": []}\n', "…"),
        ("{}\n", "…"),
        ("no JSON\n", "…"),
        ("", "…"),
    ],
)
def test_the_example_request_is_one_of_the_evaluation(tmp_path, line, text):
    (tmp_path / "generate-a").mkdir()
    (tmp_path / "generate-a" / "test.jsonl").write_text(line)
    assert example_message(tmp_path, run("train-a")) == text
    assert example_message(tmp_path, run()) == "…"
