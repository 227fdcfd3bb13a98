"""The learning curve: what twice the rows promise, and the students that it takes."""

import shutil

import pytest

from distillery_api.evaluation import CurvePoint, LearningCurve
from distillery_api.stage import Stage
from distillery_trainer.evaluation.learning_curve import learning_curve
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import evaluate
from distillery_trainer.stages.encoded_rows import EncodedRows
from distillery_trainer.student.objectives.pairs import Pair
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, read_rows, training_rows


def scores(right, count=400):
    """The scores of a student that is right on so many of the rows."""
    return [1.0] * right + [0.0] * (count - right)


def curve(*right):
    return learning_curve((100, 200, 400), [scores(each) for each in right])


def test_an_error_that_halves_with_each_doubling_is_expected_to_halve_again():
    made = curve(200, 300, 350)  # errors of 0.5, 0.25 and 0.125
    assert made.points == (
        CurvePoint(rows=100, score=0.5),
        CurvePoint(rows=200, score=0.75),
        CurvePoint(rows=400, score=0.875),
    )
    assert made.gain == pytest.approx(0.0625, abs=0.001)
    assert 0.04 < made.gain_low < made.gain < made.gain_high < 0.08
    assert made.promises_more
    assert not made.is_flat


def test_students_that_score_alike_promise_nothing():
    made = curve(340, 340, 340)
    assert (made.gain, made.gain_low, made.gain_high) == (0.0, 0.0, 0.0)
    assert made.is_flat
    assert not made.promises_more


def test_a_student_that_gets_worse_with_more_rows_promises_nothing():
    made = curve(360, 340, 330)
    assert made.gain < 0
    assert made.is_flat


def test_scores_without_an_error_have_a_curve():
    assert curve(380, 396, 400).gain == pytest.approx(0.0015, abs=0.001)
    assert curve(400, 400, 400).gain == 0.0
    assert curve(0, 0, 0).gain == 0.0


def test_a_handful_of_rows_promises_nothing_for_sure():
    mixed = [[1.0, 0.0] * 10, [0.0, 1.0, 1.0, 1.0, 0.0] * 4, [1.0, 1.0, 0.0, 1.0] * 5]
    made = learning_curve((10, 20, 40), mixed)
    assert made.gain > 0
    assert not made.promises_more
    assert not made.is_flat


def test_the_same_answers_give_the_same_curve():
    assert curve(200, 300, 350) == curve(200, 300, 350)


def test_a_curve_is_said_in_words():
    assert (
        curve(200, 300, 350)
        .sentence()
        .startswith("0.500 with 100 train rows, 0.750 with 200, 0.875 with 400; twice the rows promise +0.06 (+0.05 to")
    )
    assert LearningCurve(problem="12 train rows are too few").sentence() == "none: 12 train rows are too few"


# --- the students


def encoded(number):
    return EncodedRow([1, number, 9], [IGNORED, IGNORED, 9])


def pair(number, rejected):
    return Pair([1, number], [9], [rejected])


def test_a_part_has_the_pairs_of_its_rows_and_as_large_a_part_of_those_of_rejected_rows():
    pairs = [pair(number, rejected) for number in range(24) for rejected in (7, 8)]
    of_rejected = set(range(16, 24))
    rows = EncodedRows(train=[encoded(number) for number in range(16)], pairs=pairs)
    half, quarter = rows.first_part(2), rows.first_part(4)
    for part, expected in ((half, 8), (quarter, 4)):
        paired = [each.prompt[1] for each in part.pairs]
        assert {number for number in paired if number < 16} == {row.input_ids[1] for row in part.train}
        assert len(set(paired) & of_rejected) == expected // 2
        assert len(paired) == 3 * expected, "both pairs of each row"
    assert set(map(repr, quarter.pairs)) < set(map(repr, half.pairs))
    shuffled = EncodedRows(train=rows.train[::-1], pairs=pairs[::-1]).first_part(4)
    assert sorted(map(repr, shuffled.pairs)) == sorted(map(repr, quarter.pairs))


MORE = {"evaluation": {"learningCurve": True}, "generation": {"sampling": {"maxTokens": 4}}}


def evaluated(run):
    return evaluate.run(run.config(Stage.EVALUATE), ProgressReporter(Stage.EVALUATE)).evaluation.learning_curve


def test_students_of_a_quarter_and_a_half_are_trained_once_and_leave_their_replies_alone(tmp_path):
    tiny = write_tiny_model(tmp_path / "base")
    training = {"batchSize": 8, "learningRate": 0.01}
    run = TrainEvaluateRun(tmp_path / "run", tiny, train=training_rows(48), training=training, **MORE)
    shutil.copytree(tiny, run.folder(Stage.TRAIN) / "model")
    first = evaluated(run)
    assert [point.rows for point in first.points] == [12, 24, 48]
    folder = run.folder(Stage.EVALUATE)
    quarter, half = folder / "replies-student-quarter.jsonl", folder / "replies-student-half.jsonl"
    assert [len(read_rows(path)) >= 6 for path in (quarter, half)] == [True, True]
    assert not (folder / "learning-curve").exists()
    # An attempt after a kill trains only the student that has not replied to every row yet.
    written = quarter.read_bytes()
    half.unlink()
    assert evaluated(run) == first
    assert quarter.read_bytes() == written
    assert not (folder / "learning-curve").exists()


def test_too_few_rows_leave_the_evaluation_as_it_is(tmp_path):
    tiny = write_tiny_model(tmp_path / "base")
    run = TrainEvaluateRun(tmp_path / "run", tiny, train=training_rows(39), **MORE)
    shutil.copytree(tiny, run.folder(Stage.TRAIN) / "model")
    assert evaluated(run) == LearningCurve(problem="39 train rows are too few; it takes 40")
