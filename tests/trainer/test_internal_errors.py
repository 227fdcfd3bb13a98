"""A row at which this software fails is rejected by itself: no other row, and no request in flight, is lost."""

import json

import pytest

from distillery_api.reasons import Reason
from distillery_api.spec import Task
from distillery_api.stage import Stage
from distillery_trainer.evaluation.systems import SystemReply, held_out_rows, score_replies
from distillery_trainer.runtime.errors import UserError, crash
from distillery_trainer.runtime.row_errors import RowErrors
from distillery_trainer.tasks import TASK_DEFINITIONS
from distillery_trainer.tasks.nli import NliTask
from generate_run import GenerateRun, gold_of, nli_rows
from held_out_rows import evaluate_config, held_out
from teacher_server import gold_teacher
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, read_rows, training_rows

TRAIN, VALIDATION, TEST = nli_rows(30), nli_rows(6, 100), nli_rows(3, 200)


class FailingTask(NliTask):
    """A task whose parser has a bug."""

    fails_at: tuple[str, ...] = ()

    def read_answer(self, reply, row_text):
        if any(text in row_text for text in self.fails_at):
            raise RuntimeError("half an emoji: \ud83d")
        return super().read_answer(reply, row_text)

    read_teacher_answer = read_answer


@pytest.fixture
def failing_at(monkeypatch):
    def fail(*texts):
        definition = type("Failing", (FailingTask,), {"fails_at": texts})
        monkeypatch.setitem(TASK_DEFINITIONS, Task.NLI, definition)

    return fail


@pytest.fixture
def teacher():
    with gold_teacher(gold_of(TRAIN, VALIDATION, TEST)) as server:
        yield server


def test_row_at_which_the_parser_fails_is_rejected_and_all_others_are_kept(tmp_path, teacher, failing_at, capsys):
    failing_at("Person 7 ", "Person 200 ")
    run = GenerateRun(tmp_path, teacher.url, train=TRAIN, validation=VALIDATION, test=TEST)
    result = run.run()
    assert (result.exit_code, result.rows.kept, result.rows.rejected_by_reason) == (0, 38, {"internal_error": 1})
    (rejected,) = run.rows("rejected")
    assert rejected["id"] == "train-8"
    assert rejected["message"] == (
        "Distillery failed at this row (RuntimeError: half an emoji: ?); please report it with the log."
    )
    assert [(row["answer"], row["reason"]) for row in run.rows("test")] == [
        (None, "internal_error"),
        ("entailment", None),
        ("neutral", None),
    ]
    assert len(teacher.requests) == 39
    assert len(run.journal()) == 39
    said = capsys.readouterr().err
    assert said.count("Traceback (most recent call last)") == 2
    assert "Row train-8 is rejected, because this software failed at it:" in said


def test_control_characters_of_a_row_do_not_reach_the_log(capsys):
    message = RowErrors().message(
        "a\x1b]0;title\x07\x1b[2Jb\nc" + "d" * 300, ValueError("\x1b[31mred\x1b[0m \u202eder")
    )
    said = capsys.readouterr().err
    assert said == (f"Row ab c{'d' * 193}… is rejected, because this software failed at it:\nValueError: red der\n")
    assert message == "Distillery failed at this row (ValueError: red der); please report it with the log."


def test_stage_whose_first_rows_all_fail_ends_with_a_sentence(tmp_path, teacher, failing_at):
    failing_at("Person")
    run = GenerateRun(tmp_path, teacher.url, train=TRAIN, validation=VALIDATION, test=TEST)
    result = run.run()
    assert (result.exit_code, result.reason) == (2, Reason.GENERATION_FAILED)
    assert result.message == (
        "None of the first 5 rows could be handled, so the others are not sent. Distillery failed at this row"
        " (RuntimeError: half an emoji: ?); please report it with the log."
    )
    assert len(run.journal()) == len(teacher.requests)


def test_stage_in_which_many_rows_fail_ends_with_a_sentence_and_keeps_what_is_in_flight(tmp_path, teacher, failing_at):
    failing_at(*(f"Person {number} " for number in range(10, 30)))
    run = GenerateRun(tmp_path, teacher.url, train=TRAIN, validation=VALIDATION, test=TEST)
    result = run.run()
    assert result.exit_code == 2
    assert result.message.startswith("Too few train rows: 10 of 30 have no usable answer (internal_error 10)")
    assert len(run.journal()) == len(teacher.requests)


def test_held_out_row_whose_scoring_fails_is_a_wrong_answer():
    config = evaluate_config("NLI", ["yes", "no"])
    task = type("Failing", (FailingTask,), {"fails_at": ("b",)})(config)
    rows = held_out_rows([held_out(text, gold="yes") for text in "abc"], "accuracy")
    scored = score_replies(task, [SystemReply("yes")] * 3, rows)
    assert [(each.answer, each.score, each.reason) for each in scored] == [
        ("yes", 1.0, None),
        (None, 0.0, "internal_error"),
        ("yes", 1.0, None),
    ]


def test_stage_in_which_no_reply_can_be_scored_ends_with_a_sentence():
    task = type("Failing", (FailingTask,), {"fails_at": ("",)})(evaluate_config("NLI", ["yes", "no"]))
    rows = held_out_rows([held_out(text, gold="yes") for text in "abc"], "accuracy")
    with pytest.raises(UserError, match="No reply to any row could be scored"):
        score_replies(task, [SystemReply("yes")] * 3, rows)


def test_row_that_cannot_be_encoded_is_untrainable(tmp_path):
    tiny = write_tiny_model(tmp_path / "model")
    broken = {"id": "row-6", "prompt": [{"role": "user"}], "completion": [{"role": "assistant", "content": "neutral"}]}
    run = TrainEvaluateRun(tmp_path, tiny, train=[*training_rows(6), broken], training={"batchSize": 6})
    process = run.start(Stage.TRAIN)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert run.result(Stage.TRAIN).splits["train"].rejected_by_reason == {"internal_error": 1}
    (rejected,) = read_rows(run.folder(Stage.TRAIN) / "rejected.jsonl")
    assert (rejected["id"], rejected["message"]) == (
        "row-6",
        "Distillery failed at this row (KeyError: 'content'); please report it with the log.",
    )


def test_crash_of_a_group_is_described_by_its_first_exception(capsys):
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", [ValueError("no such thing")])])
    error = crash(Stage.GENERATE, group)
    assert error.message == "The generate stage crashed: ValueError: no such thing"
    assert "Traceback" not in json.dumps(error.message)
