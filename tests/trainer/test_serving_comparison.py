"""The evaluate stage compares the new student with the one that is served: by what that one answered before, or by its
model."""

import json
import shutil

import pytest

from distillery_api.evaluation import ServingComparison
from distillery_api.run_config import ServingStudent
from distillery_api.stage import Stage
from distillery_trainer.data.rows import HeldOutRow
from distillery_trainer.evaluation.model_replies import ModelReplies
from distillery_trainer.evaluation.serving_student import NotComparable, comparison, serving_replies
from distillery_trainer.evaluation.systems import ScoredAnswer, SystemReply
from distillery_trainer.evaluation.systems import held_out_rows as held_out_rows_to_score
from distillery_trainer.student.device import choose_device
from distillery_trainer.tasks import task_for
from held_out_rows import task_definition
from tiny_model import write_tiny_model
from train_evaluate_run import SYSTEM, TrainEvaluateRun, chat, held_out_row, held_out_rows, read_rows, write_rows

SERVING = {"hash": "earlier", "folders": {name: f"{name}-earlier" for name in ("generate", "train", "evaluate")}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def prediction(row, reply=None, **changes):
    """The line of the serving student's answer to a row, right unless told otherwise."""
    text = reply or row["gold"]
    line = {"id": row["id"], "gold": row["gold"], "system": "student", "reply": text, "answer": text, "finished": True}
    return {**line, "promptTokens": 40, "answerTokens": 2, **changes}


class Comparison:
    """A new run beside an earlier one whose student is served."""

    def __init__(self, folder, tiny, rows=None, predictions=None, prompt=SYSTEM, **run):
        rows = held_out_rows(6) if rows is None else rows
        self.run = TrainEvaluateRun(
            folder, tiny, generation={"sampling": {"maxTokens": 8}}, serving_student=SERVING, **run
        )
        self.earlier = folder / "generate-earlier"
        write_rows(self.earlier / "test.jsonl", rows)
        (self.earlier / "student-prompt.txt").write_text(prompt)
        lines = [prediction(row) for row in rows] if predictions is None else predictions
        write_rows(folder / "evaluate-earlier" / "predictions.jsonl", lines)
        shutil.copytree(tiny, self.run.folder(Stage.TRAIN) / "model")

    def serve_model(self, tiny):
        shutil.copytree(tiny, self.run.workspace / "train-earlier" / "model")

    def evaluate(self):
        process = self.run.start(Stage.EVALUATE)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return self.run.result(Stage.EVALUATE).evaluation

    def replies(self):
        """The replies of the serving student, in this process."""
        config = self.run.config(Stage.EVALUATE)
        task = task_for(config)
        rows = held_out_rows_to_score([HeldOutRow.read(row) for row in self.run.test], task.metric)
        models = ModelReplies(config.stage_folder, choose_device(), lambda done: None)
        return serving_replies(config, config.serving_student, rows, task, models)

    @property
    def folder(self):
        return self.run.folder(Stage.EVALUATE)


def test_what_the_serving_student_answered_before_is_used_and_its_model_is_not_loaded(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny)
    table = compared.evaluate()
    assert not (tmp_path / "train-earlier").exists()
    assert (table.student.score, table.serving.score, table.serving.strict) == (0.0, 1.0, 1.0)
    assert (table.serving.prompt_tokens, table.serving.latency_seconds) == (40.0, None)
    # McNemar: six rows of six for the serving student, 2 · 0.5⁶.
    assert table.serving_comparison == ServingComparison(
        hash="earlier", better=0, worse=6, p_value=0.0312, difference_low=-1.0, difference_high=-1.0
    )
    assert "serving student 100.0%" in compared.run.result(Stage.EVALUATE).message
    lines = [row for row in read_rows(compared.folder / "predictions.jsonl") if row["system"] == "serving"]
    assert [line["answer"] for line in lines] == [row["gold"] for row in held_out_rows(6)]


def test_replies_are_scored_again_against_the_present_gold(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny, test=[held_out_row(n) | {"gold": "neutral"} for n in range(6)])
    assert compared.evaluate().serving.score == pytest.approx(1 / 3, abs=1e-4)


def test_a_reply_that_was_cut_off_is_no_answer(tiny, tmp_path):
    first, *others = held_out_rows(6)
    unknown = prediction(first, reply="neutral because", answer=None)
    del unknown["finished"]  # an earlier release
    cut_off = prediction(others[0], finished=False, answer=None)
    compared = Comparison(tmp_path, tiny, predictions=[unknown, cut_off, *map(prediction, others[1:])])
    assert compared.evaluate().serving.unreadable == pytest.approx(1 / 3, abs=1e-4)


ROWS = held_out_rows(6)


@pytest.mark.parametrize(
    "changes",
    [
        {"predictions": [prediction(row) for row in ROWS[1:]]},
        {"rows": [ROWS[0] | {"studentPrompt": chat("Another premise.")}, *ROWS[1:]]},
        {"rows": [*ROWS, ROWS[0]], "predictions": [prediction(row) for row in ROWS]},
        {"rows": [{"id": "test-0"}], "predictions": []},
        {"predictions": [{"id": "test-0"}]},
        {"prompt": "Say it in Latin."},
    ],
    ids=["unanswered", "another row", "one id twice", "no rows", "no predictions", "another prompt"],
)
def test_where_any_row_was_not_answered_before_the_model_is_needed(tiny, tmp_path, changes):
    compared = Comparison(tmp_path, tiny, **changes)
    with pytest.raises(NotComparable, match=r"its model cannot be loaded: the folder .*train-earlier/model does not"):
        compared.replies()


def test_where_a_row_was_not_answered_before_the_model_answers_all(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny, predictions=[])
    compared.serve_model(tiny)
    table = compared.evaluate()
    assert table.serving.score == 0.0  # random weights write no label
    assert table.serving_comparison == ServingComparison(
        hash="earlier", better=0, worse=0, p_value=1.0, difference_low=0.0, difference_high=0.0
    )
    assert {row["row"] for row in read_rows(compared.folder / "replies-serving-earlier.jsonl")} == set(range(6))


def test_a_row_stands_under_the_prompt_of_the_serving_student_and_keeps_a_system_message_of_its_own(tiny, tmp_path):
    own = held_out_row(1, studentPrompt=chat("Premise: neutral.", "This row's own."))
    of_then = held_out_row(0, studentPrompt=chat("Premise: entailment 0.\nHypothesis: 0.", "Say it in Latin."))
    compared = Comparison(tmp_path, tiny, prompt="Say it in Latin.", rows=[of_then, own], test=[held_out_row(0), own])
    assert [reply.text for reply in compared.replies()] == ["entailment", "neutral"]


def test_without_its_model_the_two_are_not_compared_and_the_table_says_why(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny, predictions=[])
    table = compared.evaluate()
    assert table.serving is None
    missing = tmp_path / "train-earlier" / "model"
    problem = f"its model cannot be loaded: the folder {missing} does not exist."
    assert table.serving_comparison == ServingComparison(hash="earlier", problem=problem)
    compared.serve_model(tiny)
    assert compared.evaluate().serving.score == 0.0  # the next attempt finds it


def test_another_serving_student_is_compared_by_the_next_attempt_alone(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny)
    first = compared.evaluate()
    kept = {path.name: path.read_bytes() for path in compared.folder.glob("replies-*.jsonl")}
    compared.run.serving_student = {**SERVING, "hash": "other"}
    second = compared.evaluate()
    of_other = first.serving_comparison.model_copy(update={"hash": "other"})
    assert second == first.model_copy(update={"serving_comparison": of_other})
    assert {path.name: path.read_bytes() for path in compared.folder.glob("replies-*.jsonl")} == kept
    # Without one, or with the same, the result is reported as it is.
    written = (compared.folder / "result.json").stat().st_mtime_ns
    for same in (None, {**SERVING, "hash": "other"}):
        compared.run.serving_student = same
        assert compared.evaluate() == second
    assert (compared.folder / "result.json").stat().st_mtime_ns == written


def test_the_message_of_a_compared_evaluation_fits_into_a_termination_message(tiny, tmp_path):
    compared = Comparison(tmp_path, tiny)
    compared.evaluate()
    message = json.loads((tmp_path / "evaluate-message").read_text())
    assert message["evaluation"]["servingComparison"]["worse"] == 6


def test_texts_are_compared_by_a_paired_bootstrap():
    new, serving = (
        [ScoredAnswer(SystemReply("t"), "t", score) for score in each] for each in ([0.5, 0.8, 0.9], [0.4] * 3)
    )
    compared = comparison(task_definition("Summarization"), ServingStudent(hash="a", folders={}), new, serving)
    assert (compared.better, compared.worse) == (3, 0)
    assert (compared.difference_low, compared.difference_high) == (0.1, 0.5)
    # The mean is 0.33; the differences lie at most 0.23 from it, so no resample is as far from 0: 1 / 10,000.
    assert compared.p_value == 0.0001
